"""Files on this machine and behind URLs: recordings are fetched, parts of tables written whole.

URLs are fsspec's: s3://, gs://, http://, memory:// and the like; each needs the package that fsspec names.
"""

from __future__ import annotations

import io
import posixpath
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from ..errors import AudioError, EarmarkError, MissingDependencyError, WriteError
from ..prototypes_index.atomic import write_whole
from ..prototypes_index.durability import naming

_NAME_LENGTH = 100


def is_url(name: str) -> bool:
    """Whether a name is a URL and not a path."""
    return "://" in name


class NamedFile(io.FileIO):
    """A file on this machine that bears the name it has elsewhere. `path` is where it lies."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, "rb")
        self.path = path
        self.name = name


@contextmanager
def fetched(url: str) -> Iterator[NamedFile]:
    """A copy of the sound file behind a URL, in the temporary folder until the end; its `name` is the URL.

    Raises AudioError where it cannot be read, MissingDependencyError, and WriteError where there is no room.
    """
    name = posixpath.basename(unquote(urlsplit(url).path))[-_NAME_LENGTH:] or "sound"
    with tempfile.TemporaryDirectory(prefix="earmark-") as folder:
        copy = Path(folder, name)
        files, place = _file_system(url)
        with naming(copy), copy.open("wb") as target:
            try:
                source = files.open(place, "rb")
            except Exception as error:
                raise AudioError(f"{url} cannot be read ({_reason(error)})") from error
            with source:
                while block := _block(source, url):
                    target.write(block)
        with NamedFile(copy, url) as sound:
            yield sound


def read_bytes(name: str) -> bytes:
    """What a path or a URL holds. Raises OSError and what the URL's package raises."""
    if not is_url(name):
        return Path(name).read_bytes()
    files, place = _file_system(name)
    return bytes(files.cat_file(place))


class Folder:
    """An output folder, by its path or its URL; files appear in it whole or not at all.

    An object store shows a file when all of it has arrived; on a file system a hidden file is renamed. Raises
    MissingDependencyError where the package for URLs of this kind is missing.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/") if is_url(place) else place
        files: Any = None
        root = ""
        if is_url(place):
            files, root = _file_system(self.place)
        self._files, self._root = files, root

    def __str__(self) -> str:
        return self.place

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in the place of one that is there. Raises WriteError."""
        if self._files is None:
            path = Path(self.place, name)
            with naming(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
            return
        try:
            where = f"{self._root}/{name}"
            self._files.makedirs(posixpath.dirname(where), exist_ok=True)
            self._files.pipe_file(where, content)
        except Exception as error:
            raise WriteError(f"{self.place}/{name}: cannot be written ({_reason(error)})") from error

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where there is none. Raises WriteError where it cannot be read."""
        try:
            if self._files is None:
                return Path(self.place, name).read_bytes()
            return bytes(self._files.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise WriteError(f"{self.place}/{name}: cannot be read ({_reason(error)})") from error

    def holds(self, name: str) -> bool:
        """Whether it has a file or a folder of that name."""
        if self._files is None:
            return Path(self.place, name).exists()
        return bool(self._files.exists(f"{self._root}/{name}"))

    def clear(self, name: str) -> None:
        """Remove a folder in it, where there is one."""
        if self._files is None:
            shutil.rmtree(Path(self.place, name), ignore_errors=True)
        elif self._files.exists(f"{self._root}/{name}"):
            self._files.rm(f"{self._root}/{name}", recursive=True)

    def table(self, name: str) -> Any:
        """A folder of Parquet parts in it as a `pyarrow.dataset.Dataset`; None where there is none."""
        import pyarrow.dataset

        where: str = f"{self._root}/{name}" if self._files is not None else str(Path(self.place, name))
        try:
            return pyarrow.dataset.dataset(where, format="parquet", filesystem=self._files)
        except FileNotFoundError:
            return None


def _block(source: BinaryIO, url: str) -> bytes:
    try:
        return source.read(1 << 20)
    except Exception as error:
        raise AudioError(f"{url} breaks off ({_reason(error)})") from error


def _file_system(url: str) -> tuple[Any, str]:
    """The file system that a URL is of, and the place in it."""
    try:
        import fsspec
    except ImportError as error:
        raise MissingDependencyError(f"{url}: URLs need fsspec: pip install fsspec") from error
    try:
        files, place = fsspec.core.url_to_fs(url)
    except ImportError as error:
        # fsspec says which package.
        raise MissingDependencyError(f"{url}: {error}") from error
    except ValueError as error:
        raise EarmarkError(f"{url}: {error}; give a path, or a URL of fsspec such as s3://") from error
    return files, place.rstrip("/")


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
