"""Reports and records as JSON documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

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
