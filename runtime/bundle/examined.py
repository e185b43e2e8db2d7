"""What this machine remembers of bundles that it has examined: one small record a place, and not too many."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ... import limits
from ...prototypes_index.atomic import write_whole
from .cache import cache_folder

FOLDER = "examined"


class Examined:
    """The record of the bundle in one folder. Best effort: without a cache every opening examines anew."""

    def __init__(self, folder: Path) -> None:
        """`folder`: resolved, so that a bundle has one record whatever it is called by."""
        self._path: Path | None = None
        with suppress(RuntimeError):  # nobody's home
            name = hashlib.sha256(os.fsencode(folder)).hexdigest()
            self._path = cache_folder() / FOLDER / f"{name}.json"

    def holds(self, manifest: bytes, stamps: Mapping[str, Sequence[int]]) -> bool:
        """Whether this manifest with files of these sizes and times was examined and found good."""
        if self._path is None:
            return False
        with suppress(OSError, ValueError, RecursionError), self._path.open("rb") as file:
            return bool(json.loads(file.read(4096)) == _record(manifest, stamps))
        return False

    def remember(self, manifest: bytes, stamps: Mapping[str, Sequence[int]]) -> None:
        """It was examined and found good; replaces what was known of this place before."""
        if self._path is None:
            return
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, json.dumps(_record(manifest, stamps)), durable=False)
            _prune(self._path)

    def forget(self) -> None:
        """A check has failed: the next opening examines again."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


def _record(manifest: bytes, stamps: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """A record has one size, however many files a bundle has."""
    files = json.dumps({name: list(stamp) for name, stamp in stamps.items()}, sort_keys=True)
    return {
        "manifest": hashlib.sha256(manifest).hexdigest(),
        "files": hashlib.sha256(files.encode()).hexdigest(),
    }


def _prune(newest: Path) -> None:
    """Keep the newest records, within the table of limits."""
    records = []
    for path in newest.parent.iterdir():
        with suppress(OSError):
            status = path.stat()
            records.append((path != newest, -status.st_mtime_ns, status.st_size, path))
    held = 0
    for count, (_, _, size, path) in enumerate(sorted(records)):
        held += size
        if count >= limits.EXAMINED_RECORDS or held > limits.EXAMINED_BYTES:
            with suppress(OSError):
                path.unlink()
