"""Prototypes as an importance over time: the places in the input, weighted by contribution to the target."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ....errors import MethodError
from ...values.arrays import Values
from .prototype import Place
from .result import PrototypesResult


def importance_of_channels(result: PrototypesResult, edges: Values) -> Values:
    """Importance [M] by the listed channels' places, weighted by contribution where it is positive."""
    weighted = (
        (channel.place, channel.score if channel.contribution is None else channel.contribution)
        for channel in result.channels
    )
    return _over_segments(weighted, edges)


def importance_of_view(result: PrototypesResult, view: str, label: str, edges: Values) -> Values:
    """Importance [M] by the places that resemble prototypes of the label, weighted by their cosine.

    Raises MethodError where the generation has no such view.
    """
    # An embedding has no places: its prototypes speak for all of a window.
    view = "window" if "window" in result.prototypes else view
    if view not in result.prototypes:
        raise MethodError(f"prototypes: this bundle has no view {view!r}")
    matches = result.prototypes[view]
    return _over_segments(((one.place, one.similarity) for one in matches if one.label == label), edges)


def _over_segments(places: Iterable[tuple[Place, float]], edges: Values) -> Values:
    importance, lengths = np.zeros(len(edges) - 1), np.diff(edges)
    for place, weight in places:
        shared = np.minimum(edges[1:], place.end_s) - np.maximum(edges[:-1], place.start_s)
        importance += max(0.0, float(weight)) * np.clip(shared, 0.0, None) / lengths
    return importance
