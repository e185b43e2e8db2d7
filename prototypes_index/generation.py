"""One generation of prototypes: a folder that is written once, then only read.

embeddings.onnx  <view>.faiss  <view>.entries.npy  <view>.channels.npy  <view>.scores.npy
<view>.tops.npy  clips.npy  clips.jsonl  index_info.json  audio/*.flac (optional)
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import PrototypeIndexError
from .index import IndexInfo, ViewIndex
from .table import CLIP, ENTRY, REBUILD, TOP, TOPS, Clip, Entry, Table, open_table
from .views import VIEWS, FloatArray, View

INFO_VERSION = 1
INFO = "index_info.json"
EMBEDDINGS = "embeddings.onnx"
CLIPS = "clips.npy"
CLIP_LINES = "clips.jsonl"
AUDIO = "audio"
_MOST_INFO_BYTES = 16 << 20
# Decoded lines that are kept: the same clips answer again and again.
_MOST_CLIPS_READ = 4096


class GenerationSpec(Protocol):
    """What the manifest says of the generation (`runtime.manifest.PrototypesSpec`)."""

    @property
    def views(self) -> Sequence[View]:
        """The views it holds."""

    @property
    def entries(self) -> Mapping[str, int]:
        """Entries per view."""

    @property
    def dimensions(self) -> Mapping[str, int]:
        """Vector length per view."""

    @property
    def clips(self) -> int:
        """Rows of the clips table."""


@dataclass(frozen=True, slots=True)
class GenerationInfo:
    """`index_info.json`.

    embeddings_sha256: the graph the vectors come from; model_sha256: the classifier it belongs to
    labels: of the clips, indexed by the tables; settings: how it was built; versions: by what
    """

    embeddings_sha256: str
    model_sha256: str
    channels: int
    clips: int
    sources: int
    labels: list[str]
    views: dict[View, IndexInfo]
    seed: int
    settings: dict[str, Any]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Match:
    """One entry found by a search: which of the queries found it, how similar it is (cosine)."""

    query: int
    cosine: float
    entry: int


class Generation:
    """An open generation. It holds what it opened, so a newer one beside it changes nothing."""

    def __init__(
        self,
        folder: Path,
        info: GenerationInfo,
        indexes: Mapping[View, ViewIndex],
        tables: Mapping[str, Table],
        lines: mmap.mmap,
    ) -> None:
        """Use `Generation.open`."""
        self.folder = folder
        self.info = info
        self._indexes = indexes
        self._tables = tables
        self._lines = lines
        self._clips_read: dict[int, Clip] = {}

    @classmethod
    def open(
        cls,
        folder: Path,
        spec: GenerationSpec,
        *,
        embeddings_sha256: str | None = None,
        model_sha256: str | None = None,
    ) -> Generation:
        """Open the generation in `folder` after checking everything in it against `spec`.

        embeddings_sha256: the hash of its embeddings.onnx that the manifest gives
        model_sha256: the classifier that asks
        Raises PrototypeIndexError where counts, dimensions, sizes or hashes disagree.
        """
        info = read_info(folder)
        _agree(folder, info, spec)
        if model_sha256 is not None and info.model_sha256 != model_sha256:
            raise PrototypeIndexError(
                f"{folder}: these prototypes belong to another model than this bundle's; {REBUILD}"
            )
        found = _hash(folder / EMBEDDINGS)
        if found != info.embeddings_sha256 or embeddings_sha256 not in (None, found):
            raise PrototypeIndexError(
                f"{folder / EMBEDDINGS}: not the embeddings graph that the index was built with; {REBUILD}"
            )
        channels = info.channels
        tables: dict[str, Table] = {CLIPS: open_table(folder / CLIPS, CLIP, (info.clips,))}
        indexes: dict[View, ViewIndex] = {}
        per_clip, tops = (info.clips, channels), (channels, TOPS)
        for view, index in info.views.items():
            tables[f"{view}.entries"] = open_table(folder / f"{view}.entries.npy", ENTRY, (index.entries,))
            tables[f"{view}.channels"] = open_table(
                folder / f"{view}.channels.npy", np.dtype("<i4"), per_clip
            )
            tables[f"{view}.scores"] = open_table(folder / f"{view}.scores.npy", np.dtype("<f4"), per_clip)
            tables[f"{view}.tops"] = open_table(folder / f"{view}.tops.npy", TOP, tops)
            indexes[view] = ViewIndex(folder / f"{view}.faiss", index)
        return cls(folder, info, indexes, tables, _map_lines(folder / CLIP_LINES))

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

    def channels(self, view: View) -> Table:
        """The entry at which each channel of each clip peaks, int32 [clips, C]."""
        return self._tables[f"{view}.channels"]

    def scores(self, view: View) -> Table:
        """The value of each channel of each clip at its peak, float32 [clips, C]."""
        return self._tables[f"{view}.scores"]

    def index(self, view: View) -> ViewIndex:
        """The index of a view."""
        return self._indexes[view]

    def strongest(self, view: View, channel: int) -> Table:
        """The clips in which the channel is strongest, best first, `table.TOP` records, one a recording."""
        rows: Table = self._tables[f"{view}.tops"][channel]
        held: Table = rows[rows["clip"] >= 0]
        return held

    def entry(self, view: View, row: int) -> Entry:
        """One entry, its clip and label checked to exist."""
        entries = self.entries(view)
        if 0 <= row < len(entries):
            entry = Entry(*entries[row].item())
            if 0 <= entry.clip < self.info.clips and 0 <= entry.label < len(self.info.labels):
                return entry
        raise PrototypeIndexError(f"{self.folder / view}.entries.npy: row {row} is damaged; {REBUILD}")

    def clip(self, row: int) -> Clip:
        """One row of the clips table, read from its line."""
        held = self._clips_read.get(row)
        if held is not None:
            return held
        where = self.folder / CLIP_LINES
        if 0 <= row < self.info.clips:
            start, length = int(self.clips[row]["position"]), int(self.clips[row]["length"])
            if 0 <= start <= start + length <= len(self._lines):
                clip = Clip.from_line(self._lines[start : start + length], where)
                if len(self._clips_read) < _MOST_CLIPS_READ:
                    self._clips_read[row] = clip
                return clip
        raise PrototypeIndexError(f"{where}: row {row} is damaged; {REBUILD}")

    def all_clips(self) -> Iterator[Clip]:
        """Every clip, in order."""
        return (self.clip(row) for row in range(self.info.clips))

    def search(self, view: View, queries: FloatArray, count: int) -> list[Match]:
        """The `count` nearest entries to any of the queries [q, D], nearest first, one a source file.

        Fewer where the generation has fewer sources. Ties go to the earlier entry.
        """
        index, wanted = self._indexes[view], count * 4
        while True:
            matches = self._distinct(view, *index.search(queries, wanted))
            if len(matches) >= min(count, self.info.sources) or wanted >= index.info.entries:
                return matches[:count]
            wanted *= 4

    def _distinct(self, view: View, cosines: FloatArray, rows: Table) -> list[Match]:
        """The hits of all queries in order of similarity, the best of each source."""
        order = np.lexsort((rows.ravel(), -cosines.ravel()))
        order = order[rows.ravel()[order] >= 0]
        clips = self.entries(view)["clip"][rows.ravel()[order]]
        if ((clips < 0) | (clips >= self.info.clips)).any():
            raise PrototypeIndexError(f"{self.folder / view}.entries.npy: damaged; {REBUILD}")
        _, first = np.unique(self.clips["source"][clips], return_index=True)
        return [
            Match(flat // rows.shape[1], float(cosines.ravel()[flat]), int(rows.ravel()[flat]))
            for flat in order[np.sort(first)].tolist()
        ]


def read_info(folder: Path) -> GenerationInfo:
    """Read `index_info.json`; raises PrototypeIndexError where it is missing, damaged or newer."""
    path = folder / INFO
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_INFO_BYTES + 1)
        if len(text) > _MOST_INFO_BYTES:
            raise ValueError("too large")
        fields = json.loads(text)
        version = int(fields["schema_version"])
        if version > INFO_VERSION:
            raise PrototypeIndexError(
                f"{path}: schema {version} is newer than this earmark reads ({INFO_VERSION}); update earmark"
            )
        views: dict[View, IndexInfo] = {}
        for view in VIEWS:
            if view in fields["views"]:
                views[view] = _index_info(fields["views"][view])
        return GenerationInfo(
            embeddings_sha256=str(fields["embeddings_sha256"]),
            model_sha256=str(fields["model_sha256"]),
            channels=int(fields["channels"]),
            clips=int(fields["clips"]),
            sources=int(fields["sources"]),
            labels=[str(label) for label in fields["labels"]],
            views=views,
            seed=int(fields["seed"]),
            settings=dict(fields["settings"]),
            versions={str(name): str(text) for name, text in fields["versions"].items()},
        )
    except OSError as error:
        raise PrototypeIndexError(f"{path}: cannot be read ({error.strerror}); {REBUILD}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PrototypeIndexError(f"{path}: damaged ({error}); {REBUILD}") from error


def info_document(info: GenerationInfo) -> dict[str, Any]:
    """The JSON document of `info`."""
    views = {
        view: {
            "kind": index.kind,
            "entries": index.entries,
            "dimension": index.dimension,
            "recall_at_10": index.recall_at_10,
            "ef_search": index.ef_search,
        }
        for view, index in info.views.items()
    }
    return {
        "schema_version": INFO_VERSION,
        "embeddings_sha256": info.embeddings_sha256,
        "model_sha256": info.model_sha256,
        "channels": info.channels,
        "clips": info.clips,
        "sources": info.sources,
        "labels": info.labels,
        "views": views,
        "seed": info.seed,
        "settings": info.settings,
        "versions": info.versions,
    }


def _index_info(fields: Mapping[str, Any]) -> IndexInfo:
    kind = fields["kind"]
    if kind not in ("flat", "hnsw"):
        raise ValueError(f"unknown kind of index {kind!r}")
    effort = fields.get("ef_search")
    return IndexInfo(
        kind,
        int(fields["entries"]),
        int(fields["dimension"]),
        float(fields["recall_at_10"]),
        None if effort is None else min(max(int(effort), 1), 1 << 16),
    )


def _agree(folder: Path, info: GenerationInfo, spec: GenerationSpec) -> None:
    """Raise PrototypeIndexError where index_info.json and the manifest disagree."""
    if info.clips != spec.clips or info.clips < 1 or info.channels < 1:
        raise PrototypeIndexError(
            f"{folder / INFO}: {info.clips} clips, the manifest says {spec.clips}; {REBUILD}"
        )
    if set(info.views) != set(spec.views):
        raise PrototypeIndexError(
            f"{folder / INFO}: views {', '.join(info.views)}, "
            f"the manifest says {', '.join(spec.views)}; {REBUILD}"
        )
    for view, index in info.views.items():
        said = spec.entries.get(view), spec.dimensions.get(view)
        if (index.entries, index.dimension) != said or index.entries < 1:
            raise PrototypeIndexError(
                f"{folder / INFO}: {view} has {index.entries} entries of dimension {index.dimension}, "
                f"the manifest says {said[0]} of {said[1]}; {REBUILD}"
            )


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PrototypeIndexError(f"{path}: cannot be read ({error.strerror}); {REBUILD}") from error


def _map_lines(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise PrototypeIndexError(f"{path}: cannot be read ({error}); {REBUILD}") from error
