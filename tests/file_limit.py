"""What a system refuses: a full disk, by a limit on the size of files; folders that cannot be listed."""

import os
import resource
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def limited(size):
    """Within, no file of this process and of those it starts grows past `size` bytes: a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def lock(monkeypatch):
    """Folders named "locked" cannot be listed. By substitution: nothing stops root, as whom tests run too."""
    scandir = os.scandir

    def refusing(path="."):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)
