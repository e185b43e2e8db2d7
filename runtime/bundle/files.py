"""The one place where the files of a bundle are opened: listed, inside, regular, of their size."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ...errors import BundleError

if TYPE_CHECKING:
    from .manifest import FileSpec

MANIFEST = "bundle.json"
# A link leads to wherever it is turned to after the check.
_LINK = "a link; a bundle holds its files itself"
# "*" stands in the names that onnxruntime takes for addresses in memory; no other is a name everywhere.
_STRANGE = frozenset('\\:*?"<>|')


class Files:
    """What a manifest lists, in the folder of its bundle."""

    def __init__(self, folder: Path, listed: Mapping[str, FileSpec]) -> None:
        """`folder` is where bundle.json lies; `listed` what it says of every file."""
        self.folder, self._listed = folder.resolve(), listed
        self._parents: set[Path] = set()

    def where(self, name: str) -> Path:
        """Where the file `name` lies; nothing is looked at. Raises BundleError where it is not listed."""
        self._listing(name)
        return self.folder / _confined(self.folder, name)

    def path(self, name: str) -> Path:
        """Where the file `name` (forward slashes) lies, which may then be opened.

        Raises BundleError: not listed, missing, outside the bundle, no regular file, of another size.
        """
        self.status(name)
        return self.folder / name

    def status(self, name: str) -> os.stat_result:
        """What the file system says of the file `name`. Raises as `path`."""
        expected = self._listing(name)
        path = self.folder / _confined(self.folder, name)
        try:
            status = path.lstat()
            # Many files share a folder, which is looked at once.
            if path.parent not in self._parents:
                if not path.parent.resolve(strict=True).is_relative_to(self.folder):
                    raise BundleError(f"{path}: {_LINK}")
                self._parents.add(path.parent)
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
            raise BundleError(f"{path}: missing; fetch or export the bundle again") from error
        if stat.S_ISLNK(status.st_mode):
            raise BundleError(f"{path}: {_LINK}")
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path}: not a file; fetch or export the bundle again")
        if status.st_size != expected.size:
            raise BundleError(
                f"{path}: has {status.st_size} bytes, the manifest says {expected.size}; "
                "fetch or export the bundle again"
            )
        return status

    def stamps(self) -> dict[str, tuple[int, int]]:
        """Size and time of every file, each checked. Raises as `path`."""
        statuses = {name: self.status(name) for name in self._listed}
        return {name: (one.st_size, one.st_mtime_ns) for name, one in statuses.items()}

    def _listing(self, name: str) -> FileSpec:
        expected = self._listed.get(name)
        if expected is None:
            raise BundleError(f"{self.folder / MANIFEST}: lists no file {name}; export the bundle again")
        return expected


def read_regular(path: Path, most: int) -> bytes:
    """The content of a regular file, at most `most` bytes and one more.

    Raises OSError where it cannot be read or is none; a pipe without a writer does not hold it up.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{path} is not a regular file")
    # Should a pipe have taken its place since.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path} is not a regular file")
        return file.read(most + 1)


def _confined(folder: Path, name: str) -> PurePosixPath:
    """The name as a path that cannot leave the bundle, written in one way only."""
    path = PurePosixPath(name)
    if (
        not name
        or path.is_absolute()
        or ".." in path.parts
        or str(path) != name
        or _STRANGE & set(name)
        or any(ord(one) < 32 or ord(one) == 127 for one in name)
        or path == PurePosixPath(MANIFEST)
    ):
        raise BundleError(f"{folder / MANIFEST}: the file name {name!r} leaves the bundle or is not allowed")
    return path
