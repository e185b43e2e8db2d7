"""The segments' importances as a PNG: bars over time, or tiles over time and frequency."""

from __future__ import annotations

from os import PathLike
from typing import Any, BinaryIO

import numpy as np

from ...drawing.lettering import Lettering
from ...drawing.spectrogram import (
    BOTTOM,
    COLD,
    FAINT,
    HEIGHT,
    INK,
    LEFT,
    PAPER,
    RIGHT,
    TOP,
    WARM,
    WIDTH,
    font_of,
    frequency_axis,
    time_axis,
)
from .result import SegmentsResult

# For and against the target.
_FOR, _AGAINST = WARM[3], COLD[3]


def draw_segments(
    path: str | PathLike[str] | BinaryIO, segments: SegmentsResult, *, seconds: float, title: str
) -> None:
    """Write a PNG of 1000 x 420 pixels over `seconds` of sound.

    Axis time: a bar a segment, upwards for the target and downwards against it, with its uncertainty; where
    segments are not alike, of their importance per second and window.
    Other axes: a tile a segment, the stronger coloured the more it matters.
    """
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    canvas = ImageDraw.Draw(image)
    font = font_of(14)
    Lettering(19).write(canvas, (LEFT, 24), title, INK, RIGHT - LEFT)
    if segments.axis == "time":
        _bars(canvas, font, segments, seconds)
    else:
        _tiles(canvas, segments, seconds)
        frequency_axis(canvas, font, float(segments.fmax_hz.max()))
    time_axis(canvas, font, seconds)
    canvas.text((RIGHT + 14, TOP + 1), "for", _FOR, font, anchor="lt")
    canvas.text((RIGHT + 14, TOP + 21), "against", _AGAINST, font, anchor="lt")
    image.save(path, format="PNG", optimize=False)


def _across(at: float, seconds: float) -> float:
    """The column of a time in seconds."""
    return LEFT + (RIGHT - 1 - LEFT) * min(1.0, at / seconds)


def _bars(canvas: Any, font: Any, segments: SegmentsResult, seconds: float) -> None:
    """Bars on a scale that holds every bar with its uncertainty, and zero."""
    doubt, values = np.nan_to_num(segments.uncertainty), segments.importance
    if segments.uneven:
        doubt = doubt / (segments.windows * (segments.end_s - segments.start_s))
        values = segments.density
    high = max(float((values + doubt).max()), 0.0)
    low = min(float((values - doubt).min()), 0.0)
    span = (high - low) or 1.0

    def level(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - low) / span

    for index, value in enumerate(values):
        left = _across(float(segments.start_s[index]), seconds)
        right = max(left + 1.0, _across(float(segments.end_s[index]), seconds) - 1.0)
        top, bottom = sorted((level(float(value)), level(0.0)))
        canvas.rectangle([left, top, right, bottom], _FOR if value >= 0 else _AGAINST)
        if doubt[index] > 0.0:
            middle = (left + right) / 2.0
            ends = [(middle, level(float(value + sign * doubt[index]))) for sign in (-1.0, 1.0)]
            canvas.line(ends, FAINT)
    canvas.line([(LEFT, level(0.0)), (RIGHT - 1, level(0.0))], INK)
    for value in {low, 0.0, high}:
        # Figures that would cover the zero's are left out.
        if value == 0.0 or abs(level(value) - level(0.0)) > 16.0:
            canvas.text((LEFT - 9, level(value)), f"{value:.2g}", INK, font, anchor="rm")
    unit = {"log_odds": "log-odds"}.get(segments.unit, segments.unit)
    canvas.text((RIGHT + 14, TOP + 51), unit, FAINT, font, anchor="lt")
    if segments.uneven:
        canvas.text((RIGHT + 14, TOP + 71), "a second", FAINT, font, anchor="lt")


def _tiles(canvas: Any, segments: SegmentsResult, seconds: float) -> None:
    """Tiles from paper to the colour of their sign."""
    most = float(np.abs(segments.density).max()) or 1.0
    top_hz = float(segments.fmax_hz.max())
    for index, value in enumerate(segments.density):
        share = abs(float(value)) / most
        colour = _FOR if value >= 0 else _AGAINST
        mixed = tuple(round(p + share * (c - p)) for p, c in zip(PAPER, colour, strict=True))
        left = _across(float(segments.start_s[index]), seconds)
        right = _across(float(segments.end_s[index]), seconds)
        low, high = (
            BOTTOM - (BOTTOM - TOP) * float(edge[index]) / top_hz
            for edge in (segments.fmin_hz, segments.fmax_hz)
        )
        canvas.rectangle([left, high, right, low], mixed)
