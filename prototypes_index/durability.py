"""Bringing what was written to the disk, so that a power cut finds the whole of it or none."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import EarmarkError, WriteError

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def sync_tree(folder: Path) -> None:
    """Bring every file below `folder`, and every folder's entries, to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with naming(path), path.open("rb") as file:
                os.fsync(file.fileno())
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def link(file: Path, target: Path) -> None:
    """Share the file with what holds it already where the disk can, else copy it (neither ever changes)."""
    try:
        os.link(file, target)
    except OSError:
        with naming(target):
            shutil.copyfile(file, target)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError within (no room, a limit on file sizes, no permission) is a WriteError naming `path`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, EarmarkError):
            raise
        raise write_error(error, path) from error


def is_full(error: OSError) -> bool:
    """Whether what was lacking is room: on the disk, of a quota, or within a limit on file sizes."""
    return error.errno in _FULL


def write_error(error: OSError, path: Path) -> WriteError:
    """The one line for a file that could not be written."""
    reason = error.strerror or str(error)
    cure = "choose another folder"
    if error.errno == errno.EFBIG:
        cure = "raise the limit on file sizes (ulimit -f) or choose another disk"
    elif is_full(error):
        cure = "free some space or choose another disk"
    named = WriteError(f"{path}: cannot be written ({reason}); {cure}")
    named.errno, named.strerror, named.filename = error.errno, reason, str(path)
    return named
