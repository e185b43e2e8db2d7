"""The lines of `events.csv`: clip, label, start_s, end_s, perhaps level_db; others are ignored."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

from ...errors import DataError

COLUMNS = ("clip", "label", "start_s", "end_s")
LEVEL = "level_db"


def event_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The lines of an events file as ("file:line", row). Raises DataError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path}: lacks the column {missing[0]}; the first line is {','.join(COLUMNS)}"
                )
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if any(row[name] is None for name in COLUMNS):
                    raise DataError(f"{where}: has too few columns; a line is {','.join(COLUMNS)}")
                yield where, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as events ({error}); give a CSV file") from error


def event_time(where: str, name: str, row: dict[str, str]) -> float:
    """A time of a line, in seconds from the clip's start. Raises DataError."""
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        given = row[name][:40]
        raise DataError(f"{where}: {name} is {given!r}; give seconds from the clip's start, 0 or more")
    return value


def event_level(where: str, row: dict[str, str]) -> float | None:
    """How loud the event is over its background, in dB; None where that is not said. Raises DataError."""
    given = (row.get(LEVEL) or "").strip()
    try:
        value = float(given) if given else None
    except ValueError:
        value = math.nan
    if value is not None and not math.isfinite(value):
        raise DataError(f"{where}: {LEVEL} is {given[:40]!r}; give decibels, or nothing")
    return value
