"""Arrays of long sound, which lie in temporary files so that memory does not grow with it."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...errors import EarmarkError

# Bytes written to a temporary file before its pages are handed back to the system.
_RELEASE_BYTES = 32 * 2**20


class Measured(Protocol):
    """A sound of which it is known whether it is too long for memory."""

    long: bool


def scratch(shape: tuple[int, ...], dtype: npt.DTypeLike, *, opened: Measured) -> npt.NDArray[Any]:
    """Zeros of `shape`; in a temporary file (an `np.memmap`) for long sound.

    The file vanishes with the last array that shows it.

    Raises:
        EarmarkError: There is no room.

    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if not opened.long or size == 0:
        return np.zeros(shape, dtype)
    try:
        with tempfile.TemporaryFile(prefix="earmark-") as file:
            _reserve(file, size)
            return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
    except OSError as problem:
        raise EarmarkError(
            f"the temporary folder{_temporary_folder()} cannot take {size / 1e6:.0f} MB for this "
            f"long sound ({problem.strerror or problem}): free space or set TMPDIR to another folder"
        ) from problem


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
