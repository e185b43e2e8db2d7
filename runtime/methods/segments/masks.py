"""Masks over segments without edge bias, and the sounds that they make.

A mask is [M] booleans, True where the segment is kept. Masked segments come in runs at random phase,
also such as begin before the sound or end after it: every segment is masked equally often (in the
reference, runs extend to the right only: its first segment is masked 10 % of the time, the middle 42 %).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ....forks import fork_waits
from ...audio.lengths import samples_of
from ...values.arrays import FloatArray
from .fills import Filler, in_bands
from .grid import SegmentGrid
from .settings import SegmentSettings

Masks = npt.NDArray[np.bool_]

# Values of one batch of sounds: 32 MB; and the most sounds of one: more leave the caches of a CPU. A GPU
# wants more, which is what `batch` is for.
_BATCH_VALUES = 8_000_000
_MOST_SOUNDS = 8
# Longest run over frequency bands, in bands.
_BAND_RUN = 3


def draw_masks(
    random: np.random.Generator,
    pairs: int,
    shape: tuple[int, int],
    windows: Sequence[int] = (1, 3, 5),
    shares: tuple[float, float] = (0.1, 0.9),
) -> Masks:
    """Masks [2 pairs, T F] over T stretches by F bands, each followed by its complement.

    The masked share is drawn from U(shares), the run's length from `windows` (over bands from 1 to 3).
    Runs lie on a ring longer than the sound, of which the sound is a fixed piece: so the chance of being
    masked is the same for every segment. None is masked whole or kept whole.
    """
    blocks: list[Masks] = []
    missing = pairs
    while missing > 0:
        drawn = _draw(random, max(4, missing), shape, windows, shares)
        mixed = drawn.any(axis=1) & ~drawn.all(axis=1)
        blocks.append(drawn[mixed][:missing])
        missing -= len(blocks[-1])
    masks = np.concatenate(blocks) if blocks else np.zeros((0, shape[0] * shape[1]), np.bool_)
    return np.stack([masks, ~masks], axis=1).reshape(2 * pairs, -1)


def _draw(
    random: np.random.Generator,
    count: int,
    shape: tuple[int, int],
    windows: Sequence[int],
    shares: tuple[float, float],
) -> Masks:
    """Masks [count, T F], some of which may be all kept or all masked.

    Every place of the ring gets a random key; a segment's key is the smallest of those whose run
    covers it; the segments of the smallest keys are masked. A run is masked as a whole that way.
    """
    stretches, bands = shape
    # Runs no longer than half the sound, else all masks are alike.
    lengths = [min(window, max(1, stretches // 2)) for window in windows]
    ring = (stretches + max(lengths) if stretches > 1 else 1, bands + _BAND_RUN if bands > 1 else 1)
    keys = random.random((count, *ring), dtype=np.float32)
    run = random.integers(len(lengths), size=count)
    wide = random.integers(1, _BAND_RUN + 1, size=count) if bands > 1 else np.ones(count, np.int64)
    for length in sorted(set(lengths)):
        for width in range(1, _BAND_RUN + 1):
            chosen = (np.asarray(lengths)[run] == length) & (wide == width)
            if chosen.any() and length * width > 1:
                keys[chosen] = _smallest(_smallest(keys[chosen], length, 1), width, 2)
    share = random.uniform(*shares, size=count)
    flat = keys.reshape(count, -1)
    rank = np.clip(np.rint(share * flat.shape[1]).astype(np.int64), 1, flat.shape[1] - 1)
    threshold = np.take_along_axis(np.sort(flat, axis=1), rank[:, None], axis=1)
    kept = (flat >= threshold).reshape(keys.shape)[:, :stretches, :bands]
    return np.ascontiguousarray(kept).reshape(count, -1)


def _smallest(keys: FloatArray, length: int, axis: int) -> FloatArray:
    """The smallest of every `length` neighbours on a ring."""
    smallest = keys
    for step in range(1, length):
        smallest = np.minimum(smallest, np.roll(keys, step, axis=axis))
    return smallest


def batch_of(samples: int) -> int:
    """Sounds of `samples` samples that go to a model together."""
    return max(1, min(_MOST_SOUNDS, _BATCH_VALUES // samples))


class Perturbation:
    """The sounds that masks make of one sound."""

    def __init__(
        self, waveform: FloatArray, grid: SegmentGrid, settings: SegmentSettings, random: np.random.Generator
    ) -> None:
        """`waveform`: [N] float32, over which `grid` lies."""
        self._grid = grid
        self._sound = in_bands(waveform, grid)
        self._filler = Filler(waveform, grid, settings, random)
        shortest = int(np.diff(grid.edges)[: max(1, grid.shape[0] - 1)].min())
        self._half_fade = min(samples_of(0.5 * settings.fade_seconds, grid.sample_rate), shortest // 2)
        ramp = (np.arange(2 * self._half_fade) + 0.5) / max(1, 2 * self._half_fade)
        self._rise = (0.5 - 0.5 * np.cos(np.pi * ramp)).astype(np.float32)
        # [T - 1, fade]: the samples of each border's fade; the last may reach past the end.
        around = grid.edges[1:-1, None] + np.arange(-self._half_fade, self._half_fade)
        self._borders = np.minimum(around, waveform.size - 1)
        self.batch = settings.batch or batch_of(waveform.size)

    @fork_waits
    def sounds(self, masks: Masks) -> FloatArray:
        """Sounds [B, N] for `masks` [B, M]; the fill is drawn once for all of them."""
        stretches, bands = self._grid.shape
        fill = self._filler.draw()
        if stretches == 1:
            # Only bands: a sum of whole bands.
            return np.asarray(fill.sum(axis=0) + masks.astype(np.float32) @ (self._sound - fill), np.float32)
        gates = masks.reshape(len(masks), stretches, bands)
        sounds = self._gated(self._sound[0], fill[0], gates[:, :, 0])
        for band in range(1, bands):
            sounds += self._gated(self._sound[band], fill[band], gates[:, :, band])
        return sounds

    def _gated(self, sound: FloatArray, fill: FloatArray, kept: Masks) -> FloatArray:
        """[B, N]: `sound` where `kept` [B, T], else `fill`, with a fade at every change."""
        edges, half = self._grid.edges[1:-1], self._half_fade
        out = np.empty((len(kept), sound.size), np.float32)
        # At every border, both ways.
        step = (sound[self._borders] - fill[self._borders]) * self._rise
        into, back = fill[self._borders] + step, sound[self._borders] - step
        # Runs are copied, not multiplied: whole stretches of memory, and few of them.
        for row, mask in zip(out, kept, strict=True):
            changes = np.flatnonzero(mask[1:] != mask[:-1])
            begin, on = 0, bool(mask[0])
            for border, at in zip(changes.tolist(), edges[changes].tolist(), strict=True):
                row[begin : at - half] = (sound if on else fill)[begin : at - half]
                fade = (back if on else into)[border]
                begin, on = at + half, not on
                row[at - half : begin] = fade[: sound.size - at + half]
            row[begin:] = (sound if on else fill)[begin:]
        return out
