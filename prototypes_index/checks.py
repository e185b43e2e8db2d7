"""Every row of a generation looked at: what an explanation could come upon, whatever the sound.

Costs reading all of it once, as hashing does; done when a bundle is first loaded on a machine and by
`earmark verify`.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import numpy.typing as npt

from ..errors import PrototypeIndexError
from .generation import CLIP_LINES, CLIPS, STATISTICS, Generation
from .info import INFO
from .table import REBUILD, Table, steps
from .views import View

# Numbers that are looked at together.
_CHUNK = 1 << 16
# Regions are rounded to 64 bits.
_ROUNDING_S = 1e-6


def check_generation(generation: Generation) -> None:
    """Read every row of every table and every vector. Raises PrototypeIndexError, naming the file at fault.

    What holds afterwards: no number that is not finite, no row that points nowhere or to another clip than it
    says, no label, line or sound that is not there.
    """
    _Checks(generation).all()


class _Checks:
    """The checks of one generation."""

    def __init__(self, generation: Generation) -> None:
        self.generation, self.info = generation, generation.info
        # The label of every clip.
        self.labels: npt.NDArray[np.int32] = np.ascontiguousarray(generation.clips["label"])
        # Where in its file every clip starts and ends.
        self.starts, self.ends = np.zeros(self.info.clips), np.zeros(self.info.clips)

    def all(self) -> None:
        """Check tables, lines and vectors."""
        self._clips()
        self._lines()
        for view in self.generation.views:
            clips = self.generation.clips_of_entries(view)
            self._entries(view, clips)
            self._channels(view, clips)
            self._tops(view)
            self._queries(view)
            self._passages(view)
            self.generation.index(view).check()
        self._statistics()

    def _clips(self) -> None:
        clips, info = self.generation.clips, self.info
        if not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(info.labels):
            self._damaged(CLIPS, "a clip has a label that is not there")
        if int(clips["source"].min()) < 0 or int(clips["recording"].min()) < 0:
            self._damaged(CLIPS, "a clip is of no file")
        if len(np.unique(clips["source"][self.generation.alive])) != info.sources:
            self._damaged(INFO, f"{info.sources} files are not those of the clips")

    def _lines(self) -> None:
        """Every line is there, and says what the table says; every clip that counts has its sound."""
        alive = self.generation.alive.tolist()
        for row, label in enumerate(self.labels.tolist()):
            clip = self.generation.read_clip(row)
            if clip.label != self.info.labels[label]:
                self._damaged(
                    CLIP_LINES,
                    f"the clip {clip.id!r} is of {clip.label!r}, {INFO} says {self.info.labels[label]!r}",
                )
            self.starts[row], self.ends[row] = clip.offset_s, clip.offset_s + clip.duration_s
            if clip.audio is not None and alive[row]:
                self.generation.sound_file(clip)

    def _entries(self, view: View, clips: npt.NDArray[np.int32]) -> None:
        name = f"{view}.entries.npy"
        table = self.generation.entries(view)
        for rows in steps(len(table), 1, _CHUNK):
            part = table[rows]
            if (part["label"] != self.labels[clips[rows]]).any():
                self._damaged(name, "an entry has another label than its clip")
            self._finite(
                name, *(part[field] for field in ("start_s", "end_s", "fmin_hz", "fmax_hz", "score"))
            )
            start, end = part["start_s"], part["end_s"]
            outside = (start < self.starts[clips[rows]] - _ROUNDING_S) | (
                end > self.ends[clips[rows]] + _ROUNDING_S
            )
            if outside.any() or (end < start - _ROUNDING_S).any():
                self._damaged(name, "an entry lies outside its clip")
            if (part["fmin_hz"] < 0).any() or (part["fmax_hz"] < part["fmin_hz"]).any():
                self._damaged(name, "an entry has no band")
            if int(part["channels"].min()) < 0 or int(min(part["frame"].min(), part["row"].min())) < -1:
                self._damaged(name, "an entry lies in no cell")

    def _channels(self, view: View, clips: npt.NDArray[np.int32]) -> None:
        """Each channel of a clip peaks at an entry of that clip."""
        channels, scores = self.generation.channels(view), self.generation.scores(view)
        for rows in steps(len(channels), channels.shape[1], _CHUNK):
            part = channels[rows]
            if int(part.min()) < 0 or int(part.max()) >= len(clips):
                self._damaged(f"{view}.channels.npy", "a channel peaks at an entry that is not there")
            if (clips[part] != np.arange(rows.start, rows.stop, dtype=np.int32)[:, None]).any():
                self._damaged(f"{view}.channels.npy", "a channel peaks in another clip")
            self._finite(f"{view}.scores.npy", scores[rows])

    def _queries(self, view: View) -> None:
        """The places that were looked up are numbers, of clips that are there."""
        queries = self.generation.queries(view)
        for rows in steps(len(queries), queries.dtype.itemsize // 4, _CHUNK):
            self._finite(f"{view}.queries.npy", queries["vector"][rows])

    def _statistics(self) -> None:
        """What clips are like is numbers, of clips that are there, each once."""
        table = self.generation.statistics()
        self._finite(STATISTICS, table["vector"])
        self._finite(STATISTICS, table["scores"])
        if len(np.unique(table["clip"])) < len(table):
            self._damaged(STATISTICS, "a clip stands twice")

    def _passages(self, view: View) -> None:
        """Lengths and rates are numbers of 0 or more."""
        passages = self.generation.passages(view)
        if passages is not None:
            for name in ("length_s", "onsets_per_s"):
                self._finite(f"{view}.passages.npy", passages[name])
                if float(passages[name].min(initial=0.0)) < 0.0:
                    self._damaged(f"{view}.passages.npy", "a passage has a length or a rate below 0")

    def _tops(self, view: View) -> None:
        """A channel's prototypes are entries at which it peaks, of clips that are there; none beats them."""
        name, tops = f"{view}.tops.npy", self.generation.tops(view)
        channel, _ = np.nonzero(tops["clip"] >= 0)
        held = tops[tops["clip"] >= 0]
        self._finite(name, held["score"])
        if not -1 <= int(tops["clip"].min(initial=-1)) <= int(tops["clip"].max(initial=-1)) < self.info.clips:
            self._damaged(name, "a prototype is of a clip that is not there")
        if not self.generation.alive[held["clip"]].all():
            self._damaged(name, "a prototype is of a clip that was removed")
        if (self.generation.channels(view)[held["clip"], channel] != held["entry"]).any():
            self._damaged(name, "a prototype is an entry at which its channel does not peak")
        if (self.generation.scores(view)[held["clip"], channel] != held["score"]).any():
            self._damaged(name, "a prototype has another score than its channel there")
        # Of a channel with fewer than it may have, all recordings are among them.
        recordings = np.where(tops["clip"] >= 0, self.generation.clips["recording"][tops["clip"]], -1)
        least = np.where(tops["clip"][:, -1] >= 0, tops["score"][:, -1], -np.inf)
        scores = self.generation.scores(view)
        for rows in steps(len(scores), scores.shape[1], _CHUNK):
            ahead = (scores[rows] > least) & self.generation.alive[rows, None]
            clip, channel = np.nonzero(ahead)
            recording = self.generation.clips["recording"][rows][clip]
            if not (recordings[channel] == recording[:, None]).any(axis=1).all():
                self._damaged(name, "a channel is stronger in a clip that is not among its prototypes")

    def _finite(self, name: str, *columns: Table) -> None:
        if not all(np.isfinite(column).all() for column in columns):
            self._damaged(name, "a number is not finite")

    def _damaged(self, name: str, how: str) -> NoReturn:
        raise PrototypeIndexError(f"{self.generation.folder / name}: damaged ({how}); {REBUILD}")
