"""CSV: a header and a line for each detection of all recordings; the columns are the fields of a row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import BinaryIO

from .row import DetectionRow, RecordingRows

COLUMNS = DetectionRow.__struct_fields__


def write_csv(file: BinaryIO, recordings: Iterable[RecordingRows]) -> None:
    """Write a CSV in UTF-8; stretches of evidence are `start-end`, parted by blanks."""
    file.write(csv_line(COLUMNS))
    for recording in recordings:
        for row in recording.rows:
            file.write(csv_line(_cell(getattr(row, name)) for name in COLUMNS))


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(f"{start!r}-{end!r}" for start, end in value)
    return "" if value is None else str(value)


def csv_line(cells: Iterable[object]) -> bytes:
    """One line of a CSV in UTF-8."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    # Bytes of a file's name that are no UTF-8.
    return text.getvalue().encode(errors="backslashreplace")
