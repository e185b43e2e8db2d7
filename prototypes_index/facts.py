"""Facts in JSON that have no type of their own: reports and figures, which are shown and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from .. import limits


class SchemaVersion(msgspec.Struct):
    """Enough of a document to know whether the rest of it can be understood."""

    schema_version: int


def check_facts(facts: Mapping[str, Any]) -> None:
    """Raise ValueError where facts nest deeper than can be shown, or hold a number that is not finite."""
    level: list[Any] = [facts]
    for _ in range(limits.FACTS_DEPTH):
        values = [value for one in level for value in (one.values() if isinstance(one, Mapping) else one)]
        if any(isinstance(value, float) and not math.isfinite(value) for value in values):
            raise ValueError("a number is not finite")
        level = [value for value in values if isinstance(value, (Mapping, list))]
        if not level:
            return
    raise ValueError(f"facts nest deeper than {limits.FACTS_DEPTH}")
