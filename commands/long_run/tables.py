"""The tables of a run, made of its ledger: one of all detections in each format, one of all recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ...prototypes_index.atomic import open_whole
from ...prototypes_index.durability import naming
from ...runtime.detections.tables.csv_table import csv_line
from ...runtime.detections.tables.formats import FORMATS
from ...runtime.detections.tables.row import RecordingRows
from .ledger import LedgerEntry

RECORDINGS = "recordings.csv"
_COLUMNS = ("file", "status", "detections", "duration_s", "start_time", "site", "error", "warnings")

# Gives the entries anew at each call, read one by one.
Entries = Callable[[], Iterator[LedgerEntry]]


def table_names(formats: Sequence[str]) -> tuple[str, ...]:
    """The files that a run writes into its folder beside its ledger."""
    return (RECORDINGS, *(FORMATS[name].whole for name in formats if FORMATS[name].whole))


def write_tables(folder: Path, entries: Entries, formats: Sequence[str]) -> list[Path]:
    """Write the tables of all recordings. Raises WriteError, MissingDependencyError.

    Returns:
        The files.

    """
    written = [folder / RECORDINGS]
    with open_whole(folder / RECORDINGS) as file:
        for line in _recordings(entries()):
            file.write(line)
    for name in formats:
        if FORMATS[name].whole:
            written.append(folder / FORMATS[name].whole)
            with open_whole(written[-1]) as file:
                FORMATS[name].write(file, _searched(entries()))
    return written


def single_names(places: Iterable[str], formats: Sequence[str]) -> tuple[str, ...]:
    """The tables of single recordings, whose places are paths below the output folder."""
    endings = [FORMATS[name].single for name in formats if FORMATS[name].single]
    return tuple(place + ending for place in places for ending in endings)


def write_single(place: Path, recording: RecordingRows | None, formats: Sequence[str]) -> None:
    """Write the tables of one recording beside `place`; those of an earlier run that are none now go.

    Raises WriteError.
    """
    for name, table in FORMATS.items():
        if not table.single:
            continue
        path = place.with_name(place.name + table.single)
        if recording is None or not recording.rows or name not in formats:
            with naming(path):
                path.unlink(missing_ok=True)
            continue
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with open_whole(path) as file:
            table.write(file, [recording])


def _searched(entries: Iterable[LedgerEntry]) -> Iterator[RecordingRows]:
    """The recordings that were searched."""
    return (entry.recording for entry in entries if entry.recording is not None)


def _recordings(entries: Iterable[LedgerEntry]) -> Iterator[bytes]:
    """A header and a line for each recording, what failed among them."""
    yield csv_line(_COLUMNS)
    for entry in entries:
        cells: tuple[object, ...] = ("", entry.seconds or "", "", "", entry.error, "")
        if (one := entry.recording) is not None:
            warnings = "; ".join(one.warnings)
            cells = (len(one.rows), one.duration_s, one.recorded_at, one.site, "", warnings)
        yield csv_line((entry.file, entry.status, *cells))
