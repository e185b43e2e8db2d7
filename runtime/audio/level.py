"""The level at which a model takes sound: what its own pipeline divides a sound by."""

from __future__ import annotations

import math

import numpy as np

from ..values.arrays import FloatArray

# A signed peak below this share of the absolute one is no level.
_FAINTEST = 1e-4
# Added to a variance, as transformers' extractors do.
_LEAST_VARIANCE = 1e-7


def level_of(waveform: FloatArray, how: str) -> float:
    """The divisor that a pipeline puts to `waveform` [N]; see `LevelMeter`."""
    meter = LevelMeter(how)
    meter.add(waveform)
    return meter.level


def mixed(channels: FloatArray) -> FloatArray:
    """The mean [n] of channels [C, n], which is what models take."""
    mono: FloatArray = channels[0]
    if len(channels) > 1:
        # As `mean`, whose sum over a few long rows takes four times as long.
        mono = np.add(mono, channels[1], dtype=np.float32)
        for channel in channels[2:]:
            mono += channel
        mono /= np.float32(len(channels))
    return mono


def levelled(channels: FloatArray, level: float, samples: int = 0) -> FloatArray:
    """The mix [n] of channels [C, n], divided by a level and padded with zeros to so many samples."""
    mono = mixed(channels)
    if level != 1.0:
        mono = mono / np.float32(level)
    missing = samples - len(mono)
    return np.pad(mono, (0, missing)) if missing > 0 else mono


class LevelMeter:
    """The divisor that a pipeline puts to a sound, from its blocks.

    how: "none", "peak", "signed_peak" or "unit_variance" (the standard deviation)
    """

    def __init__(self, how: str) -> None:
        self._how = how
        self._peak, self._highest = 0.0, -math.inf
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def add(self, block: FloatArray) -> None:
        """The next samples [N] of the sound."""
        if self._how == "none" or not len(block):
            return
        if self._how != "unit_variance":
            self._peak = max(self._peak, float(np.abs(block).max()))
            self._highest = max(self._highest, float(block.max()))
            return
        # Mean and sum of squared deviations of both parts together.
        mean = float(np.mean(block, dtype=np.float64))
        squares = float(np.var(block, dtype=np.float64)) * len(block)
        total = self._count + len(block)
        apart = mean - self._mean
        self._squares += squares + apart * apart * self._count * len(block) / total
        self._mean += apart * len(block) / total
        self._count = total

    @property
    def level(self) -> float:
        """The divisor.

        1 for silence, which has no level, and where a signed peak is below zero, which would turn the
        sound over, or next to nothing, which would drive it out of all range.
        """
        if self._how == "unit_variance":
            return math.sqrt(self._squares / self._count + _LEAST_VARIANCE) if self._squares else 1.0
        if self._how == "peak":
            return self._peak or 1.0
        if self._how == "signed_peak" and self._highest > _FAINTEST * self._peak:
            return self._highest
        return 1.0
