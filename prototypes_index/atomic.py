"""Files and folders that appear whole or not at all, and what killed writers left is removed.

Every writer works under a hidden name beside its target, `.earmark-<token>`, which it holds locked
(flock; the system lets go when the process ends, however it ends). What it made takes the target's place
in one step. The next writer in that folder removes hidden names that nobody holds.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from ..errors import EarmarkError
from .durability import naming, sync_folder, write_error

# Names that begin so are earmark's own, and nobody's any more once no process holds them.
HIDDEN = ".earmark-"
_HIDDEN_NAME = re.compile(r"\.earmark-(aside-)?[0-9a-f]{16}(\..*)?")
# A folder of this kind holds what was moved aside, under its own name.
_ASIDE = f"{HIDDEN}aside-"
# Where the file system has no locks, a hidden name that nobody has touched for so long is left over.
_STALE_S = 86_400.0
_NO_EXCHANGE = {errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def replaced(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A hidden name beside `path` to write to; it becomes `path` at the end, or nothing stays.

    A link stays, and what it leads to is replaced; a pipe or a device is written to as it is. Modes follow
    the umask. durable: bring the file to the disk before it takes its place. Raises WriteError.
    """
    with naming(path):
        if _is_device(path) or (path.exists() and not path.is_file()):
            yield path
            return
        real = path.resolve() if path.is_symlink() else path
        sweep(real.parent)
        temporary, held = _claim(real, _make_file)
        try:
            yield temporary
            if durable:
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            temporary.replace(real)
            if durable:
                sync_folder(real.parent)
        finally:
            temporary.unlink(missing_ok=True)
            os.close(held)


def write_whole(path: Path, content: bytes | str, *, durable: bool = True) -> None:
    """Write a file whole or not at all; text in UTF-8, what has none escaped. Raises WriteError."""
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with open_whole(path, durable=durable) as file:
        file.write(data)


@contextmanager
def open_whole(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """An open file that becomes `path` when the block ends well. Raises WriteError."""
    with replaced(path, durable=durable) as temporary, temporary.open("wb") as file:
        yield file
        file.flush()


@contextmanager
def staged(target: Path, *, inside: bool = False) -> Iterator[Path]:
    """A new hidden folder beside (or `inside`) the folder `target` to write to; removed when the block ends.

    `put_in_place` gives what is in it another name. Modes follow the umask. A failed write raises
    WriteError that names the file as it would have been in `target`.
    """
    beside = target / "new" if inside else target.parent / "new"
    with naming(target):
        sweep(beside.parent)
        folder, held = _claim(beside, _make_folder)
    try:
        yield folder
    except OSError as error:
        name = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else folder
        # What has a line of its own keeps it.
        if isinstance(error, EarmarkError) and (error.filename is None or not name.is_relative_to(folder)):
            raise
        named = target / name.relative_to(folder) if name.is_relative_to(folder) else name
        raise write_error(error, named) from error
    finally:
        os.close(held)
        shutil.rmtree(folder, ignore_errors=True)


def put_in_place(folder: Path, target: Path) -> None:
    """Let the folder made by `staged` take the place and the mode of the folder `target`, in one step.

    Whatever stops this, `target` is the old one or the new one: where the system cannot exchange two names,
    the old one is moved aside first, and the next `sweep` puts it back if the new one did not come. The
    caller syncs. Raises OSError, with `target` as it was.
    """
    if not target.exists():
        folder.rename(target)
        return
    shutil.copymode(target, folder)
    if exchange(folder, target):
        shutil.rmtree(folder, ignore_errors=True)
        return
    aside, held = _claim(target, _make_folder, _ASIDE)
    try:
        target.rename(aside / target.name)
        folder.rename(target)
    finally:
        # However it was stopped: what lies aside goes back, and what cannot is left for `sweep`.
        if not target.exists():
            with suppress(OSError):
                (aside / target.name).rename(target)
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
        os.close(held)


def exchange(one: Path, other: Path) -> bool:
    """Let two names of one file system change places, in one step; False where the system cannot."""
    sys.audit("earmark.exchange", str(one), str(other))
    call = _exchanger()
    if call is None:
        return False
    if call(os.fsencode(one), os.fsencode(other)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def sweep(folder: Path) -> None:
    """Remove what writers that were killed left in `folder`; what was moved aside goes back.

    Names that a living process holds stay. Never fails: what cannot be removed stays.
    """
    try:
        left = [Path(entry.path) for entry in os.scandir(folder) if _HIDDEN_NAME.fullmatch(entry.name)]
    except OSError:
        return
    for path in left:
        with suppress(OSError):
            _remove_abandoned(path)


def _is_device(path: Path) -> bool:
    """Whether the path is of a device (`/dev/stdout`); files in shared memory are files as all others."""
    return path.is_relative_to("/dev") and not path.is_relative_to("/dev/shm")  # noqa: S108


def _make_folder(path: Path) -> int:
    path.mkdir()
    # Elsewhere folders cannot be opened, hence not be held.
    try:
        return os.open(path if os.name == "posix" else os.devnull, os.O_RDONLY)
    except FileNotFoundError as error:
        raise BlockingIOError(errno.EAGAIN, "was removed by a sweep", str(path)) from error


def _make_file(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)


def _claim(beside: Path, make: Callable[[Path], int], prefix: str = HIDDEN) -> tuple[Path, int]:
    """A new hidden name beside a path, made by `make`, with the open file that holds it.

    In the moment before it is held a sweep may take or remove it: then another one.
    """
    while True:
        # Libraries go by the ending.
        hidden = beside.with_name(f"{prefix}{os.urandom(8).hex()}{beside.suffix[:16]}")
        try:
            held = make(hidden)
        except BlockingIOError:
            continue
        try:
            _lock(held)
            mine = True
        except OSError as error:
            # No locks here: the name is nobody else's either.
            mine = not isinstance(error, BlockingIOError)
        if mine and hidden.exists():
            return hidden, held
        os.close(held)


def _lock(held: int) -> None:
    """Hold an open file for as long as it is open. Raises BlockingIOError where somebody else does."""
    if sys.platform == "win32":
        raise OSError(errno.ENOTSUP, "no locks on folders")
    import fcntl

    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_abandoned(path: Path) -> None:
    """Remove a hidden name, and put back what lies aside in it, where no living process holds it."""
    try:
        held = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        held = None
    try:
        try:
            if held is None:
                raise OSError(errno.EACCES, "cannot be opened")
            _lock(held)
        except BlockingIOError:
            return
        except OSError:
            if time.time() - path.lstat().st_mtime < _STALE_S:
                return
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            return
        if path.name.startswith(_ASIDE):
            for old in path.iterdir():
                if not (path.parent / old.name).exists():
                    old.rename(path.parent / old.name)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        if held is not None:
            os.close(held)


@cache
def _exchanger() -> Callable[[bytes, bytes], int] | None:
    """The system's call that lets two names change places; None where there is none."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            # AT_FDCWD twice, RENAME_EXCHANGE
            call = library.renameat2
            return lambda one, other: int(call(-100, one, -100, other, 2))
        if sys.platform == "darwin":
            # RENAME_SWAP
            swap = library.renamex_np
            return lambda one, other: int(swap(one, other, 2))
    return None
