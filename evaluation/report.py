"""Reports: tables of figures as text, Markdown, CSV and JSON; records as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import msgspec
import numpy as np

from ..printable import printable
from .statistics import Interval

Cell = str | float | int | Interval | None

_ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}
_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the key of its cells, its title, digits after the point, and which direction is better."""

    key: str
    title: str
    decimals: int = 2
    better: Literal["higher", "lower"] | None = None

    @property
    def header(self) -> str:
        """The title with an arrow in the better direction."""
        return self.title + _ARROWS[self.better]


@dataclass(frozen=True)
class Table:
    """Rows of cells by column key; a key that a row lacks is an empty cell.

    A cell is text, a number, an `Interval` or None; NaN prints as nothing.
    """

    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Cell]]

    def text(self, *, intervals: bool = False) -> str:
        """Aligned lines: text to the left, numbers to the right; `intervals` adds [low, high]."""
        header = [column.header for column in self.columns]
        body = [[_shown(row.get(c.key), c.decimals, intervals) for c in self.columns] for row in self.rows]
        words = [any(isinstance(row.get(c.key), str) for row in self.rows) for c in self.columns]
        widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if left else cell.rjust(width)
                for cell, width, left in zip(line, widths, words, strict=True)
            ).rstrip()
            for line in [header, *body]
        ]
        return "\n".join(lines)

    def markdown(self, *, intervals: bool = False) -> str:
        """The table as a page of docs holds it: each value under its own title."""
        titles = [column.title for column in self.columns]
        body = [[_shown(row.get(c.key), c.decimals, intervals) for c in self.columns] for row in self.rows]
        cells = [[cell.replace("|", r"\|") for cell in line] for line in (titles, *body)]
        cells.insert(1, ["---"] * len(titles))
        return "\n".join(f"| {' | '.join(line)} |" for line in cells)

    def csv(self) -> str:
        """The cells by key, a line a row; of intervals also key_low and key_high. NaN and None are empty."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        spread = {c.key for c in self.columns for row in self.rows if isinstance(row.get(c.key), Interval)}
        names = [name for c in self.columns for name in _names(c.key, c.key in spread)]
        writer.writerow(names)
        for row in self.rows:
            flat: dict[str, object] = {}
            for key, cell in row.items():
                values = (cell.estimate, cell.low, cell.high) if isinstance(cell, Interval) else (cell,)
                flat |= zip(_names(key, len(values) == 3), map(json_ready, values), strict=True)
            writer.writerow(["" if flat.get(name) is None else flat[name] for name in names])
        return out.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: columns with their direction, rows by key; intervals as objects, null for NaN."""
        return {
            "columns": [{"key": c.key, "title": c.title, "better": c.better} for c in self.columns],
            "rows": [{c.key: json_ready(row.get(c.key)) for c in self.columns} for row in self.rows],
        }


def _names(key: str, spread: bool) -> tuple[str, ...]:
    """Columns of a key in CSV."""
    return (key, f"{key}_low", f"{key}_high") if spread else (key,)


def _shown(cell: Cell, decimals: int, intervals: bool) -> str:
    """One cell as text."""
    if cell is None:
        return _NOTHING
    if isinstance(cell, str):
        return printable(cell)
    if isinstance(cell, Interval):
        known = intervals and not np.isnan(cell.low)
        return f"{cell:z.{decimals}f}" if known else _shown(cell.estimate, decimals, False)
    if isinstance(cell, (int, np.integer)):
        return str(cell)
    return _NOTHING if np.isnan(cell) else f"{cell:z.{decimals}f}"


Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True)
class Report(Generic[Record]):
    """What the report of every evaluation holds, beside its own tables.

    Attributes:
        data: The folder.
        bundle: Name of the bundle.
        bundle_id: Its hash.
        skipped: (sound, why) of what could not be judged.
        records: One for each judgement.

    """

    data: str
    bundle: str
    bundle_id: str
    skipped: Sequence[tuple[str, str]]
    records: Sequence[Record] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the records."""
        return fields_of(self, without="records")


def json_ready(value: object) -> Any:
    """Turn a report or a record into what `json` writes.

    Args:
        value: A dataclass (its `to_dict`, where it has one), struct, named tuple, mapping, sequence, path,
            number, text or None.

    Returns:
        Dicts, lists, numbers and text; None in the place of NaN.

    Raises:
        TypeError: There is something else in it.

    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float | np.number):
        number = float(value)
        return number if np.isfinite(number) else None
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value):
        return value.to_dict() if hasattr(value, "to_dict") else fields_of(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    elif isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, Mapping):
        return {name: json_ready(one) for name, one in value.items()}
    if isinstance(value, Sequence):
        return [json_ready(one) for one in value]
    raise TypeError(f"{type(value).__name__} has no place in a JSON document")


def fields_of(value: Any, *, without: str = "") -> dict[str, Any]:
    """The fields of a dataclass, JSON-ready, but for the field `without`."""
    return {one.name: json_ready(getattr(value, one.name)) for one in fields(value) if one.name != without}
