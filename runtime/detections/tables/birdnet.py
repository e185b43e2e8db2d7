"""The CSV that BirdNET-Analyzer writes, for what reads that: six columns, a line for each detection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from .csv_table import csv_line
from .row import RecordingRows, halves

_COLUMNS = ("Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File")


def write_birdnet(file: BinaryIO, recordings: Iterable[RecordingRows]) -> None:
    """Write the table; labels that are not `Scientific_Common` stand in both columns."""
    file.write(csv_line(_COLUMNS))
    for recording in recordings:
        for row in recording.rows:
            names = halves(row.label)
            file.write(csv_line((row.start_s, row.end_s, *names, f"{row.score:.4f}", recording.path)))
