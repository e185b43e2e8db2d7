"""Bringing what was written to the disk, so that a power cut finds the whole of it or none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def sync_tree(folder: Path) -> None:
    """Bring every file below `folder`, and every folder's entries, to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
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
        shutil.copyfile(file, target)
