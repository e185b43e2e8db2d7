"""How long the passage around a frame of the feature map lasts, and how often the like begins beside it.

Of the spectrogram S and the bands r of the feature map, the level of a frame of the analysis is

    L(t) = mean_r 10 log10(mean_{f in r} |S(t, f)|^2)          (at most 60 dB below the loudest)

so that all bands count alike, smoothed over 50 ms. A frame of the feature map has the level P of its loudest
moment, and stands out by D = P - Q, where Q is the level that a tenth of the window lies below.

- Its passage is the stretch around that moment in which the level stays above P - min(D / 2, 10 dB); with D
  below 6 dB the whole window, which then has no rhythm.
- Its rhythm is the rate at which stretches above that level begin, within two seconds before and after: their
  mean distance, inverted; 0 where there is but one. Two between which the level falls by less than D / 4
  (at most 3 dB) more are one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ....forks import fork_waits
from ....prototypes_index.passages import PASSAGE
from ....prototypes_index.table import Table
from ....prototypes_index.views import Grid
from ...values.arrays import FloatArray
from ...values.lazy import lazy_property

_RANGE_DB = 60.0
_QUIET = 0.1
_SMOOTH_S = 0.05
_STEADY_DB, _DOWN_DB, _DIP_DB = 6.0, 10.0, 3.0
_AROUND_S = 2.0


class Passages:
    """The passages of one window, measured when they are asked for."""

    def __init__(self, amplitude: FloatArray, rate: int, hop: int, grid: Grid, seconds: float) -> None:
        """Of |S| [T, F], whose frames lie `hop` samples apart; padding behind `seconds` is no passage."""
        self._step_s, self._frame_s, self._seconds = hop / rate, grid.frame_seconds, seconds
        self._amplitude = amplitude[: 1 + int(round(seconds / self._step_s, 6))]
        self._max_hz, self._bands_hz = 0.5 * rate, grid.bands_hz

    def at(self, frames: npt.NDArray[Any]) -> Table:
        """The passages around frames [n] of the feature map: `PASSAGE` records [n]."""
        distinct, of_frame = np.unique(frames, return_inverse=True)
        found = np.zeros(len(distinct), PASSAGE)
        for number, frame in enumerate(distinct.tolist()):
            found[number] = self._around(self._loudest(frame))
        passages: Table = found[of_frame.reshape(-1)]
        return passages

    @lazy_property
    def _level(self) -> FloatArray:
        """The level of every frame of the analysis in dB, [T]."""
        level = _level_of(self._amplitude, self._max_hz, self._bands_hz)
        # Noise must not look like a rhythm: means of an odd number of frames, the outermost repeated.
        beside = math.floor(0.5 * _SMOOTH_S / self._step_s)
        width = 2 * beside + 1
        padded = np.pad(level, beside, mode="edge")
        smooth: FloatArray = np.convolve(padded, np.full(width, 1.0 / width, np.float32), "valid")
        return smooth

    @lazy_property
    def _quiet(self) -> float:
        """What a tenth of the window lies below."""
        return float(np.quantile(self._level, _QUIET))

    def _loudest(self, frame: int) -> int:
        """The frame of the analysis at which a frame of the feature map is loudest."""
        last = len(self._level) - 1
        begin, end = (_steps(one * self._frame_s / self._step_s) for one in (frame, frame + 1))
        begin = min(begin, last)
        return begin + int(self._level[begin : max(end, begin + 1)].argmax())

    def _around(self, at: int) -> tuple[float, float]:
        """Length in seconds and onsets per second of the passage around a frame of the analysis."""
        level = self._level
        stands_out = float(level[at]) - self._quiet
        if stands_out < _STEADY_DB:
            return self._seconds, 0.0
        above = float(level[at]) - min(0.5 * stands_out, _DOWN_DB)
        begins, ends = _stretches(level, above, above - min(0.25 * stands_out, _DIP_DB))
        own = int(np.searchsorted(begins, at, side="right")) - 1
        around = _AROUND_S / self._step_s
        near = begins[(begins >= at - around) & (begins <= at + around)]
        passed = float(near[-1] - near[0]) * self._step_s if len(near) > 1 else math.inf
        return float(ends[own] - begins[own]) * self._step_s, (len(near) - 1) / passed


@fork_waits
def _level_of(amplitude: FloatArray, max_hz: float, bands_hz: Sequence[tuple[float, float]]) -> FloatArray:
    """The level of every frame in dB [T], the mean over the bands."""
    bins = amplitude.shape[1]
    per_hz = (bins - 1) / max_hz
    within = np.zeros((bins, len(bands_hz)), np.float32)
    for row, (low, high) in enumerate(bands_hz):
        # A band between two bins has the upper one.
        first = min(_steps(low * per_hz), bins - 1)
        last = max(_steps(high * per_hz), first + 1)
        within[first:last, row] = 1.0 / (last - first)
    bands = np.square(amplitude) @ within
    floor = max(float(bands.max()) * 10.0 ** (-0.1 * _RANGE_DB), 1e-30)
    level: FloatArray = 10.0 * np.log10(np.maximum(bands, floor)).mean(axis=1)
    return level


def _steps(value: float) -> int:
    """The first step that does not lie before `value`."""
    return math.ceil(round(value, 6))


def _stretches(
    level: FloatArray, above: float, dip: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Begin and end of the stretches above a level, of which those without a dip between them are one."""
    inside = level >= above
    steps = np.diff(inside.astype(np.int8), prepend=0, append=0)
    begins, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    parted = [bool((level[end:begin] < dip).any()) for end, begin in zip(ends[:-1], begins[1:], strict=True)]
    return begins[[True, *parted]], ends[[*parted, True]]
