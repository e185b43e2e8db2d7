"""The CSV that BirdNET-Analyzer writes, for what reads that: six columns, a line for each detection."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import BinaryIO

from .row import RecordingRows, halves

_COLUMNS = ("Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File")


def write_birdnet(file: BinaryIO, recordings: Iterable[RecordingRows]) -> None:
    """Write the table; labels that are not `Scientific_Common` stand in both columns."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_COLUMNS)
    for recording in recordings:
        for row in recording.rows:
            names = halves(row.label)
            lines.writerow((row.start_s, row.end_s, *names, f"{row.score:.4f}", recording.path))
        file.write(text.getvalue().encode(errors="backslashreplace"))
        text.seek(0)
        text.truncate()
    file.write(text.getvalue().encode())
