"""What the parts of a result have in common: equality by value, and a short form in print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

# Of a string, characters; of a tuple, items that are printed.
_SHOWN_CHARACTERS = 60
_SHOWN_ITEMS = 3


class ResultRecord:
    """Base of a result's dataclasses, which are declared with `eq=False, repr=False`.

    Two records are equal when they are of one type and the fields that count (`compare=True`) have equal
    values, arrays element by element (NaN equals NaN). The hash is that of the fields that are texts and
    whole numbers, so that records may stand in sets and be keys. Printing shows
    types and shapes of arrays, not their values, and of records within the record their names.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(
            _same(getattr(self, one.name), getattr(other, one.name))
            for one in fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
            if one.compare
        )

    def __hash__(self) -> int:
        """Equal records have equal hashes; of arrays and numbers that may be NaN nothing goes in."""
        values = (
            getattr(self, one.name)
            for one in fields(self)  # type: ignore[arg-type]
            if one.compare
        )
        return hash((type(self), *(value for value in values if isinstance(value, (str, int)))))

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{one.name}={_short(getattr(self, one.name))}"
            for one in fields(self)  # type: ignore[arg-type]
            if one.repr
        )
        return f"{type(self).__name__}({shown})"


def _same(one: Any, other: Any) -> bool:
    """Whether two values of a record are equal, whatever they hold."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        left, right = np.asarray(one), np.asarray(other)
        numbers = left.dtype.kind in "fc" and right.dtype.kind in "fc"
        return np.array_equal(left, right, equal_nan=numbers)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (one != one and other != other)  # noqa: PLR0124 (NaN)
    return bool(one == other)


def _short(value: Any) -> str:
    """A value of a record on a part of a line."""
    if isinstance(value, np.ndarray):
        return f"<{value.dtype} {list(value.shape)}>"
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN_CHARACTERS else value[: _SHOWN_CHARACTERS - 3] + "...")
    if isinstance(value, Mapping):
        # Values may be made when they are looked at.
        return "{" + _listed([str(key) for key in value]) + "}"
    if isinstance(value, (list, tuple)):
        return "(" + _listed([_short(one) for one in value[:_SHOWN_ITEMS]], len(value)) + ")"
    if isinstance(value, ResultRecord):
        return f"{type(value).__name__}(...)"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def _listed(items: list[str], count: int | None = None) -> str:
    total = len(items) if count is None else count
    rest = [f"... {total} in all"] if total > _SHOWN_ITEMS else []
    return ", ".join([*items[:_SHOWN_ITEMS], *rest])
