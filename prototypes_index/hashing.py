"""The hash by which files of a bundle are known."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, read in bounded memory.

    Returns:
        64 hexadecimal digits, lower case.

    Raises:
        OSError: The file cannot be read.

    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
