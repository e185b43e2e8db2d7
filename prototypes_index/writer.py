"""Writes one generation of prototypes, clip by clip, in bounded memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from ..errors import PrototypeIndexError
from .acoustics import Statistics
from .compared import ComparedClips
from .durability import link, naming, sync_tree
from .faiss_files import IndexInfo
from .familiarity import Queries
from .generation import AUDIO, CLIP_LINES, CLIPS, EMBEDDINGS, Generation
from .hashing import sha256_of
from .index_build import EXACT_LIMIT, build_index
from .info import CONTRAST, GenerationInfo, PrototypeCounts, Setting, write_info
from .passages import PASSAGE, PASSAGE_VIEWS
from .table import (
    CHUNK_BYTES,
    CLIP,
    ENTRY,
    ROW,
    SCORE,
    TOP,
    TOPS,
    IndexedClip,
    SoundFiles,
    Table,
    TableWriter,
    count_prototypes,
    steps,
    strongest_clips,
    write_table,
)
from .views import Grid, Places, View, dimension, normalise


class GenerationWriter:
    """Fills the new folder `folder`; nothing is valid before `finish` has returned.

    Attributes:
        embeddings: The graph the vectors come from, copied.
        model_sha256: The classifier it belongs to.
        labels: Names that clips may carry; more are added as clips bring them.
        per_channel: Prototypes a channel, 1..MOST_TOPS.
        apex: Facts of the learnt U in the graph, JSON.

    """

    def __init__(
        self,
        folder: Path,
        *,
        embeddings: Path,
        model_sha256: str,
        labels: Sequence[str],
        views: Sequence[View],
        channels: int,
        grid: Grid,
        settings: Mapping[str, Setting] | None = None,
        seed: int = 0,
        per_channel: int = TOPS,
        apex: Mapping[str, Any] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._model, self._channels, self._grid = model_sha256, channels, grid
        self._settings, self._seed = {**(settings or {}), CONTRAST: True}, seed
        self._per_channel, self._apex = per_channel, apex
        self._labels = {label: index for index, label in enumerate(labels)}
        self._views = tuple(views)
        self._sources: dict[str, int] = {}
        self._recordings: dict[str, int] = {}
        self._clips = TableWriter(folder / CLIPS, CLIP)
        self._compared = ComparedClips()
        with naming(folder / CLIP_LINES):
            self._lines = (folder / CLIP_LINES).open("wb")
        self._tables = {view: self._open(view) for view in self._views}
        # Views of which the passage around every entry is known so far.
        self._passages = PASSAGE_VIEWS.intersection(self._views)
        with naming(folder / EMBEDDINGS):
            shutil.copyfile(embeddings, folder / EMBEDDINGS)
        self._embeddings = sha256_of(folder / EMBEDDINGS)

    def _open(self, view: View) -> dict[str, TableWriter]:
        """The growing tables of one view."""
        shape = (self._channels,)
        tables = {
            "entries": TableWriter(self.folder / f"{view}.entries.npy", ENTRY),
            "channels": TableWriter(self.folder / f"{view}.channels.npy", ROW, shape),
            "scores": TableWriter(self.folder / f"{view}.scores.npy", SCORE, shape),
            "vectors": TableWriter(
                self.folder / f"{view}.vectors.npy", np.dtype("<f4"), (dimension(view, self._channels),)
            ),
        }
        if view in PASSAGE_VIEWS:
            tables["passages"] = TableWriter(self.folder / f"{view}.passages.npy", PASSAGE)
        return tables

    @property
    def views(self) -> tuple[View, ...]:
        """The views it fills."""
        return self._views

    @property
    def clips(self) -> int:
        """Clips so far."""
        return self._clips.rows

    def add(
        self,
        clip: IndexedClip,
        places: Mapping[View, Places],
        queries: Mapping[View, Queries] | None = None,
        passages: Mapping[View, Table] | None = None,
        statistics: Statistics | None = None,
    ) -> None:
        """Add one clip with its places in every view; of the rest None where nobody knows.

        queries: which an explanation of it would look up; passages: `PASSAGE` records, the passage around
        each place of a view; statistics: what it is like
        """
        row = self._clips.rows
        label = self._label(clip)
        if queries:
            self._compared.add(clip.id, row, queries, statistics)
        self._add_clip(clip, label)
        for view in self._views:
            peaks, tables = places[view], self._tables[view]
            first = tables["entries"].rows
            tables["entries"].append(self._entries(peaks, clip, row, label))
            tables["channels"].append((peaks.of_channel + first)[None])
            tables["scores"].append(peaks.scores[None])
            tables["vectors"].append(normalise(peaks.vectors))
            self._add_passages(view, (passages or {}).get(view))

    def _add_passages(self, view: View, passages: Table | None) -> None:
        """The passages around the entries that were added; of a view, all are known or none is kept."""
        if view not in self._passages:
            return
        if passages is None:
            self._passages -= {view}
        else:
            self._tables[view]["passages"].append(passages)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Clips added inside are in whole or, when an exception passes, not at all."""
        tables = (self._clips, *(table for tables in self._tables.values() for table in tables.values()))
        rows, position = [table.rows for table in tables], self._lines.tell()
        names = dict(self._labels), dict(self._sources), dict(self._recordings)
        known = self._passages
        try:
            yield
        except BaseException:
            for table, count in zip(tables, rows, strict=True):
                table.truncate(count)
            with naming(self.folder / CLIP_LINES):
                self._lines.flush()
            self._lines.truncate(position)
            self._lines.seek(position)
            self._labels, self._sources, self._recordings = names
            self._passages = known
            self._compared.truncate(rows[0])
            raise

    def _entries(self, peaks: Places, clip: IndexedClip, row: int, label: int) -> Table:
        """The places of a clip as records."""
        entries = np.zeros(len(peaks.cells), dtype=ENTRY)
        entries["clip"], entries["label"] = row, label
        entries["frame"], entries["row"] = peaks.cells[:, 0], peaks.cells[:, 1]
        regions = self._grid.regions(peaks.cells, clip.offset_s, clip.duration_s)
        for column, name in enumerate(("start_s", "end_s", "fmin_hz", "fmax_hz")):
            entries[name] = regions[:, column]
        best = np.full(len(entries), -np.inf, dtype=np.float32)
        np.maximum.at(best, peaks.of_channel, peaks.scores)
        entries["score"] = best
        entries["channels"] = np.bincount(peaks.of_channel, minlength=len(entries))
        return entries

    def _add_clip(self, clip: IndexedClip, label: int) -> None:
        line = clip.to_line()
        record = np.zeros(1, dtype=CLIP)
        record["position"], record["length"], record["label"] = self._lines.tell(), len(line), label
        record["source"] = self._sources.setdefault(clip.sha256, len(self._sources))
        record["recording"] = self._recordings.setdefault(clip.recording, len(self._recordings))
        with naming(self.folder / CLIP_LINES):
            self._lines.write(line)
        self._clips.append(record)

    def _label(self, clip: IndexedClip) -> int:
        """The index of its label; those it has beside are listed, too."""
        for label in clip.labels:
            self._labels.setdefault(label, len(self._labels))
        return self._labels[clip.label]

    def take(
        self,
        old: Generation,
        keep: npt.NDArray[np.bool_] | None = None,
        files: Mapping[str, SoundFiles] | None = None,
    ) -> None:
        """Take over the clips of `old`, bit for bit, with their sound.

        keep: [clips of old] which; None: all. Removed ones are never taken.
        files: where else the sounds lie and with which labels, by their sha256
        Raises PrototypeIndexError where `old` has other views or comes from another graph.
        """
        if old.info.embeddings_sha256 != self._embeddings or set(old.views) != set(self._views):
            raise PrototypeIndexError(
                f"{old.folder}: made with another embeddings graph or other views; use --rebuild"
            )
        if old.info.settings != self._settings:
            raise PrototypeIndexError(
                f"{old.folder}: made under other settings ({old.info.settings}, here {self._settings}); "
                "index its sounds anew"
            )
        keep = old.alive if keep is None else keep & old.alive
        clips = np.flatnonzero(keep)
        new_clip = np.cumsum(keep) - 1 + self._clips.rows
        new_label = np.full(len(old.info.labels), -1, dtype=np.int32)
        for row in clips.tolist():
            clip = old.clip(row)
            if files is not None and clip.sha256 in files:
                clip = clip.joined(files[clip.sha256])
            label = self._label(clip)
            new_label[old.clips[row]["label"]] = label
            self._add_clip(clip, label)
            if clip.audio is not None:
                self._take_sound(old, clip.audio)
        self._compared.take(old, keep, new_clip)
        for view in self._views:
            self._take_view(old, view, keep, new_clip, new_label)

    def _take_view(
        self,
        old: Generation,
        view: View,
        keep: npt.NDArray[np.bool_],
        new_clip: npt.NDArray[np.int64],
        new_label: npt.NDArray[np.int32],
    ) -> None:
        """Entries and vectors of the kept clips, and their channels, which point to the entries' new rows."""
        tables, index = self._tables[view], old.index(view)
        entries = old.entries(view)
        kept = keep[old.clips_of_entries(view)]
        new_entry = np.cumsum(kept) - 1 + tables["entries"].rows
        for rows in steps(len(kept), ENTRY.itemsize + 4 * index.info.dimension, CHUNK_BYTES):
            chosen = kept[rows]
            records = entries[rows][chosen]
            records["clip"], records["label"] = new_clip[records["clip"]], new_label[records["label"]]
            tables["entries"].append(records)
            tables["vectors"].append(index.vectors(rows.start, rows.stop - rows.start)[chosen])
            passages = old.passages(view)
            self._add_passages(view, None if passages is None else passages[rows][chosen])
        for rows in steps(len(keep), 8 * self._channels, CHUNK_BYTES):
            tables["channels"].append(new_entry[old.channels(view)[rows][keep[rows]]])
            tables["scores"].append(old.scores(view)[rows][keep[rows]])

    def _take_sound(self, old: Generation, name: str) -> None:
        """Share a clip's sound with the old generation."""
        target = self.audio_folder() / name
        self.audio_folder().mkdir(exist_ok=True)
        if not target.exists():
            link(old.file(f"{AUDIO}/{name}"), target)

    def audio_folder(self) -> Path:
        """Where the sound of clips belongs, `IndexedClip.audio` within it."""
        return self.folder / AUDIO

    def finish(
        self, *, exact_limit: int = EXACT_LIMIT, versions: Mapping[str, str] | None = None
    ) -> GenerationInfo:
        """Build the indexes, write the tables and index_info.json, and bring all to the disk.

        Raises PrototypeIndexError where no clip was added.
        """
        if not self.clips:
            raise PrototypeIndexError(f"{self.folder}: no clip to index")
        with naming(self.folder / CLIP_LINES):
            self._lines.close()
        recordings = np.array(self._clips.raw_rows()["recording"])
        infos: dict[View, IndexInfo] = {}
        prototypes: dict[View, PrototypeCounts] = {}
        for view in self._views:
            tables = self._tables[view]
            vectors = tables["vectors"]
            infos[view] = build_index(
                vectors.raw_rows(), self.folder / f"{view}.faiss", exact_limit=exact_limit, seed=self._seed
            )
            vectors.discard()
            tops = strongest_clips(
                tables["channels"].raw_rows(), tables["scores"].raw_rows(), recordings, self._per_channel
            )
            prototypes[view] = PrototypeCounts(*count_prototypes(tops))
            write_table(self.folder / f"{view}.tops.npy", tops.shape, [tops], TOP)
            for name in ("entries", "channels", "scores"):
                tables[name].finish()
            if view in self._passages:
                tables["passages"].finish()
            elif "passages" in tables:
                tables["passages"].discard()
        self._clips.finish()
        queries, acoustics = self._compared.write(self.folder, self._views, self._channels)
        info = GenerationInfo(
            embeddings_sha256=self._embeddings,
            model_sha256=self._model,
            channels=self._channels,
            clips=self._clips.rows,
            sources=len(self._sources),
            labels=list(self._labels),
            views=infos,
            seed=self._seed,
            settings=self._settings,
            versions={"faiss": faiss.__version__, "numpy": np.__version__, **(versions or {})},
            per_channel=self._per_channel,
            apex=None if self._apex is None else dict(self._apex),
            prototypes=prototypes,
            queries=queries,
            passages=tuple(view for view in self._views if view in self._passages),
            acoustics=acoustics,
        )
        write_info(self.folder, info)
        sync_tree(self.folder)
        return info

    def close(self) -> None:
        """Let go of every file without finishing; the folder may then be removed."""
        with suppress(OSError):
            self._lines.close()
        for writer in (
            self._clips,
            *(table for tables in self._tables.values() for table in tables.values()),
        ):
            writer.close()
