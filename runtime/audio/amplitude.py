"""Amplitude over time and frequency of sound that no model's spectrogram is at hand of, for pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ..bundle.manifest import AnalysisSpec
from ..values.arrays import FloatArray
from .stft import forward, frame_count

# Frames last about so long.
_FRAME_S = 0.025
# More show no more in a picture; each is the maximum of the frames that it stands for.
_COLUMNS = 1200


def amplitude_of(sound: FloatArray, rate: int) -> FloatArray:
    """Magnitudes [T, F] of mono sound [samples] at `rate` Hz; the bins span 0 to rate / 2."""
    return np.abs(forward(sound, _spec(rate)))


def amplitude_of_blocks(blocks: Iterable[FloatArray], rate: int, samples: int) -> FloatArray:
    """The same of sound of any length that comes in blocks [channels, n], in at most 1200 columns."""
    spec = _spec(rate)
    frames = frame_count(samples, spec)
    columns = min(_COLUMNS, frames)
    shown = np.zeros((columns, spec.n_fft // 2 + 1), np.float32)
    half = spec.n_fft // 2
    first, rest = 0, np.zeros(half, np.float32)

    def show(sound: FloatArray) -> int:
        """Show the frames that lie within; how many hops of it are done with."""
        count = max(0, (len(sound) - spec.n_fft) // spec.hop + 1)
        if count:
            inner = half // spec.hop
            amplitude = np.abs(forward(sound, spec)[inner : inner + count])
            at = np.minimum((first + np.arange(count)) * columns // frames, columns - 1)
            np.maximum.at(shown, at, amplitude)
        return count

    for block in blocks:
        rest = np.concatenate([rest, block.mean(axis=0, dtype=np.float32)])
        seen = show(rest)
        first, rest = first + seen, rest[seen * spec.hop :]
    show(np.concatenate([rest, np.zeros(half, np.float32)]))
    return shown


def _spec(rate: int) -> AnalysisSpec:
    width = 2 ** max(4, math.ceil(math.log2(_FRAME_S * rate)))
    return AnalysisSpec(n_fft=width, window_length=width, hop=width // 4, window="hann")
