"""Whether the frames and rows of a feature map lie where they are declared to, by impulses. Never torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...runtime.values.arrays import FloatArray

# Places tried along either axis, as parts of it; the change is so many standard deviations.
_PLACES = (0.15, 0.4, 0.65, 0.9)
_IMPULSE = 4.0
# Part of the impulses that must be at their place.
_ENOUGH = 0.75
# How far off a frame may be: a part of all, where a convolution looks around.
_AROUND = 0.1


@dataclass(frozen=True)
class SoundCell:
    """A part of a sound: `start` to `end` of its time and `low` to `high` of its frequency, 0..1."""

    start: float
    end: float
    low: float
    high: float

    def added(self, values: npt.NDArray[np.floating], time: int, frequency: int | None) -> FloatArray:
        """The values with an impulse there, along their axes of time and of frequency (None: all)."""
        changed = np.array(values)
        places: list[slice] = [slice(None)] * changed.ndim
        places[time] = _part(changed.shape[time], self.start, self.end)
        if frequency is not None:
            places[frequency] = _part(changed.shape[frequency], self.low, self.high)
        changed[tuple(places)] += _IMPULSE * max(float(changed.std()), 1e-6)
        return changed


def _part(length: int, start: float, end: float) -> slice:
    first = int(start * length)
    return slice(first, max(first + 1, int(end * length)))


def misplaced(map_with: Callable[[SoundCell | None], FloatArray], *, rows: bool, around: bool) -> str | None:
    """What is wrong with the places of a map; None where impulses are at theirs.

    Args:
        map_with: The map [C, T', F'] of a sound without and with an impulse.
        rows: Whether impulses have a frequency.
        around: Whether a frame may be off by a tenth of all, as of convolutions that look around; otherwise
            by one, as tokens.

    """
    before = map_with(None)
    frames, bands = before.shape[1:]
    tried = sorted({int(part * bands) for part in _PLACES}) if rows else [0]
    placed, offsets = [], []
    for frame in sorted({int(part * frames) for part in _PLACES}):
        for row in tried:
            low, high = (row / bands, (row + 1) / bands) if rows else (0.0, 1.0)
            moved = np.square(map_with(SoundCell(frame / frames, (frame + 1) / frames, low, high)) - before)
            strength = moved.sum(axis=0) if rows else moved.sum(axis=(0, 2))[:, None]
            nearest = np.unravel_index(int(strength.argmax()), strength.shape)
            placed.append((frame, row))
            offsets.append((int(nearest[0]) - frame, int(nearest[1]) - row))
    most = max(1, math.ceil(_AROUND * frames)) if around else 1
    away = np.abs(np.array(offsets))
    near = (away[:, 0] <= most) & (away[:, 1] <= (max(1, bands // 4) if around else 1))
    shifts = np.abs(np.median(np.array(offsets), axis=0))
    if near.mean() >= _ENOUGH and (around or shifts.max() < 1):
        return None
    worst = int(away.sum(axis=1).argmax())
    frame, row = placed[worst]
    return (
        f"{int(near.sum())} of {len(near)} impulses are at their place; one in frame {frame}"
        f"{f', row {row}' if rows else ''} moved frame {frame + offsets[worst][0]}"
        f"{f', row {row + offsets[worst][1]}' if rows else ''} most"
    )
