"""What a picture of segments shows: bars below the spectrogram, or tiles on it."""

from __future__ import annotations

import numpy as np

from ...drawing.shown import Bars, Chart, Join, Tiles
from ..result import About
from .result import PairKind, SegmentsResult


def chart_of(part: SegmentsResult, about: About) -> Chart:
    """Importance over the spectrogram of the sound.

    Axis time: a bar a segment, upwards for the target and downwards against it, with its uncertainty; where
    segments are not alike, of their importance per second and window. Above it stretches of which either
    suffices ("or") or both are needed ("and").
    Other axes: a tile a segment, the stronger coloured the more it matters.
    """
    unit = part.unit.replace("_", "-")
    sound = about.spectrogram()
    if part.axis != "time":
        edges = zip(part.start_s, part.end_s, part.fmin_hz, part.fmax_hz, strict=True)
        boxes = tuple((float(a), float(b), float(low), float(high)) for a, b, low, high in edges)
        values, unit = (part.density, f"{unit} per s") if part.uneven else (part.importance, unit)
        tiles = Tiles(boxes, np.asarray(values), unit)
        return Chart(about.title, about.caption, about.duration_s, sound, tiles)
    values, spread = part.importance, part.uncertainty
    if part.uneven:
        values, unit = part.density, f"{unit} per s"
        spread = spread / (part.windows * (part.end_s - part.start_s))
    bars = Bars(part.start_s, part.end_s, values, spread, unit, part.effects, joins_of(part))
    return Chart(about.title, about.caption, about.duration_s, sound, strips=(bars,))


def joins_of(part: SegmentsResult) -> tuple[Join, ...]:
    """Stretches of which either suffices, or both are needed."""
    words: dict[PairKind, str] = {"either": "or", "both": "and"}
    return tuple(Join(one.first, one.second, words[one.kind]) for one in part.interacting)
