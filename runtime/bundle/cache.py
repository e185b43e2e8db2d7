"""The folder on this machine for what may be forgotten: hashes seen, engines built."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """XDG_CACHE_HOME/earmark, else ~/.cache/earmark; it may not exist."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    # The specification ignores relative paths.
    return (Path(named) if named.startswith("/") else Path.home() / ".cache") / "earmark"
