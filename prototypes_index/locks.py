"""One writer at a time, on every file system: the wait is bounded, and no lock outlives its process.

The lock is flock on a file, which the system releases when its process ends, however it ends. A file
system without flock gets a second file, `<lock>.owner`, which names machine and process: where that
process is gone the lock is taken over, and where nobody can know, the error says which file to delete.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from ..errors import BusyError

# The file system has no such thing.
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_PAUSE_S = 0.05
# An owner's file without a readable owner is being written, or its writer was killed meanwhile.
_UNFINISHED_S = 10.0

Release = Callable[[], None]


class LockOwner(msgspec.Struct, frozen=True, kw_only=True):
    """What tells the process that holds a lock from all others.

    Attributes:
        machine: Its name.
        pid: Of the process.
        boot: Of the machine's current run; "" where unknown.
        started: When the process was started, by the system's clock; "" where unknown.
        token: Of this one hold.

    """

    machine: str
    pid: int
    boot: str = ""
    started: str = ""
    token: str = ""


@contextmanager
def locked(path: Path, *, timeout: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path`, which is made where it is not there and stays. Raises OSError.

    Raises BusyError, which names what is in the way and the cure, where another process holds it for longer
    than `timeout` seconds or the file system gives no locks.
    """
    deadline = time.monotonic() + timeout
    while True:
        release, reason = _try(path)
        if release is not None:
            break
        if time.monotonic() >= deadline:
            raise BusyError(f"{path.parent}: {reason}")
        time.sleep(_PAUSE_S)
    try:
        yield
    finally:
        release()


def _try(path: Path) -> tuple[Release | None, str]:
    """Take the lock once: how to let go of it, or why it cannot be had."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(handle)
        with suppress(FileNotFoundError):
            # The folder may have been replaced since the file was opened.
            if os.path.samestat(os.fstat(handle), path.stat()):
                return lambda: os.close(handle), ""
        reason = "was replaced by another process"
    except (BlockingIOError, PermissionError):
        reason = "another process is writing to it; try again when it has finished"
    except OSError as error:
        if error.errno in _NO_LOCKS:
            os.close(handle)
            return _try_owner(path.with_name(f"{path.name}.owner"))
        os.close(handle)
        raise BusyError(
            f"{path}: the file system gives no lock ({error.strerror or error}); start its lock service "
            "(NFS: rpc.statd and lockd, or mount it with local_lock=flock), or work on a copy on a local disk"
        ) from error
    os.close(handle)
    return None, reason


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _try_owner(path: Path) -> tuple[Release | None, str]:
    """The same by a file that names its owner."""
    mine = msgspec.structs.replace(_here(), token=os.urandom(8).hex())
    try:
        with path.open("xb") as file:
            file.write(msgspec.json.encode(mine))
    except FileExistsError:
        owner = _owner(path)
        if not _gone(path, owner):
            who = f"process {owner.pid} on {owner.machine}" if owner else "another process"
            return None, (
                f"{who} is writing to it; try again when it has finished. If none is, it was stopped there: "
                f"delete {path}"
            )
        # Renamed, so that of several that find it stale one alone goes on.
        aside = path.with_name(f"{path.name}.{mine.token}")
        freed = False
        with suppress(OSError):
            path.rename(aside)
            freed = _owner(aside) == owner
            if freed:
                aside.unlink()
            else:
                aside.rename(path)
        if freed:
            return _try_owner(path)
        return None, "another process is writing to it; try again when it has finished"

    def release() -> None:
        if _owner(path) == mine:
            path.unlink(missing_ok=True)

    return release, ""


def _owner(path: Path) -> LockOwner | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=LockOwner)
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError):
        return None


def _gone(path: Path, owner: LockOwner | None) -> bool:
    """Whether the owner's process has certainly ended."""
    if owner is None:
        with suppress(OSError):
            return time.time() - path.stat().st_mtime > _UNFINISHED_S
        return False
    here = _here()
    if owner.machine != here.machine:
        return False
    # A number is given anew after a restart, and after a while.
    same = owner.boot == here.boot and owner.started == _started(owner.pid)
    return not (same and _alive(owner.pid))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _here() -> LockOwner:
    """What tells this process from all others."""
    boot = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    pid = os.getpid()
    return LockOwner(machine=platform.node(), boot=boot, pid=pid, started=_started(pid))


def _started(pid: int) -> str:
    """When a process was started, by the system's own clock; empty where that cannot be known."""
    with suppress(OSError, IndexError):
        # After the name, which may hold anything, in brackets.
        return (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()[19]
        )
    return ""
