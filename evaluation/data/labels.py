"""`labels.csv`: the labels of clips that may have several, or none.

Columns clip, labels (others are ignored): the path inside the data folder, and its labels joined by `;`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import DataError
from ...printable import printable
from ...prototypes_index.durability import naming

LABEL_TABLE = "labels.csv"
COLUMNS = ("clip", "labels")
_JOIN = ";"
# Characters of a cell that a message repeats.
_SHOWN = 120


def read_labels(folder: Path) -> dict[str, tuple[str, ...]]:
    """The labels of every clip in the table of `folder`, each label once, in the order written.

    Raises DataError, with the line: a missing column, a clip that is not there, lies outside of the folder
    or is named twice, no clip at all, no label at all.
    """
    path = folder / LABEL_TABLE
    table: dict[str, tuple[str, ...]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or [])]
            if missing:
                raise DataError(
                    f"{path}: no column {missing[0]!r}; its columns are to be {', '.join(COLUMNS)}"
                )
            for row in rows:
                name = (row["clip"] or "").strip()
                _check_clip(folder, name, f"{path}, line {rows.line_num}")
                if name in table:
                    raise DataError(f"{path}, line {rows.line_num}: {_shown(name)} is in the table already")
                cell = [label.strip() for label in (row["labels"] or "").split(_JOIN)]
                table[name] = tuple(dict.fromkeys(label for label in cell if label))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file ({error})") from error
    if not any(table.values()):
        raise DataError(f"{path}: names no clip with a label")
    return table


def write_labels(folder: Path, table: Mapping[str, Sequence[str]]) -> None:
    """Write the table of `folder`: path inside it -> labels. Raises ValueError for a label with a `;`."""
    with naming(folder / LABEL_TABLE), (folder / LABEL_TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, labels in table.items():
            if any(_JOIN in label for label in labels):
                raise ValueError(f"{name}: a label holds {_JOIN!r}: {labels}")
            writer.writerow((name, _JOIN.join(labels)))


def _check_clip(folder: Path, name: str, where: str) -> None:
    """Raise DataError for a clip that is no file inside `folder`."""
    path = Path(name)
    if not name or path.is_absolute() or ".." in path.parts:
        raise DataError(f"{where}: '{_shown(name)}' is no path inside {folder}")
    try:
        there = (folder / path).is_file()
    except OSError:  # a name that no file can have
        there = False
    if not there:
        raise DataError(f"{where}: {_shown(name)} is not there in {folder}")


def _shown(name: str) -> str:
    """A cell in a message, at a length that can be read."""
    return printable(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}...")
