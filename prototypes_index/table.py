"""The table of prototypes: plain .npy arrays that are checked, then mapped, never unpickled.

A generation holds `clips.npy` and `clips.jsonl` (one row a clip), and for every view
`<view>.entries.npy` (one row a distinct place), `<view>.channels.npy` and `<view>.scores.npy`
[clips, C] (each channel's entry and its value there), and `<view>.tops.npy` [C, TOPS] (the clips in
which a channel is strongest, one a recording).
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from .. import limits
from ..errors import PrototypeIndexError
from .durability import naming

ENTRY = np.dtype(
    [
        # Row of the clips table, and index into the labels of index_info.json.
        ("clip", "<i4"),
        ("label", "<i4"),
        # Cell of the feature map within the clip's window; -1 where the view does not localise.
        ("frame", "<i4"),
        ("row", "<i4"),
        # Nominal region, seconds in the source file.
        ("start_s", "<f8"),
        ("end_s", "<f8"),
        ("fmin_hz", "<f4"),
        ("fmax_hz", "<f4"),
        # Of the channels that peak here: the largest value, and how many they are.
        ("score", "<f4"),
        ("channels", "<i4"),
    ]
)


class IndexEntry(NamedTuple):
    """One `ENTRY` record."""

    clip: int
    label: int
    frame: int
    row: int
    start_s: float
    end_s: float
    fmin_hz: float
    fmax_hz: float
    score: float
    channels: int


CLIP = np.dtype(
    [
        # Where the clip's line lies in clips.jsonl.
        ("position", "<i8"),
        ("length", "<i4"),
        ("label", "<i4"),
        # Clips of one file (long sound is windowed) share `source`; files of one recording share that.
        ("source", "<i4"),
        ("recording", "<i4"),
    ]
)
# A row of another table; a channel's value.
ROW = np.dtype("<i4")
SCORE = np.dtype("<f4")
TOP = np.dtype([("clip", "<i4"), ("entry", "<i4"), ("score", "<f4")])
# Clips kept per channel, unless asked otherwise, and at most.
TOPS = 8
MOST_TOPS = limits.PER_CHANNEL
CHUNK_BYTES = 32 << 20

Table = npt.NDArray[Any]
_Seconds = Annotated[float, msgspec.Meta(ge=0.0)]
# No float32 is larger.
_Gain = Annotated[float, msgspec.Meta(gt=0.0, le=2.0**128)]


@dataclass(frozen=True, slots=True)
class SoundFiles:
    """All files that hold one sound: their labels and their names, in order, without repetition."""

    labels: dict[str, None] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)

    def add(self, labels: Iterable[str], names: Iterable[str]) -> None:
        """One more file, or what is known of several."""
        self.labels.update(dict.fromkeys(labels))
        self.names.update(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class IndexedClip:
    """One window of one source file.

    Attributes:
        id: Unique in the generation.
        source: Path relative to the data folder, forward slashes.
        offset_s: Where the window starts in the source.
        duration_s: Real sound in it.
        sha256: Of the source file.
        recording: What the file was cut from.
        audio: FLAC in the generation, whose samples times `gain` are the sound.
        also: Further labels of the same sound; clips of older generations have none.
        names: Further paths, relative to their data folders, at which the same sound lay.

    """

    id: str
    source: str
    label: str
    offset_s: _Seconds
    duration_s: _Seconds
    sha256: str
    recording: str
    attribution: str = ""
    audio: str | None = None
    gain: _Gain = 1.0
    also: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """All its labels."""
        return (self.label, *self.also)

    def joined(self, files: SoundFiles) -> IndexedClip:
        """The same clip with the labels and names that its sound has in `files`, beside its own."""
        also = tuple(dict.fromkeys((*self.labels, *files.labels)))[1:]
        names = tuple(dict.fromkeys((self.source, *self.names, *files.names)))[1:]
        return replace(self, also=also, names=names)

    def to_line(self) -> bytes:
        """The clip as a line of clips.jsonl."""
        fields = asdict(self)
        for name in ("also", "names"):
            if not fields[name]:
                del fields[name]
        if self.gain == 1.0:
            del fields["gain"]
        return json.dumps(fields, ensure_ascii=False, sort_keys=True).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes, where: Path) -> IndexedClip:
        """Read a line of clips.jsonl; raises PrototypeIndexError naming `where` on damage."""
        try:
            clip = msgspec.json.decode(line, type=cls)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise PrototypeIndexError(f"{where}: a line is damaged ({error}); {REBUILD}") from error
        # The audio's name is joined to a folder: no separators, no way out.
        if clip.audio is not None and (
            not clip.audio or set("/\\:\0") & set(clip.audio) or clip.audio.startswith(".")
        ):
            raise PrototypeIndexError(f"{where}: a line names sound that lies elsewhere; {REBUILD}")
        return clip


def regular(path: Path) -> Path:
    """The path of what is a regular file. Raises PrototypeIndexError: a pipe would hold its reader up."""
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return path
    except OSError as error:
        raise PrototypeIndexError(f"{path}: cannot be read ({error.strerror}); {REBUILD}") from error
    raise PrototypeIndexError(f"{path}: not a file; {REBUILD}")


def read_small(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises PrototypeIndexError."""
    try:
        with regular(path).open("rb") as file:
            text = file.read(most + 1)
    except OSError as error:
        raise PrototypeIndexError(f"{path}: cannot be read ({error.strerror}); {REBUILD}") from error
    if len(text) > most:
        raise PrototypeIndexError(f"{path}: larger than {most >> 20} MiB: damaged; {REBUILD}")
    return text


def open_table(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Table:
    """Map the .npy file read-only after checking its header and size against what it must be.

    Raises PrototypeIndexError where type, shape or size disagree, or the file is not there.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"format version {version}")
            found_shape, fortran, found_dtype = np.lib.format.read_array_header_1_0(file)
            start = file.tell()
            size = os.fstat(file.fileno()).st_size
    except Exception as error:
        # numpy parses a header as a Python literal: damage surfaces as many kinds of error.
        raise PrototypeIndexError(f"{path}: not a readable table ({error}); {REBUILD}") from error
    if found_dtype != dtype or fortran or found_shape != shape:
        raise PrototypeIndexError(
            f"{path}: holds {found_shape} of {_kind(found_dtype)}, "
            f"the manifest says {shape} of {_kind(dtype)}; {REBUILD}"
        )
    expected = start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size != expected:
        raise PrototypeIndexError(f"{path}: has {size} bytes instead of {expected}: damaged; {REBUILD}")
    if expected == start:
        return np.empty(shape, dtype)
    # Plain arrays are indexed quicker than numpy's own kind for files.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape))


REBUILD = "build the prototypes again with earmark index --rebuild"


def _kind(dtype: np.dtype[Any]) -> str:
    return "records" if dtype.names else str(dtype)


def steps(rows: int, width: int, most: int) -> Iterator[slice]:
    """The rows, of this width each, in steps of at most `most`."""
    step = max(1, most // width)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def write_table(path: Path, shape: tuple[int, ...], blocks: Iterable[Table], dtype: np.dtype[Any]) -> None:
    """Write a .npy file of that shape, a block of rows at a time, as `open_table` reads it."""
    with naming(path), path.open("wb") as file:
        _write_header(file, dtype, shape)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype=dtype).tobytes())


def _write_header(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


class TableWriter:
    """Appends rows to a raw file beside `path`, and makes the .npy of it at the end."""

    def __init__(self, path: Path, dtype: np.dtype[Any], columns: tuple[int, ...] = ()) -> None:
        self.path, self.dtype, self.columns = path, dtype, columns
        self.rows = 0
        self._raw = path.with_name(path.name + ".raw")
        with naming(path):
            self._file: BinaryIO = self._raw.open("wb")

    def append(self, rows: Table) -> None:
        """Add rows [n, *columns]."""
        if rows.shape[1:] != self.columns:
            raise ValueError(f"{self.path.name}: rows of {rows.shape[1:]}, expected {self.columns}")
        with naming(self.path):
            self._file.write(np.ascontiguousarray(rows, dtype=self.dtype).tobytes())
        self.rows += len(rows)

    def finish(self) -> None:
        """Write the header and the rows to `path`, and bring them to the disk."""
        with naming(self.path):
            self._file.close()
        with naming(self.path), self.path.open("wb") as file, self._raw.open("rb") as raw:
            _write_header(file, self.dtype, (self.rows, *self.columns))
            shutil.copyfileobj(raw, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        self._raw.unlink()

    def truncate(self, rows: int) -> None:
        """Forget the rows from `rows` on."""
        with naming(self.path):
            self._file.flush()
        width = self.dtype.itemsize * int(np.prod(self.columns, dtype=np.int64))
        self._file.truncate(rows * width)
        self._file.seek(rows * width)
        self.rows = rows

    def raw_rows(self) -> Table:
        """What was appended so far, mapped; valid until `finish`."""
        with naming(self.path):
            self._file.flush()
        shape = (self.rows, *self.columns)
        return (
            np.memmap(self._raw, dtype=self.dtype, mode="r", shape=shape)
            if self.rows
            else np.empty(shape, self.dtype)
        )

    def discard(self) -> None:
        """Let go of the rows: they are in the index."""
        with naming(self.path):
            self._file.close()
        self._raw.unlink()

    def close(self) -> None:
        """Stop without finishing; what a full disk does not take is of no use any more."""
        with suppress(OSError):
            self._file.close()


def count_prototypes(tops: Table) -> tuple[int, int]:
    """How many distinct entries the tops [C, n] name, and how many the channel with the fewest."""
    held = tops["clip"] >= 0
    return len(np.unique(tops["entry"][held])), int(held.sum(axis=1).min())


def strongest_clips(
    channels: Table,
    scores: Table,
    recordings: npt.NDArray[np.int32],
    count: int = TOPS,
    alive: npt.NDArray[np.bool_] | None = None,
) -> Table:
    """The `count` clips [C, count] in which each channel is strongest, one a recording; clip -1 where fewer.

    By channels and scores [clips, C] and recordings [clips]; alive: [clips] False where one does not count.
    Ties go to the earlier clip. Memory stays bounded.
    """
    clips, width = scores.shape
    best = np.zeros((width, count), dtype=TOP)
    best["clip"] = -1
    best["score"] = -np.inf
    everyone = np.arange(width)
    for rows in steps(clips, 4 * width, CHUNK_BYTES):
        here = np.arange(rows.start, rows.stop)[:, None]
        held = best["clip"].T
        # What was best so far comes first, so that ties keep the earlier clip.
        clip = np.concatenate((held, np.broadcast_to(here, (len(here), width))))
        value = np.concatenate((best["score"].T, scores[rows]))
        entry = np.concatenate((best["entry"].T, channels[rows]))
        recording = np.where(clip >= 0, recordings[clip], -1)
        if alive is not None:
            value[len(held) :][~alive[rows]] = -np.inf
        merged = best.copy()
        for rank in range(count):
            top = np.argmax(value, axis=0)
            reached = value[top, everyone]
            there = reached > -np.inf
            merged["clip"][:, rank] = np.where(there, clip[top, everyone], -1)
            merged["entry"][:, rank] = np.where(there, entry[top, everyone], -1)
            merged["score"][:, rank] = np.where(there, reached, 0.0)
            value[recording == recording[top, everyone]] = -np.inf
        best = merged
        best["score"][best["clip"] < 0] = -np.inf
    best["score"][best["clip"] < 0] = 0.0
    best["entry"][best["clip"] < 0] = -1
    return best
