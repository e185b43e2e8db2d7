"""What tells a recording from others, and whether it is still the same file."""

from __future__ import annotations

import os
from typing import NamedTuple

from ..inputs import Input


class FileState(NamedTuple):
    """A recording as the ledger knows it.

    path: its absolute path; the name of what is no file
    size, mtime_ns: length in bytes and time of the last change; 0 for what is no file
    """

    path: str
    size: int = 0
    mtime_ns: int = 0


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
