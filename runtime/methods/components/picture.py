"""A sound's components as a PNG: the evidence on the spectrogram, and below it a strip for each component."""

from __future__ import annotations

from os import PathLike
from typing import Any, BinaryIO

import numpy as np

from ...arrays import FloatArray
from ...drawing.lettering import Lettering
from ...drawing.spectrogram import COLD, FAINT, HEIGHT, INK, LEFT, RIGHT, WARM, font_of, painted
from .result import Component, ComponentsResult

# Strips: how many at the most, how high, and how high the activation in them.
_MOST, _ROW, _DRAWN = 8, 44, 22
_SELECTED, _OTHER = WARM[3], COLD[3]


def draw_components(
    path: str | PathLike[str] | BinaryIO, components: ComponentsResult, *, title: str
) -> None:
    """Write a PNG, 1000 pixels wide.

    Strips show activation over time, each on its own scale, of the components that matter most for the
    target: the selected ones in warm colours, then others in cold ones, with relevance and name.
    """
    from PIL import ImageDraw

    order = np.argsort(-np.abs(components.relevance), kind="stable")
    others = [
        int(index) for index in order if index not in components.selected and components.relevance[index]
    ]
    shown = [components[index] for index in [*components.selected, *others][:_MOST]]
    evidence = components.overview
    image = painted(
        amplitude=evidence.amplitude,
        mask=evidence.mask,
        seconds=components.seconds,
        max_hz=components.max_hz,
        title=title,
        more=_ROW * max(1, len(shown)) + 14,
    )
    canvas, font = ImageDraw.Draw(image), font_of(14)
    for row, component in enumerate(shown):
        _strip(canvas, font, component, components.activations[component.index], HEIGHT + row * _ROW)
    if not shown:
        canvas.text((LEFT, HEIGHT + 20), "no component is active", FAINT, font, anchor="lm")
    image.save(path, format="PNG", optimize=False)


def _strip(canvas: Any, font: Any, component: Component, activation: FloatArray, top: int) -> None:
    """One component: name above, activation below, relevance to the right."""
    colour = _SELECTED if component.selected else _OTHER
    about = f"  ({component.label})" if component.label else ""
    text = f"#{component.index}  {component.name}{about}"
    Lettering(14).write(canvas, (LEFT, top + 9), text, INK, RIGHT - LEFT)
    canvas.text((RIGHT + 14, top + 30), f"{component.relevance:+.2f}", colour, font, anchor="lm")
    base, width = top + _ROW - 4, RIGHT - LEFT
    heights = _columns(np.asarray(activation, np.float32), width)
    peak = float(heights.max(initial=0.0)) or 1.0
    for column, height in enumerate(heights / peak * _DRAWN):
        if height >= 0.5:
            canvas.line([(LEFT + column, base - round(float(height))), (LEFT + column, base)], colour)
    canvas.line([(LEFT, base), (RIGHT - 1, base)], FAINT)


def _columns(values: FloatArray, width: int) -> FloatArray:
    """The largest value of the frames that share a column, [width]."""
    starts = np.arange(width) * len(values) // width
    return np.maximum.reduceat(values, starts) if len(values) >= width else values[starts]
