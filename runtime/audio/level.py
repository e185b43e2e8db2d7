"""The level of a model's input: what its own pipeline divides a sound by."""

from __future__ import annotations

import numpy as np

from ..arrays import FloatArray

# A signed peak below this share of the absolute one is no level.
_FAINTEST = 1e-4


def level_of(waveform: FloatArray, how: str) -> float:
    """The divisor that the pipeline `how` ("none", "peak" or "signed_peak") puts to `waveform` [N].

    1 for silence, which has no level, and where a signed peak is below zero, which would turn the
    sound over, or next to nothing, which would drive it out of all range.
    """
    if how == "none" or not len(waveform):
        return 1.0
    return level_of_peaks(float(np.abs(waveform).max()), float(waveform.max()), how)


def level_of_peaks(peak: float, highest: float, how: str) -> float:
    """As `level_of`, from a sound's largest absolute value and its largest value."""
    if how == "none":
        return 1.0
    if how == "peak":
        return peak or 1.0
    return highest if highest > _FAINTEST * peak else 1.0
