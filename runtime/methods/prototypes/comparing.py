"""Familiarity measured: of the windows of a sound, and of the training clips of an index, what is usual."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....prototypes_index.acoustics import MEASURES, Held, Measure, held_out, statistics_in
from ....prototypes_index.familiarity import Usual
from ....prototypes_index.generation import Generation
from ....prototypes_index.table import Table
from ....prototypes_index.views import View
from ...audio.lengths import samples_of
from ...inference.window import Window
from .acoustics import statistics_of
from .bands import like_rows
from .familiarity import Familiarity
from .looking import Looked
from .search import Search

# Windows of a long sound that are looked up, and the least that one counts.
_MOST_WINDOWS = 64
_LEAST = 1e-6


class FamiliarWindows:
    """The familiarity of a sound, window by window: training clips were compared as single windows, too.

    Windows count by the target's score in them. Of a long sound the first windows stand for all.
    """

    def __init__(self, search: Search) -> None:
        self._search, self._usual = search, search.generation.info.usual
        # By view and by acoustic measure.
        self._sums: dict[View | Measure, float] = {}
        self._overall, self._weight, self._seen = 0.0, 0.0, 0

    def add(self, window: Window, looked: Looked, score: float) -> None:
        """See a window, of which `looked` was looked at, and in which the target has this score, 0..1."""
        usual = self._usual
        if usual is None or self._seen == _MOST_WINDOWS:
            return
        self._seen += 1
        search = self._search
        nearest: dict[View, float] = {}
        for view, queries in looked.queries(list(usual.views)).items():
            rows = like_rows(view, queries.rows.tolist(), search.grid.bands_hz)
            one = search.generation.nearest(view, queries.vectors, rows=rows)
            if one is None:
                return
            nearest[view] = one
        shares, weight = usual.shares(nearest), max(score, _LEAST)
        acoustics = self._acoustics(window, looked.places.span[1])
        for name, one in (*shares.items(), *acoustics.items()):
            self._sums[name] = self._sums.get(name, 0.0) + weight * one
        self._overall += weight * usual.whole(shares, acoustics)
        self._weight += weight

    def _acoustics(self, window: Window, real_s: float) -> dict[Measure, float]:
        """Shares by the statistics of the window's real sound; none where the index or the class has none."""
        generation, usual, manifest = self._search.generation, self._usual, self._search.manifest
        acoustics = generation.acoustics if usual is not None and usual.joint else None
        if usual is None or acoustics is None:
            return {}
        real = max(1, samples_of(real_s, manifest.sample_rate))
        measures = acoustics.measures(statistics_of(window, real, manifest))
        return {} if measures is None else usual.acoustic_shares(measures)

    def familiarity(self) -> Familiarity | None:
        """Percentiles of all windows so far; None where the index does not say what is usual."""
        if self._usual is None or not self._weight:
            return None
        percentiles = {str(name): 100.0 * one / self._weight for name, one in self._sums.items()}
        acoustics = {str(name): percentiles.pop(name) for name in MEASURES if name in percentiles}
        return Familiarity(100.0 * self._overall / self._weight, percentiles, self._usual.clips, acoustics)


def measure(generation: Generation, bands_hz: Sequence[tuple[float, float]]) -> Usual | None:
    """What is usual among the training sounds of a generation: each beside all *other* recordings.

    bands_hz: [low, high] of every row of the feature map. None where too few clips or recordings are known.
    Raises PrototypeIndexError where the generation is damaged.
    """
    tables = {view: generation.queries(view) for view in generation.views}
    clips = [set(table["clip"].tolist()) for table in tables.values()]
    alive = [clip for clip in sorted(set.intersection(*clips)) if generation.alive[clip]]
    similarities: dict[View, list[float]] = {view: [] for view in tables}
    compared: list[int] = []
    for clip in alive:
        nearest = {
            view: _nearest_other(generation, view, clip, table[table["clip"] == clip], bands_hz)
            for view, table in tables.items()
        }
        if None not in nearest.values():
            compared.append(clip)
        for view, one in nearest.items():
            if one is not None and None not in nearest.values():
                similarities[view].append(one)
    measures = _held_out(generation)
    return Usual.of(similarities, [measures.get(clip) for clip in compared])


def _held_out(generation: Generation) -> dict[int, Held]:
    """The acoustic measures of training clips, held out, by their rows."""
    table = generation.statistics()
    table = table[generation.alive[table["clip"]]]
    clips = [(generation.clip(clip).label, generation.clip(clip).id) for clip in table["clip"].tolist()]
    # Class after class and by their ids, whatever order they came in.
    table = table[sorted(range(len(clips)), key=clips.__getitem__)]
    if not len(table):
        return {}
    of = generation.clips[table["clip"]]
    measures = held_out([statistics_in(one) for one in table], of["label"], of["recording"])
    rows = table["clip"].tolist()
    return {clip: one for clip, one in zip(rows, measures, strict=True) if one is not None}


def _nearest_other(
    generation: Generation,
    view: View,
    clip: int,
    queries: Table,
    bands_hz: Sequence[tuple[float, float]],
) -> float | None:
    """The similarity of a training clip's places to the nearest entry of another recording; None without."""
    recordings = generation.clips["recording"]
    own = recordings == recordings[clip]
    # A search answers with one match a source file.
    count = len(np.unique(generation.clips["source"][own])) + 1
    rows = like_rows(view, queries["row"].tolist(), bands_hz)
    for match in generation.search(view, queries["vector"], count, rows=rows):
        if not own[generation.entry(view, match.entry).clip]:
            return match.cosine
    return None
