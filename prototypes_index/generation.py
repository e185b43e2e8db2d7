"""One generation of prototypes: a folder that is written once, then only read.

embeddings.onnx  <view>.faiss  <view>.entries.npy  <view>.channels.npy  <view>.scores.npy
<view>.tops.npy  clips.npy  clips.jsonl  index_info.json  audio/*.flac (optional); beside a large
<view>.faiss its <view>.projection.npy and <view>.vectors.npy; removed.npy where clips were removed;
<view>.queries.npy and acoustics.npy, by which is measured what is usual among training sounds;
<view>.passages.npy, the passage around each entry, in views whose places are passages.
A writer may add files for people, such as a card
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from .. import limits
from ..errors import PrototypeIndexError
from ..forks import fork_waits
from .acoustics import ACOUSTICS, Acoustics
from .familiarity import FEWEST_CLIPS, query_type
from .index import ViewIndex
from .info import GenerationInfo
from .passages import like_passages
from .table import REBUILD, IndexedClip, IndexEntry, Table
from .views import FloatArray, View

# What an entry is: one of the prototypes of a channel (the explanation proper), or a place in a clip
# at which a channel peaks, though less than in others (a neighbour, no more).
EntryKind = Literal["prototype", "clip"]

EMBEDDINGS = "embeddings.onnx"
CLIPS = "clips.npy"
CLIP_LINES = "clips.jsonl"
STATISTICS = "acoustics.npy"
AUDIO = "audio"
REMOVED = "removed.npy"
# Decoded lines that are kept: the same clips answer again and again.
_MOST_CLIPS_READ = 4096


class FileAccess(Protocol):
    """Says where the files of a generation lie; PrototypeIndexError for what must not be opened."""

    def where(self, name: str) -> Path:
        """Where the file `name` of the generation lies, as far as it may be opened; nothing is looked at."""

    def path(self, name: str) -> Path:
        """The same of a file that is there, and as it should be."""


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One hit of a search: by which of the queries, how similar it is (cosine), and its kind."""

    query: int
    cosine: float
    entry: int
    kind: EntryKind


# Entries nearest to a query among which those of the rows and passages asked for are looked for, where there
# are more than are compared exactly.
_LOOKED_THROUGH = 8192
# Entries that an exact index gives at once: to give fewer is no quicker.
_LEAST_COMPARED = 64


class Generation:
    """An open generation. It holds what it opened, so a newer one beside it changes nothing."""

    def __init__(
        self,
        folder: Path,
        info: GenerationInfo,
        indexes: Mapping[View, ViewIndex],
        tables: Mapping[str, Table],
        lines: mmap.mmap,
        alive: npt.NDArray[np.bool_],
        access: FileAccess,
    ) -> None:
        """Use `read_generation`."""
        self.folder = folder
        self._access = access
        self.info = info
        self._indexes = indexes
        self._tables = tables
        self._lines = lines
        # Which clips are not removed.
        self.alive = alive
        self._clips_read: dict[int, IndexedClip] = {}
        self._acoustics: Acoustics | None = None
        self._prototypes: dict[View, npt.NDArray[np.int64]] = {}

    @property
    def views(self) -> tuple[View, ...]:
        """The views it holds."""
        return tuple(self.info.views)

    @property
    def clips(self) -> Table:
        """The clips table, `table.CLIP` records."""
        return self._tables[CLIPS]

    def entries(self, view: View) -> Table:
        """The entries of a view, `table.ENTRY` records [P]."""
        return self._tables[f"{view}.entries"]

    def file(self, name: str) -> Path:
        """Where the file `name` of the generation lies, checked. Raises PrototypeIndexError."""
        return self._access.path(name)

    @property
    def graph(self) -> Path:
        """The graph that gives the views' vectors, as it was when the generation was opened."""
        return self._access.where(EMBEDDINGS)

    def sound(self, clip: IndexedClip) -> Path | None:
        """Where the clip's sound lies; None where the generation has none. Raises PrototypeIndexError."""
        return None if clip.audio is None else self._access.where(f"{AUDIO}/{clip.audio}")

    def sound_file(self, clip: IndexedClip) -> Path | None:
        """The same of a file that is there. Raises PrototypeIndexError."""
        return None if clip.audio is None else self.file(f"{AUDIO}/{clip.audio}")

    def clips_of_entries(self, view: View) -> npt.NDArray[np.int32]:
        """The clip of every entry [P], each checked to exist."""
        clips: npt.NDArray[np.int32] = np.ascontiguousarray(self.entries(view)["clip"])
        self._check(clips, self.info.clips, f"{view}.entries")
        return clips

    def _check(self, rows: Table, count: int, table: str) -> None:
        """Raises PrototypeIndexError where a row that the table names is not among the first `count`."""
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < count:
            raise PrototypeIndexError(f"{self.folder / table}.npy: damaged; {REBUILD}")

    def queries(self, view: View) -> Table:
        """Places of training clips that explanations of them would look up, `query_type` records [Q]."""
        return self._of_clips(f"{view}.queries.npy", query_type(view, self.info.channels))

    def statistics(self) -> Table:
        """What training clips are like by statistics alone, `ACOUSTICS` records; none where nobody knows."""
        return self._of_clips(STATISTICS, ACOUSTICS)

    @property
    def acoustics(self) -> Acoustics | None:
        """How far other sounds lie from these clips; None: too few are known. Raises PrototypeIndexError."""
        if self._acoustics is None and len(table := self.statistics()):
            table = table[self.alive[table["clip"]]]
            if len(table) >= FEWEST_CLIPS:
                clips = self.clips[table["clip"]]
                self._acoustics = Acoustics(table["vector"], clips["label"], clips["recording"])
        return self._acoustics

    def _of_clips(self, name: str, dtype: np.dtype[Any]) -> Table:
        """The records of clips in a table, if there is one. Raises PrototypeIndexError."""
        records = self._tables.get(name, np.zeros(0, dtype))
        self._check(records["clip"], self.info.clips, name.removesuffix(".npy"))
        return records

    def passages(self, view: View) -> Table | None:
        """The passage around each entry of a view, `PASSAGE` records [P]; None where it is not known."""
        return self._tables.get(f"{view}.passages")

    def channels(self, view: View) -> Table:
        """The entry at which each channel of each clip peaks, int32 [clips, C]."""
        return self._tables[f"{view}.channels"]

    def scores(self, view: View) -> Table:
        """The value of each channel of each clip at its peak, float32 [clips, C]."""
        return self._tables[f"{view}.scores"]

    def tops(self, view: View) -> Table:
        """The clips in which each channel is strongest, `table.TOP` records [C, n]; clip -1 where fewer."""
        return self._tables[f"{view}.tops"]

    def index(self, view: View) -> ViewIndex:
        """The index of a view."""
        return self._indexes[view]

    def strongest(self, view: View, channel: int) -> Table:
        """The clips in which the channel is strongest, best first, `table.TOP` records, one a recording."""
        rows: Table = self.tops(view)[channel]
        held: Table = rows[rows["clip"] >= 0]
        return held

    def prototypes(self, view: View) -> npt.NDArray[np.int64]:
        """The entries that are prototypes of one channel or more, ascending and distinct; kept."""
        held = self._prototypes.get(view)
        if held is None:
            tops = self.tops(view)
            # np.unique would import numpy.ma, which costs a first explanation 8 ms.
            ordered = np.sort(tops["entry"][tops["clip"] >= 0], axis=None).astype(np.int64)
            held = ordered[np.diff(ordered, prepend=ordered[:1] - 1) != 0]
            self._check(held, self.info.views[view].entries, f"{view}.tops")
            self._prototypes[view] = held
        return held

    def kinds(self, view: View, rows: Table) -> list[EntryKind]:
        """What entries [n] are."""
        prototypes = self.prototypes(view)
        if not len(prototypes):
            return ["clip"] * len(rows)
        nearest = prototypes[np.minimum(np.searchsorted(prototypes, rows), len(prototypes) - 1)]
        return ["prototype" if same else "clip" for same in (nearest == rows).tolist()]

    def entry(self, view: View, row: int) -> IndexEntry:
        """One entry, its clip and label checked to exist."""
        entries = self.entries(view)
        if 0 <= row < len(entries):
            entry = IndexEntry(*entries[row].item())
            if 0 <= entry.clip < self.info.clips and 0 <= entry.label < len(self.info.labels):
                return entry
        raise PrototypeIndexError(f"{self.folder / view}.entries.npy: row {row} is damaged; {REBUILD}")

    def clip(self, row: int) -> IndexedClip:
        """One row of the clips table, read from its line."""
        held = self._clips_read.get(row)
        if held is None:
            held = self.read_clip(row)
            if len(self._clips_read) < _MOST_CLIPS_READ:
                self._clips_read[row] = held
        return held

    def read_clip(self, row: int) -> IndexedClip:
        """The same, not kept."""
        where = self.folder / CLIP_LINES
        if 0 <= row < self.info.clips:
            start, length = int(self.clips[row]["position"]), int(self.clips[row]["length"])
            if 0 <= start <= start + length <= len(self._lines) and length <= limits.LINE_BYTES:
                return IndexedClip.from_line(self._lines[start : start + length], where)
        raise PrototypeIndexError(f"{where}: row {row} is damaged; {REBUILD}")

    def all_clips(self) -> Iterator[IndexedClip]:
        """Every clip that is not removed, in order."""
        return (self.clip(row) for row in np.flatnonzero(self.alive).tolist())

    @fork_waits
    def search(
        self,
        view: View,
        queries: FloatArray,
        count: int,
        *,
        rows: npt.NDArray[np.bool_] | None = None,
        passages: Table | None = None,
    ) -> list[SearchHit]:
        """The `count` nearest entries to any of the queries [q, D], nearest first, one a source file.

        Fewer where the generation has fewer sources. Ties go to the earlier entry.

        rows: [q, F] which rows of the feature map the entries of each query may lie in; None: any
        passages: [q] `PASSAGE` records: entries whose passage is known have to lie in one of like length and
            rhythm; None: in any
        Of both too few may be among the nearest `_LOOKED_THROUGH`: then fewer matches come back, though one
        where there is any.
        """
        index, wanted = self._indexes[view], count * 4
        restricted = rows is not None or passages is not None
        while True:
            cosines, entries = index.candidates(queries, wanted)
            entries = self._within(view, entries, rows, passages)
            matches = self._matches(view, cosines, entries, count)
            reached = _reached(cosines)
            sure = sum(match.cosine >= reached for match in matches)
            enough = sure >= min(count, self.info.sources) or wanted >= index.info.entries
            if enough or (restricted and matches and wanted >= _LOOKED_THROUGH):
                return matches
            wanted *= 4

    def nearest(
        self, view: View, queries: FloatArray, *, rows: npt.NDArray[np.bool_] | None = None
    ) -> float | None:
        """The cosine of the first match that `search` gives where one is wanted; None where there is none."""
        index, wanted = self._indexes[view], 4
        # Fewer are compared in no case.
        least = index.info.candidates if index.info.kind == "ivf" else _LEAST_COMPARED
        while 4 * wanted <= least:
            wanted *= 4
        while True:
            cosines, entries = index.candidates(queries, wanted)
            held = cosines[self._within(view, entries, rows) >= 0]
            best = float(held.max(initial=-np.inf))
            if wanted >= index.info.entries or best >= _reached(cosines):
                return best if len(held) else None
            wanted *= 4

    def _within(
        self,
        view: View,
        entries: Table,
        rows: npt.NDArray[np.bool_] | None,
        passages: Table | None = None,
    ) -> Table:
        """The entries [q, n], -1 where one lies in a row or in a passage that its query excludes."""
        if rows is not None:
            row = self.entries(view)["row"][entries]
            if int(row.max(initial=-1)) >= rows.shape[1]:
                raise PrototypeIndexError(f"{self.folder / view}.entries.npy: damaged; {REBUILD}")
            allowed = rows[np.arange(len(entries))[:, None], row] | (row < 0)
            entries = np.where(allowed, entries, -1)
        known = self.passages(view)
        if passages is not None and known is not None:
            entries = np.where(like_passages(passages, known[entries]), entries, -1)
        return entries

    def _matches(self, view: View, cosines: FloatArray, entries: Table, count: int) -> list[SearchHit]:
        """The best hits [q, n] of all queries, at most one of each source; entry -1 is no hit."""
        flat, values = entries.ravel(), cosines.ravel()
        hits = np.flatnonzero(flat >= 0)
        hits = hits[np.lexsort((flat[hits], -values[hits]))]
        clips = self.entries(view)["clip"][flat[hits]]
        self._check(clips, self.info.clips, f"{view}.entries")
        # A dictionary keeps what came first.
        best: dict[int, int] = {}
        for hit, source in zip(hits.tolist(), self.clips["source"][clips].tolist(), strict=True):
            best.setdefault(source, hit)
            if len(best) == count:
                break
        chosen = np.fromiter(best.values(), np.int64, len(best))
        found = flat[chosen]
        return [
            SearchHit(hit // entries.shape[1], cosine, row, kind)
            for hit, cosine, row, kind in zip(
                best.values(), values[chosen].tolist(), found.tolist(), self.kinds(view, found), strict=True
            )
        ]


def _reached(cosines: FloatArray) -> float:
    """Down to which cosine all entries are among the candidates [q, n] of every query."""
    return float(cosines.min(axis=1).max())
