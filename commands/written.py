"""Files that commands write beside their answer: whole or not at all, and named where they cannot be."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ..prototypes_index.atomic import open_whole
from ..prototypes_index.durability import naming
from .console import tell


def make_folder_of(path: Path) -> None:
    """Make the folder that a file is to lie in, and say so. Raises WriteError that names `path`."""
    if path.parent.is_dir():
        return
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    tell(f"made the folder {path.parent}")


def write_lines(path: Path, records: Iterable[object]) -> None:
    """Write records (dataclasses), a line of JSON each. Raises WriteError that names `path`."""
    from ..evaluation.document import json_ready

    make_folder_of(path)
    with open_whole(path) as file:
        for record in records:
            line = json.dumps(json_ready(record), ensure_ascii=False, allow_nan=False) + "\n"
            file.write(line.encode(errors="backslashreplace"))


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8. Raises WriteError that names `path`."""
    make_folder_of(path)
    with open_whole(path) as file:
        file.write(text.encode(errors="backslashreplace"))
