r"""Audacity's labels: start, end and label, tab-separated; a second line `\`, low, high gives the band."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from ....printable import printable
from .row import RecordingRows


def write_audacity(file: BinaryIO, recordings: Iterable[RecordingRows]) -> None:
    """Write the labels of a recording; the format knows one sound alone."""
    for recording in recordings:
        for row in recording.rows:
            file.write(f"{row.start_s:.6f}\t{row.end_s:.6f}\t{printable(row.label)}\n".encode())
            if row.low_hz is not None and row.high_hz is not None:
                file.write(f"\\\t{row.low_hz:.6f}\t{row.high_hz:.6f}\n".encode())
