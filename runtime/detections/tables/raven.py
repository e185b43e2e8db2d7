"""Raven's selection table: tab-separated, with the columns that BirdNET-Analyzer writes, in its order.

The band is that of the evidence, else all that the recording can hold. In a table of several recordings Begin
and End Time go on from one recording to the next, as Raven counts when it opens their files in this order;
File Offset is the time within the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import BinaryIO

from ....printable import printable
from .row import RecordingRows, halves, hertz, seconds

_COLUMNS = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)",
    "Common Name", "Species Code", "Confidence", "Begin Path", "File Offset (s)", "Begin File", "Annotation",
)  # fmt: skip


def write_raven(file: BinaryIO, recordings: Iterable[RecordingRows]) -> None:
    """Write a selection table of one recording or of several."""
    file.write(_line(*_COLUMNS))
    number, before_s = 0, 0.0
    for recording in recordings:
        for row in recording.rows:
            number += 1
            low = 0.0 if row.low_hz is None else row.low_hz
            high = hertz(recording.sample_rate / 2) if row.high_hz is None else row.high_hz
            line = _line(
                number,
                "Spectrogram 1",
                1,
                seconds(before_s + row.start_s),
                seconds(before_s + row.end_s),
                low,
                high,
                halves(row.label)[1],
                row.label,
                f"{row.score:.4f}",
                recording.path,
                row.start_s,
                PurePath(recording.path).name,
                row.label,
            )
            file.write(line)
        before_s += recording.duration_s


def _line(*cells: object) -> bytes:
    # Tabs and line ends in names would be others' cells.
    return ("\t".join(printable(str(cell)) for cell in cells) + "\n").encode(errors="backslashreplace")
