"""Axes of pictures: scales of frequency, round marks, and times as people write them."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..values.arrays import FloatArray, Values
from ..values.mel import hz_of_mel, mel_of

# How frequency is laid over the height.
FrequencyScale = Literal["linear", "mel", "log"]

# Where a logarithmic axis begins, unless that is too high for the sound.
_LOWEST_HZ = 50.0
_COLUMNS, _ROWS = 1200, 256
_OCTAVES = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
_MEL_MARKS = (0, 250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000)
# From here on times are minutes, and hours.
_MINUTES_S, _HOURS_S = 120.0, 7200.0
_MOST_TIMES = 9


def lowest_hz(max_hz: float, scale: FrequencyScale) -> float:
    """Where the axis begins."""
    return min(_LOWEST_HZ, max_hz / 10.0) if scale == "log" else 0.0


def frequencies_of(shares: npt.ArrayLike, max_hz: float, scale: FrequencyScale) -> Values:
    """Frequencies in Hz at shares 0..1 of the height."""
    at = np.asarray(shares, np.float64)
    if scale == "mel":
        return hz_of_mel(at * mel_of(max_hz))
    if scale == "log":
        low = lowest_hz(max_hz, scale)
        return np.asarray(low * (max_hz / low) ** at)
    return at * max_hz


def on_scale(values: FloatArray, max_hz: float, scale: FrequencyScale) -> FloatArray:
    """[T, F] over 0 to `max_hz` as [T, F'] over even steps of the axis; the largest of bins in one."""
    if scale == "linear":
        return values
    bins = values.shape[1]
    edges = frequencies_of(np.linspace(0.0, 1.0, _ROWS + 1), max_hz, scale) / max_hz * bins
    first = np.minimum(edges[:-1].astype(np.intp), bins - 1)
    last = np.maximum(np.ceil(edges[1:]).astype(np.intp), first + 1)
    rows = [values[:, low:high].max(axis=1) for low, high in zip(first, last, strict=True)]
    return np.stack(rows, axis=1)


def frequency_marks(max_hz: float, scale: FrequencyScale = "linear") -> list[float]:
    """Round frequencies in Hz to mark an axis with."""
    if scale == "linear":
        step = round_step(max_hz, 8)
        return [index * step for index in range(int(max_hz / step * (1 + 1e-9)) + 1)]
    low = lowest_hz(max_hz, scale)
    return [float(hz) for hz in (_MEL_MARKS if scale == "mel" else _OCTAVES) if low <= hz <= max_hz]


def columns_of(values: npt.ArrayLike) -> FloatArray:
    """At most 1200 frames [T', F]: the largest value of the frames that share a column."""
    array = np.asarray(values)
    if len(array) > _COLUMNS:
        starts = np.arange(_COLUMNS) * len(array) // _COLUMNS
        array = np.maximum.reduceat(array, starts, axis=0)
    if not np.isfinite(array).all():
        array = np.nan_to_num(array)
    return np.asarray(array, dtype=np.float32)


def time_marks(seconds: float) -> list[float]:
    """Round times in seconds to mark an axis from 0 on with: of long sound those of a clock."""
    step = round_step(seconds, _MOST_TIMES)
    if seconds >= _MINUTES_S:
        clocks = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
        step = next((float(clock) for clock in clocks if seconds / clock <= _MOST_TIMES), step)
    return [min(seconds, index * step) for index in range(int(seconds / step * (1 + 1e-9)) + 1)]


def time_unit(seconds: float) -> str:
    """What `clock` counts in, on an axis that spans so many seconds."""
    return "seconds" if seconds < _MINUTES_S else "min:s" if seconds < _HOURS_S else "h:min"


def clock(at: float, step: float, span: float) -> str:
    """A time as seconds, min:ss or h:mm, whichever the span asks for; `step`: between marks."""
    if span < _MINUTES_S:
        return f"{at:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"
    if span < _HOURS_S:
        return f"{int(at) // 60}:{int(at) % 60:02d}"
    return f"{int(at) // 3600}:{int(at) % 3600 // 60:02d}"


def round_step(span: float, most: int) -> float:
    """The smallest round step that marks `span` at most `most` times."""
    scale = 10.0 ** math.floor(math.log10(span / most))
    return next(
        scale * factor
        for factor in (1.0, 2.0, 5.0, 10.0, 20.0)
        if span / (scale * factor) <= most * (1 + 1e-9)
    )
