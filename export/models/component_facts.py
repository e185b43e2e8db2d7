"""What is known of each component from training, which its name is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ...runtime.bundle.manifest import ComponentSpec
from ...runtime.values.arrays import FloatArray

# Part of a column's energy that its band holds, and of an activation's peak that its stretch of time keeps.
_BAND, _STRETCH = 0.75, 0.5


@dataclass
class _Loudest:
    value: float = 0.0
    clip: str = ""
    start_s: float = 0.0
    end_s: float = 0.0


def component_facts(
    dictionary: FloatArray,
    theta: FloatArray,
    labels: list[str],
    *,
    sample_rate: int,
    frame_seconds: float,
    windows: Iterable[tuple[str, float, FloatArray]] = (),
) -> list[ComponentSpec]:
    """Describe each component: peak and band of its column, its label, the clip that activates it most.

    Args:
        dictionary: W [F, K] >= 0.
        theta: [C, K]; a component's label is the one with its largest theta, none where no theta is positive.
        labels: The C classes.
        sample_rate: Hz.
        frame_seconds: From one frame of the activations to the next.
        windows: (clip, seconds at which the window begins, activations [K, T]); a component keeps the clip
            that activates it most, and the stretch around that moment in which it keeps half of its strength.

    Returns:
        A record for each component, in order.

    """
    bins, count = dictionary.shape
    hz = np.arange(bins) * (sample_rate / 2.0 / (bins - 1))
    loudest = [_Loudest() for _ in range(count)]
    for clip, begins, activations in windows:
        for record, row in zip(loudest, activations, strict=True):
            moment = int(row.argmax())
            if row[moment] > record.value:
                low, high = _around(row, moment)
                record.value, record.clip = float(row[moment]), clip
                record.start_s = round(max(0.0, begins + (low - 0.5) * frame_seconds), 3)
                record.end_s = round(begins + (high + 0.5) * frame_seconds, 3)
    facts = []
    for index, record in enumerate(loudest):
        low, high = _band(dictionary[:, index])
        label = int(theta[:, index].argmax())
        facts.append(
            ComponentSpec(
                peak_hz=round(float(hz[dictionary[:, index].argmax()]), 1),
                bandwidth_hz=round(float(hz[high] - hz[low] + hz[1]), 1),
                label=labels[label] if theta[label, index] > 0 else "",
                clip=record.clip,
                start_s=record.start_s,
                end_s=record.end_s,
            )
        )
    return facts


def _around(row: FloatArray, moment: int) -> tuple[int, int]:
    """First and last frame around `moment` that keep half of its value."""
    quiet = np.flatnonzero(row < _STRETCH * row[moment])
    before, after = quiet[quiet < moment], quiet[quiet > moment]
    return (
        int(before[-1]) + 1 if len(before) else 0,
        int(after[0]) - 1 if len(after) else len(row) - 1,
    )


def _band(column: FloatArray) -> tuple[int, int]:
    """First and last bin of the band around the peak that holds most of the energy, grown bin by bin."""
    energy = np.square(column.astype(np.float64))
    wanted = _BAND * energy.sum()
    low = high = int(energy.argmax())
    held = energy[low]
    while held < wanted:
        below = energy[low - 1] if low else -1.0
        above = energy[high + 1] if high + 1 < len(energy) else -1.0
        if below >= above:
            low -= 1
            held += below
        else:
            high += 1
            held += above
    return low, high
