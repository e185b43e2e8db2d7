"""Opens a generation of prototypes: everything in its folder is checked against what the manifest says."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import PrototypeIndexError
from .acoustics import ACOUSTICS, KIND
from .familiarity import query_type
from .generation import CLIP_LINES, CLIPS, EMBEDDINGS, REMOVED, STATISTICS, FileAccess, Generation
from .hashing import sha256_of
from .index import PROJECTION, VECTORS, ViewIndex
from .info import INFO, GenerationInfo, check_agreement, read_info
from .passages import PASSAGE
from .spec import PrototypesSpec
from .table import CLIP, ENTRY, REBUILD, ROW, SCORE, TOP, Table, open_table, regular
from .views import View


@dataclass(frozen=True, slots=True)
class _Own:
    """All that lies in a folder, for whoever wrote it."""

    folder: Path

    def where(self, name: str) -> Path:
        return self.folder / name

    def path(self, name: str) -> Path:
        return regular(self.folder / name)


def read_generation(
    folder: Path,
    spec: PrototypesSpec,
    *,
    embeddings_sha256: str | None = None,
    model_sha256: str | None = None,
    access: FileAccess | None = None,
) -> Generation:
    """Open the generation in `folder` after checking everything in it against what the manifest says.

    What costs reading whole tables is left to `check`.

    embeddings_sha256, model_sha256: the hash of its embeddings.onnx in the manifest; the classifier that asks
    access: says where each file lies, as far as it may be opened; None: all in `folder` may
    Raises PrototypeIndexError where counts, dimensions, sizes or hashes disagree.
    """
    access = _Own(folder) if access is None else access
    access.path(INFO)
    info = read_info(folder)
    check_agreement(folder, info, spec)
    if model_sha256 is not None and info.model_sha256 != model_sha256:
        raise PrototypeIndexError(
            f"{folder}: these prototypes belong to another model than this bundle's; {REBUILD}"
        )
    sha256 = _hash(access.path(EMBEDDINGS))
    if sha256 != info.embeddings_sha256 or embeddings_sha256 not in (None, sha256):
        raise PrototypeIndexError(
            f"{folder / EMBEDDINGS}: not the embeddings graph that the index was built with; {REBUILD}"
        )
    channels = info.channels
    tables: dict[str, Table] = {CLIPS: open_table(access.path(CLIPS), CLIP, (info.clips,))}
    indexes: dict[View, ViewIndex] = {}
    per_clip, tops = (info.clips, channels), (channels, info.per_channel)
    for view, index in info.views.items():
        tables[f"{view}.entries"] = open_table(access.path(f"{view}.entries.npy"), ENTRY, (index.entries,))
        tables[f"{view}.channels"] = open_table(access.path(f"{view}.channels.npy"), ROW, per_clip)
        tables[f"{view}.scores"] = open_table(access.path(f"{view}.scores.npy"), SCORE, per_clip)
        tables[f"{view}.tops"] = open_table(access.path(f"{view}.tops.npy"), TOP, tops)
        _check_tops(tables[f"{view}.tops"], info.clips, index.entries, access.where(f"{view}.tops.npy"))
        if view in info.queries:
            tables[f"{view}.queries.npy"] = open_table(
                access.path(f"{view}.queries.npy"), query_type(view, channels), (info.queries[view],)
            )
        if view in info.passages:
            path = access.path(f"{view}.passages.npy")
            tables[f"{view}.passages"] = open_table(path, PASSAGE, (index.entries,))
        for suffix in (PROJECTION, VECTORS) if index.kind == "ivf" else ():
            access.path(f"{view}{suffix}")
        indexes[view] = ViewIndex(access.path(f"{view}.faiss"), index)
    if info.acoustics is not None and info.acoustics.kind == KIND:
        tables[STATISTICS] = open_table(access.path(STATISTICS), ACOUSTICS, (info.acoustics.clips,))
    alive = _alive(access, info)
    opened = Generation(folder, info, indexes, tables, _map_lines(access.path(CLIP_LINES)), alive, access)
    if info.removed:
        for view in info.views:
            indexes[view].exclude(~alive[opened.clips_of_entries(view)])
    return opened


def _hash(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise PrototypeIndexError(f"{path}: cannot be read ({error.strerror}); {REBUILD}") from error


def _check_tops(tops: Table, clips: int, entries: int, path: Path) -> None:
    """The prototypes of channels, which are few, are there and have scores."""
    held = tops[tops["clip"] >= 0]
    if (
        int(tops["clip"].min()) < -1
        or int(held["clip"].max(initial=0)) >= clips
        or not 0 <= int(held["entry"].min(initial=0)) <= int(held["entry"].max(initial=0)) < entries
        or not np.isfinite(held["score"]).all()
    ):
        raise PrototypeIndexError(f"{path}: damaged; {REBUILD}")


def _alive(access: FileAccess, info: GenerationInfo) -> npt.NDArray[np.bool_]:
    """Which rows of the clips table are not removed."""
    alive = np.ones(info.clips, dtype=np.bool_)
    if info.removed:
        rows = open_table(access.path(REMOVED), ROW, (info.removed,))
        if rows[0] < 0 or rows[-1] >= info.clips or (rows[1:] <= rows[:-1]).any():
            raise PrototypeIndexError(f"{access.where(REMOVED)}: damaged; {REBUILD}")
        alive[rows] = False
    return alive


def _map_lines(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise PrototypeIndexError(f"{path}: cannot be read ({error}); {REBUILD}") from error
