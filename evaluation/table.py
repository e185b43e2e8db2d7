"""A table of figures: aligned text for people, Markdown for pages, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..printable import printable
from .document import json_ready
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
        estimate = _shown(cell.estimate, decimals, False)
        if not intervals or np.isnan(cell.low):
            return estimate
        return f"{estimate} [{cell.low:z.{decimals}f}, {cell.high:z.{decimals}f}]"
    if isinstance(cell, (int, np.integer)):
        return str(cell)
    return _NOTHING if np.isnan(cell) else f"{cell:z.{decimals}f}"
