"""What a picture of components shows: the evidence on the spectrogram, and a curve for each component."""

from __future__ import annotations

import numpy as np

from ...drawing.shown import Chart, Curve
from ..result import About
from .result import Component, ComponentsResult

# Curves at the most.
_MOST = 8


def chart_of(part: ComponentsResult, about: About) -> Chart:
    """The spectrogram with what the selected components keep, and activations over time.

    Curves are those of the components that matter most for the target, each on its own scale: the selected
    ones first, then others, with relevance and name.
    """
    order = np.argsort(-np.abs(part.relevance), kind="stable")
    others = [int(index) for index in order if index not in part.selected and part.relevance[index]]
    shown = [part[index] for index in [*part.selected, *others][:_MOST]]
    return Chart(
        about.title,
        about.caption,
        about.duration_s,
        part.spectrogram(about.duration_s),
        strips=tuple(_curve(part, one) for one in shown),
        note="" if shown else "no component is active",
    )


def _curve(part: ComponentsResult, one: Component) -> Curve:
    known = f"  ({one.label})" if one.label else ""
    activation = np.asarray(part.activations[one.index], np.float32)
    return Curve(activation, f"#{one.index}  {one.name}{known}", one.relevance, one.selected)
