"""The ledger of a run: what was done of which recording, one line each, on the disk before the next begins.

A line is the one place that says that a recording is done, and holds its rows; the tables are made of lines.
So a process that is killed at any moment leaves a recording done once or not at all: a last line that was
cut off is no line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import msgspec

from ...errors import RunError, WriteError
from ...prototypes_index.atomic import write_whole
from ...prototypes_index.durability import naming
from ...prototypes_index.locks import locked
from ...runtime.detections.tables.row import RecordingRows
from ..inputs import Input

LEDGER = "run.jsonl"
_LOCK = ".run.lock"
_SCHEMA = 1

Status = Literal["done", "failed", "quarantined"]


class RunFacts(msgspec.Struct, frozen=True):
    """The first line: which run the folder belongs to.

    Attributes:
        command: The verb.
        bundle: Name of the bundle.
        bundle_id: Its hash.
        settings: Everything that changes what is found, by its option.
        version: Of earmark, as the run began; told, not compared.
        earmark_run: Version of this file's form.

    """

    command: str
    bundle: str
    bundle_id: str
    settings: dict[str, Any]
    version: str
    earmark_run: int = _SCHEMA


class LedgerEntry(msgspec.Struct, frozen=True):
    """What was done of one recording.

    Attributes:
        path: Its absolute path; its name where it is no file.
        file: As it was named.
        size: Of the file in bytes, with `mtime_ns` what tells whether it is still the same; 0 for no file.
        mtime_ns: When it was last changed.
        status: done; failed (no sound that can be used); quarantined (it ended or held up a worker).
        folder: Where its clips and tables lie, below the output folder.
        seconds: Length of the sound.
        error_type: Class of what was raised; empty when done.
        error: Its line.
        recording: What was found.

    """

    path: str
    file: str
    size: int
    mtime_ns: int
    status: Status
    folder: str = ""
    seconds: float = 0.0
    error_type: str = ""
    error: str = ""
    recording: RecordingRows | None = None


class FileState(NamedTuple):
    """A recording as the ledger knows it.

    path: its absolute path; the name of what is no file
    size, mtime_ns: length in bytes and time of the last change; 0 for what is no file
    """

    path: str
    size: int = 0
    mtime_ns: int = 0

    def entry(self, file: str, **more: Any) -> LedgerEntry:
        """Its entry; `file`: as it was named."""
        return LedgerEntry(path=self.path, file=file, size=self.size, mtime_ns=self.mtime_ns, **more)


def state_of(item: Input) -> FileState:
    """The state of an input's file; what was read from a pipe has none."""
    if item.missing is not None or item.sound != item.name:
        return FileState(item.name)
    path = os.path.abspath(item.name)  # noqa: PTH100 (names of any bytes)
    try:
        known = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return FileState(path)
    return FileState(path, known.st_size, known.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an entry's line lies, and what has to be known without reading it.

    final: whether it is of a file, and would be the same another time: memory may be there then
    """

    offset: int
    size: int
    mtime_ns: int
    folder: str
    final: bool


class Ledger:
    """The open ledger of a folder; `open_ledger` makes it. One entry a path counts: the last."""

    def __init__(self, path: Path, file: BinaryIO, out: int, places: dict[str, _Place], end: int) -> None:
        self._path, self._file, self._out, self._places, self._end = path, file, out, places, end

    def __len__(self) -> int:
        """How many recordings have an entry."""
        return len(self._places)

    def get(self, path: str) -> LedgerEntry | None:
        """The entry of a path, where there is one."""
        place = self._places.get(path)
        return None if place is None else self._at(place)

    @property
    def folders(self) -> Mapping[str, str]:
        """Path -> folder of its clips and tables, below the output folder."""
        return {path: place.folder for path, place in self._places.items()}

    def has(self, path: str, size: int, mtime_ns: int) -> bool:
        """Whether the file as it is now was done, or was found to be of no use."""
        place = self._places.get(path)
        return place is not None and place.final and (place.size, place.mtime_ns) == (size, mtime_ns)

    def append(self, entry: LedgerEntry) -> None:
        """Add a line and bring it to the disk. Raises WriteError, with the ledger as it was."""
        line = (json.dumps(msgspec.to_builtins(entry), allow_nan=False) + "\n").encode()
        with naming(self._path):
            try:
                left = memoryview(line)
                while left:
                    left = left[os.write(self._out, left) :]
                os.fsync(self._out)
            except OSError:
                os.ftruncate(self._out, self._end)
                raise
        self._places[entry.path] = _place(entry, self._end)
        self._end += len(line)

    def entries(self, first: Iterator[str] | None = None) -> Iterator[LedgerEntry]:
        """All entries, read one by one: those of the paths in `first` in their order, then the others."""
        order = dict.fromkeys(path for path in first or () if path in self._places)
        for path in (*order, *(path for path in self._places if path not in order)):
            yield self._at(self._places[path])

    def _at(self, place: _Place) -> LedgerEntry:
        self._file.seek(place.offset)
        return msgspec.convert(json.loads(self._file.readline()), LedgerEntry)


@contextmanager
def open_ledger(
    folder: Path, facts: RunFacts, *, resume: bool, anew: bool = False, own: tuple[str, ...] = ()
) -> Iterator[Ledger]:
    """The ledger of a folder, held by this process alone.

    Args:
        folder: The output folder; made where it does not exist.
        facts: Of this run.
        resume: Whether an earlier run in this folder is to be continued.
        anew: Whether one of the same command is to be forgotten.
        own: Names of files that the run will write into the folder.

    Yields:
        The ledger, with what an earlier run has done.

    Raises:
        RunError: The folder holds a run and `resume` is not set, or that of another bundle or other settings.
        WriteError: The folder cannot be written, or holds files of these names that no run wrote.
        BusyError: Another process is working there.

    """
    path = folder / LEDGER
    with ExitStack() as stack:
        with naming(folder):
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder / _LOCK))
            there = _facts(path) if path.exists() else None
            if there is None:
                _refuse_others(folder, own)
            elif not anew or there.command != facts.command:
                check_same_run(str(folder), there, facts, resume=resume)
            if there is None or anew:
                write_whole(path, json.dumps(msgspec.to_builtins(facts)) + "\n")
            file = stack.enter_context(path.open("rb"))
            out = stack.enter_context(path.open("ab", buffering=0)).fileno()
            places, end = _read(path, file)
            os.ftruncate(out, end)
        yield Ledger(path, file, out, places, end)


def _facts(path: Path) -> RunFacts:
    """The first line. Raises WriteError where it is none of ours, RunError where it is of a newer earmark."""
    try:
        with path.open("rb") as file:
            facts = msgspec.json.decode(file.readline(1 << 24), type=RunFacts)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise WriteError(
            f"{path}: is there already and was not written by earmark; choose another folder"
        ) from None
    if facts.earmark_run > _SCHEMA:
        raise RunError(f"{path}: was written by a newer earmark ({facts.version}): continue with that")
    return facts


def check_same_run(folder: str, there: RunFacts, here: RunFacts, *, resume: bool) -> None:
    """Raise RunError unless the run in the folder is this one, to be continued."""
    if not resume:
        raise RunError(
            f"{folder} holds an earlier run: add --resume to continue it, or choose another folder"
        )
    if there.command != here.command:
        raise RunError(f"{folder} is of earmark {there.command}: choose another folder")
    if there.bundle_id != here.bundle_id:
        raise RunError(
            f"{folder} is of another bundle, {there.bundle} ({there.bundle_id[:12]}), and not of "
            f"{here.bundle} ({here.bundle_id[:12]}): choose another folder"
        )
    # As they would be read again: a tuple is a list there.
    settings = json.loads(json.dumps(here.settings))
    for name in sorted(there.settings.keys() | settings.keys()):
        was, now = there.settings.get(name), settings.get(name)
        if was != now:
            raise RunError(
                f"{folder} is of another run: {name} was {_shown(was)} there and is {_shown(now)} here; give "
                "the same, or choose another folder"
            )


def _shown(value: object) -> str:
    return "not given" if value is None else json.dumps(value)


def _refuse_others(folder: Path, own: tuple[str, ...]) -> None:
    for name in own:
        if os.path.lexists(folder / name):
            raise WriteError(
                f"{folder / name}: is there already and was not written by earmark; move it away or choose "
                "another folder"
            )


def _read(path: Path, file: BinaryIO) -> tuple[dict[str, _Place], int]:
    """Where the lines lie, and where the last whole one ends. Raises RunError for a damaged one before it."""
    places: dict[str, _Place] = {}
    end = len(file.readline())
    damaged = 0
    for number, line in enumerate(file, 2):
        try:
            entry = msgspec.convert(json.loads(line), LedgerEntry) if line.endswith(b"\n") else None
        except (ValueError, msgspec.ValidationError):
            entry = None
        if entry is None:
            damaged = damaged or number
        elif damaged:
            raise RunError(f"{path}: line {damaged} is damaged: delete it, and its recording is done again")
        else:
            places[entry.path] = _place(entry, end)
            end += len(line)
    return places, end


def _place(entry: LedgerEntry, offset: int) -> _Place:
    final = entry.size > 0 and (entry.status != "failed" or entry.error_type == "AudioError")
    return _Place(offset, entry.size, entry.mtime_ns, entry.folder, final)
