"""Files that commands write beside their answer: whole or not at all, and named where they cannot be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..prototypes_index.atomic import open_whole
from ..prototypes_index.durability import naming


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one line of JSON a record. Raises WriteError that names `path`."""
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with open_whole(path) as file:
        for record in records:
            line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
            file.write(line.encode(errors="backslashreplace"))
