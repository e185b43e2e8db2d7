"""What a picture of segments shows: bars below the spectrogram, or tiles on it."""

from __future__ import annotations

from ...drawing.shown import Bars, Chart, Join, Tiles
from ...values.arrays import Values
from ..result import About
from .result import PairKind, SegmentsResult


def chart_of(part: SegmentsResult, about: About) -> Chart:
    """Importance over the spectrogram of the sound.

    Axis time: a bar a segment, upwards for the target and downwards against it, with its uncertainty; where
    segments are not alike, of their importance per second and window. Above it stretches of which either
    suffices ("or") or both are needed ("and").
    Other axes: a tile a segment, the stronger coloured the more it matters.
    """
    values, spread, per = shown_values(part)
    unit = part.unit.replace("_", "-") + per
    sound = about.spectrogram()
    if part.axis != "time":
        edges = zip(part.start_s, part.end_s, part.fmin_hz, part.fmax_hz, strict=True)
        boxes = tuple((float(a), float(b), float(low), float(high)) for a, b, low, high in edges)
        tiles = Tiles(boxes, values, unit)
        return Chart(about.title, about.caption, about.duration_s, sound, tiles)
    bars = Bars(part.start_s, part.end_s, values, spread, unit, part.effects, joins_of(part))
    return Chart(about.title, about.caption, about.duration_s, sound, strips=(bars,))


def shown_values(part: SegmentsResult) -> tuple[Values, Values, str]:
    """What pictures show of each segment: importance and its uncertainty, and what their unit is divided by.

    Where segments are not alike: per second and window, by which they are ranked.
    """
    if not part.uneven:
        return part.importance, part.uncertainty, ""
    return part.density, part.uncertainty / (part.windows * (part.end_s - part.start_s)), " per s"


def joins_of(part: SegmentsResult) -> tuple[Join, ...]:
    """Stretches of which either suffices, or both are needed."""
    words: dict[PairKind, str] = {"either": "or", "both": "and"}
    return tuple(Join(one.first, one.second, words[one.kind]) for one in part.interacting)
