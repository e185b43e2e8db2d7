"""JSON lines: one object for each detection of all recordings; the keys are the fields of a row."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import BinaryIO

import msgspec

from .row import RecordingRows


def write_json_lines(file: BinaryIO, recordings: Iterable[RecordingRows]) -> None:
    """Write one line of JSON in UTF-8 for each detection."""
    for recording in recordings:
        for row in recording.rows:
            line = json.dumps(msgspec.to_builtins(row), ensure_ascii=False, allow_nan=False)
            file.write(line.encode(errors="backslashreplace") + b"\n")
