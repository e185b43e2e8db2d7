"""The clips of a new generation that other sounds are compared with: where they look, what they are like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .acoustics import ACOUSTICS, KIND, AcousticsInfo, Statistics, statistics_in
from .familiarity import MOST_CLIPS, Queries, query_type
from .generation import STATISTICS, Generation
from .table import write_table
from .views import View, normalise


@dataclass(frozen=True, slots=True)
class _Compared:
    """Row of the clips table; places at which an explanation of the clip looks; its statistics, if known."""

    row: int
    queries: Mapping[View, Queries]
    statistics: Statistics | None


class ComparedClips:
    """Those of the clips with the smallest ids; some more than asked for, until they are written."""

    def __init__(self) -> None:
        self._clips: dict[str, _Compared] = {}

    def add(
        self, name: str, row: int, queries: Mapping[View, Queries], statistics: Statistics | None
    ) -> None:
        """See the clip with the id `name`."""
        # Once: a vector that is taken over stays as it is, bit for bit.
        scaled = {view: Queries(one.rows, normalise(one.vectors)) for view, one in queries.items()}
        self._keep(name, _Compared(row, scaled, statistics))

    def _keep(self, name: str, clip: _Compared) -> None:
        self._clips[name] = clip
        if len(self._clips) >= 2 * MOST_CLIPS:
            self._clips = dict(self._chosen())

    def _chosen(self) -> list[tuple[str, _Compared]]:
        return [(name, self._clips[name]) for name in sorted(self._clips)[:MOST_CLIPS]]

    def truncate(self, rows: int) -> None:
        """Forget the clips from the row `rows` on."""
        self._clips = {name: one for name, one in self._clips.items() if one.row < rows}

    def take(self, old: Generation, keep: npt.NDArray[np.bool_], new_clip: npt.NDArray[np.int64]) -> None:
        """Those of an older generation, as far as they are known; new_clip: rows here of its clips."""
        held: dict[int, dict[View, Queries]] = {}
        for view in old.info.queries:
            table = old.queries(view)
            for clip in np.unique(table["clip"][keep[table["clip"]]]).tolist():
                own = table[table["clip"] == clip]
                held.setdefault(clip, {})[view] = Queries(own["row"].copy(), own["vector"].copy())
        like = {int(one["clip"]): statistics_in(one) for one in old.statistics()}
        for clip, queries in held.items():
            self._keep(old.clip(clip).id, _Compared(int(new_clip[clip]), queries, like.get(clip)))

    def write(
        self, folder: Path, views: Sequence[View], channels: int
    ) -> tuple[dict[View, int], AcousticsInfo | None]:
        """Write `<view>.queries.npy` and `acoustics.npy`; how many records each has, where it has any."""
        chosen = [clip for _, clip in self._chosen()]
        counts: dict[View, int] = {}
        for view in views:
            dtype = query_type(view, channels)
            tables = []
            for clip in chosen:
                if view in clip.queries:
                    table = np.zeros(len(clip.queries[view].rows), dtype)
                    table["clip"], table["row"] = clip.row, clip.queries[view].rows
                    table["vector"] = clip.queries[view].vectors
                    tables.append(table)
            if count := sum(map(len, tables)):
                write_table(folder / f"{view}.queries.npy", (count,), tables, dtype)
                counts[view] = count
        known = [(clip.row, clip.statistics) for clip in chosen if clip.statistics is not None]
        if not known:
            return counts, None
        records = np.array([(row, like.labels, like.scores, like.vector) for row, like in known], ACOUSTICS)
        write_table(folder / STATISTICS, records.shape, [records], ACOUSTICS)
        return counts, AcousticsInfo(KIND, len(records))
