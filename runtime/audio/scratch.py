"""Arrays of long sound, which lie in temporary files so that memory does not grow with it."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ...errors import EarmarkError

# Bytes of rows that are kept in memory, and rows that are written at once.
MEMORY_BYTES, _ROWS = 2**18, 256
# Bytes written to a temporary file before its pages are handed back to the system.
_RELEASE_BYTES = 32 * 2**20


def scratch(shape: tuple[int, ...], dtype: npt.DTypeLike, *, long: bool) -> npt.NDArray[Any]:
    """Zeros of `shape`; in a temporary file (an `np.memmap`) for long sound.

    The file vanishes with the last array that shows it. Raises EarmarkError where there is no room.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if not long or size == 0:
        return np.zeros(shape, dtype)
    try:
        with tempfile.TemporaryFile(prefix="earmark-") as file:
            _reserve(file, size)
            return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
    except OSError as problem:
        raise _no_room(size, problem) from problem


def _no_room(size: int, problem: OSError) -> EarmarkError:
    """The error where a temporary file of so many bytes cannot be."""
    return EarmarkError(
        f"the temporary folder{_temporary_folder()} cannot take {size / 1e6:.0f} MB for this "
        f"long sound ({problem.strerror or problem}): free space or set TMPDIR to another folder"
    )


class ScratchRows:
    """Rows [width], as many as come; those beyond a quarter of a megabyte lie in a temporary file."""

    def __init__(self, width: int, dtype: npt.DTypeLike = np.float32) -> None:
        self._full: list[npt.NDArray[Any]] = []
        self._rows = np.zeros((_ROWS, width), dtype)
        self._filled = self._count = 0
        self._file: IO[bytes] | None = None

    def add(self, row: npt.ArrayLike) -> None:
        """The next row. Raises EarmarkError where there is no room."""
        self._rows[self._filled] = row
        self._filled += 1
        self._count += 1
        if self._filled == _ROWS:
            self._put(self._rows)
            self._filled = 0

    def finish(self) -> npt.NDArray[Any]:
        """All of them, [n, width]; called once. Raises EarmarkError where there is no room."""
        rest = self._rows[: self._filled]
        if self._file is None:
            return np.concatenate([*self._full, rest])
        self._put(rest)
        with self._file as file:
            return np.memmap(file, self._rows.dtype, "r+", shape=(self._count, self._rows.shape[1]))

    def _put(self, rows: npt.NDArray[Any]) -> None:
        """Keep these rows, or write them with all that were kept."""
        if self._file is None and (len(self._full) + 1) * rows.nbytes <= MEMORY_BYTES:
            self._full.append(rows.copy())
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="earmark-")  # noqa: SIM115
            for some in (*self._full, rows):
                self._file.write(some.tobytes())
            self._file.flush()
        except OSError as problem:
            raise _no_room(self._count * rows.itemsize * rows.shape[1], problem) from problem
        self._full.clear()


def _temporary_folder() -> str:
    """Its name for a message; nothing where none is usable."""
    try:
        return f" {tempfile.gettempdir()}"
    except OSError:
        return ""


def release(array: npt.NDArray[Any]) -> None:
    """Hand the resident pages of a `scratch` array back to the system; its values stay."""
    mapped = getattr(array, "_mmap", None)
    advise = getattr(mapped, "madvise", None)
    if advise is not None:
        advise(mmap.MADV_DONTNEED)


def releaser(array: npt.NDArray[Any]) -> Callable[[int], None]:
    """A function that counts bytes touched and releases pages now and then."""
    touched = 0

    def count(size: int) -> None:
        nonlocal touched
        touched += size
        if touched >= _RELEASE_BYTES:
            touched = 0
            release(array)

    return count


def _reserve(file: Any, size: int) -> None:
    """Give the file its blocks now: a hole in a mapped file would kill the process on a full disk."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    zeros = bytes(2**20)
    for start in range(0, size, len(zeros)):
        file.write(zeros[: size - start])
    file.flush()
