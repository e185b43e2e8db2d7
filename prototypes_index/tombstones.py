"""Removing clips without writing the heavy files anew: they are shared, and a list says who is gone.

The list, `removed.npy`, holds rows of the clips table; the prototypes of every channel are chosen
again among the others, and no search sees an entry of a removed clip. The next writing of the whole
(`GenerationWriter.take`) leaves them out for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import PrototypeIndexError
from .durability import link, sync_tree
from .generation import AUDIO, CLIP_LINES, CLIPS, EMBEDDINGS, REMOVED, STATISTICS, Generation
from .index import PROJECTION, VECTORS
from .info import GenerationInfo, PrototypeCounts, write_info
from .table import ROW, TOP, count_prototypes, strongest_clips, write_table
from .views import View


def write_removal(
    old: Generation, folder: Path, gone: npt.NDArray[np.bool_]
) -> tuple[GenerationInfo, list[str]]:
    """Write into the new folder `folder` the generation `old` without the clips [clips] that are `gone`.

    All is on the disk when it returns what is known of it and the names of the files it shares with `old`.
    Raises PrototypeIndexError where no clip would be left.
    """
    alive = old.alive & ~gone
    if not alive.any():
        raise PrototypeIndexError(f"{old.folder}: no clip would be left; remove the prototypes as a whole")
    rows = np.flatnonzero(alive)
    folder.mkdir(parents=True, exist_ok=True)
    shared = list(_shared(old, rows))
    if any(name.startswith(f"{AUDIO}/") for name in shared):
        (folder / AUDIO).mkdir()
    for name in shared:
        link(old.file(name), folder / name)
    removed = np.flatnonzero(~alive).astype(ROW)
    write_table(folder / REMOVED, removed.shape, [removed], ROW)
    recordings = np.array(old.clips["recording"])
    prototypes: dict[View, PrototypeCounts] = {}
    for view in old.views:
        tops = strongest_clips(old.channels(view), old.scores(view), recordings, old.info.per_channel, alive)
        prototypes[view] = PrototypeCounts(*count_prototypes(tops))
        write_table(folder / f"{view}.tops.npy", tops.shape, [tops], TOP)
    sources = len(np.unique(old.clips["source"][rows]))
    info = replace(old.info, removed=len(removed), sources=sources, prototypes=prototypes)
    write_info(folder, info)
    sync_tree(folder)
    return info, shared


def _shared(old: Generation, rows: npt.NDArray[np.int64]) -> Iterator[str]:
    """The files that stay as they are, the sound of the clips `rows` among them."""
    yield from (EMBEDDINGS, CLIPS, CLIP_LINES)
    if old.info.acoustics is not None:
        yield STATISTICS
    for view in old.views:
        yield from (f"{view}.{name}" for name in ("entries.npy", "channels.npy", "scores.npy", "faiss"))
        if view in old.info.queries:
            yield f"{view}.queries.npy"
        if view in old.info.passages:
            yield f"{view}.passages.npy"
        if old.index(view).info.kind == "ivf":
            yield from (f"{view}{PROJECTION}", f"{view}{VECTORS}")
    sounds = {old.clip(row).audio for row in rows.tolist()}
    yield from (f"{AUDIO}/{name}" for name in sorted(name for name in sounds if name))
