"""A full disk, for tests: a limit on the size of files, which needs no rights and strikes at any file."""

from __future__ import annotations

import resource
from contextlib import contextmanager


@contextmanager
def limited(size):
    """Within, no file of this process and of those it starts grows past `size` bytes: a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
