"""Charts as images: the spectrogram with the evidence on it, and strips below it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..values.arrays import FloatArray
from .canvas import Canvas, Frame
from .colours import AGAINST, FAINT, FOR, INK
from .shown import Bars, Chart, Curve, Join, Tiles

WIDTH, LEFT, TOP, RIGHT, BOTTOM = 1000, 62, 48, 862, 366
# Below the main frame: its axis of time; a strip of bars, one of a curve; the caption.
_AXIS, _BARS, _CURVE, _CAPTION = 34, 130, 44, 20
# A curve's share of its strip, below its name.
_DRAWN = 22
# A row above the bars that joins two stretches, and half of what its word takes of it.
_JOIN, _WORD = 14, 16


def chart_image(chart: Chart) -> Any:
    """A Pillow image 1000 pixels wide."""
    alone = chart.spectrogram is None and chart.tiles is None
    below = chart.strips[1:] if alone and chart.strips else chart.strips
    heights = [_BARS if isinstance(strip, Bars) else _CURVE for strip in below]
    height = BOTTOM + _AXIS + sum(heights) + (_CURVE if chart.note else 0) + _CAPTION
    canvas = Canvas(WIDTH, height)
    canvas.text((LEFT, 24), chart.title, 19, RIGHT - LEFT)
    canvas.text((LEFT, height - 12), chart.caption, 12, WIDTH - LEFT, FAINT)
    frame = (LEFT, TOP, RIGHT, BOTTOM)
    if alone and chart.strips:
        _strip(canvas, frame, chart.strips[0], chart.seconds)
    else:
        _main(canvas, frame, chart)
    canvas.time_axis(frame, chart.seconds)
    top = BOTTOM + _AXIS
    for strip, rows in zip(below, heights, strict=True):
        _strip(canvas, (LEFT, top + 4, RIGHT, top + rows - 4), strip, chart.seconds)
        top += rows
    if chart.note:
        canvas.word((LEFT, top + 20), chart.note, "lm", FAINT)
    return canvas.image


def _main(canvas: Canvas, frame: Frame, chart: Chart) -> None:
    """Spectrogram and tiles, with their axis and their colour bars."""
    _, top, right, bottom = frame
    shown, bar = chart.spectrogram, right + 18
    if shown is not None:
        canvas.spectrogram(frame, shown, pale=chart.tiles is not None)
        canvas.loudness_bar(bar, top + 26, bottom)
        bar += 62
        if shown.mask is not None:
            canvas.mask_bar(bar, top + 26, bottom)
    if chart.tiles is not None:
        _tiles(canvas, frame, chart.tiles, chart)
        most = float(np.abs(chart.tiles.values).max(initial=0.0)) or 1.0
        canvas.signed_bar(bar, top + 26, bottom, most, chart.tiles.unit)
    if chart.max_hz > 0:
        canvas.frequency_axis(frame, chart.max_hz)


def _tiles(canvas: Canvas, frame: Frame, tiles: Tiles, chart: Chart) -> None:
    """Each tile the stronger coloured the more it matters."""
    left, top, right, bottom = frame
    most = float(np.abs(tiles.values).max(initial=0.0)) or 1.0
    for (start, end, low, high), value in zip(tiles.boxes, tiles.values, strict=True):
        across = [round(left + (right - left) * min(1.0, at / chart.seconds)) for at in (start, end)]
        down = [round(bottom - (bottom - top) * min(1.0, hz / chart.max_hz)) for hz in (high, low)]
        if across[1] > across[0] and down[1] > down[0]:
            canvas.lay((across[0], down[0], across[1], down[1]), value, 0.85 * abs(float(value)) / most)


def _strip(canvas: Canvas, frame: Frame, strip: Bars | Curve, seconds: float) -> None:
    if isinstance(strip, Bars):
        _bars(canvas, frame, strip, seconds)
    else:
        _curve(canvas, frame, strip)


def _bars(canvas: Canvas, frame: Frame, bars: Bars, seconds: float) -> None:
    """Bars up for the label and down against it, on a scale that holds every one with its deviation."""
    _joins(canvas, frame, bars.joins, seconds)
    left, top, right, bottom = frame
    top += _JOIN * len(bars.joins)
    spread = np.nan_to_num(bars.spread)
    high = max(float((bars.values + spread).max(initial=0.0)), 0.0)
    low = min(float((bars.values - spread).min(initial=0.0)), 0.0)
    span = (high - low) or 1.0

    def level(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / span

    def across(at: float) -> float:
        return left + (right - 1 - left) * min(1.0, at / seconds)

    for index, value in enumerate(bars.values):
        first = round(across(float(bars.start_s[index])))
        last = max(first + 1, round(across(float(bars.end_s[index]))) - 1)
        upper, lower = sorted((round(level(float(value))), round(level(0.0))))
        if lower > upper:
            canvas.lay((first, upper, last, lower), value, 1.0)
            if value < 0:
                canvas.box((first, upper, last, lower), AGAINST)
        if spread[index] > 0.0:
            middle = (first + last) / 2.0
            ends = [(middle, level(float(value + sign * spread[index]))) for sign in (-1.0, 1.0)]
            canvas.draw.line(ends, INK)
    canvas.draw.line([(left, level(0.0)), (right - 1, level(0.0))], INK)
    for value in sorted({low, 0.0, high}):
        # Figures that would cover the zero's are left out.
        if value == 0.0 or abs(level(value) - level(0.0)) > 16.0:
            canvas.word((left - 9, level(value)), f"{value:.2g}", "rm")
    canvas.word((right + 14, top), bars.unit, "lt", FAINT, 13)
    canvas.word((right + 14, top + 20), f"up: {bars.words[0]}", "lt", FOR, 13)
    canvas.word((right + 14, top + 38), f"down: {bars.words[1]}", "lt", AGAINST, 13)


def _joins(canvas: Canvas, frame: Frame, joins: tuple[Join, ...], seconds: float) -> None:
    """A row each: a line over both stretches, and the word on what joins them."""
    left, top, right, _ = frame
    for number, join in enumerate(joins):
        row = top + round((number + 0.5) * _JOIN)
        spans = [
            [round(left + (right - 1 - left) * min(1.0, at / seconds)) for at in span]
            for span in (join.first, join.second)
        ]
        middle = round(0.5 * (spans[0][1] + spans[1][0]))
        canvas.draw.line([(spans[0][1], row), (middle - _WORD, row)], FAINT)
        canvas.draw.line([(middle + _WORD, row), (spans[1][0], row)], FAINT)
        for start, end in spans:
            canvas.draw.rectangle([start, row - 2, max(start + 1, end), row + 2], INK)
        canvas.word((middle, row), join.word, "mm", INK, 13)


def _curve(canvas: Canvas, frame: Frame, curve: Curve) -> None:
    """The name above, the curve below on its own scale, its number to the right."""
    left, top, right, bottom = frame
    colour = FOR if curve.strong else FAINT
    canvas.text((left, top + 5), curve.name, 14, right - left)
    canvas.word((right + 14, top + 24), f"{curve.number:+.2f}", "lm", colour)
    heights = _columns(np.asarray(curve.values, np.float32), right - left)
    peak = float(heights.max(initial=0.0)) or 1.0
    for column, height in enumerate(heights / peak * _DRAWN):
        if height >= 0.5:
            canvas.draw.line(
                [(left + column, bottom - round(float(height))), (left + column, bottom)], colour
            )
    canvas.draw.line([(left, bottom), (right - 1, bottom)], FAINT)


def _columns(values: FloatArray, width: int) -> FloatArray:
    """The largest value of the frames that share a column, [width]."""
    starts = np.arange(width) * len(values) // width
    return np.maximum.reduceat(values, starts) if len(values) >= width else values[starts]
