"""Segments as `Result.save` keeps them, and as `Result.load` reads them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from ...values.arrays import Array
from .result import COLUMNS, SegmentPair, SegmentsResult
from .settings import Prior

_COLUMNS = (*COLUMNS, "windows")


class StoredSegments(msgspec.Struct, frozen=True):
    """What of a `SegmentsResult` is no array, by its names."""

    r2: float
    score: float
    calls: int
    seconds: float
    scoring_seconds: float
    surrogate: str
    fill: str
    axis: str
    seed: int
    unit: str
    signed: bool
    warnings: tuple[str, ...]
    # Not in files of earlier versions.
    prior: Prior = "flat"
    pairs: tuple[SegmentPair, ...] = ()


def store(part: SegmentsResult, arrays: dict[str, Array]) -> StoredSegments:
    """Values and columns of the segments."""
    arrays |= {name: getattr(part, name) for name in _COLUMNS}
    return StoredSegments(**{name: getattr(part, name) for name in StoredSegments.__struct_fields__})


def restore(stored: object, arrays: Mapping[str, Array]) -> SegmentsResult:
    """The segments again. Raises KeyError, ValueError, msgspec.ValidationError."""
    known: dict[str, Any] = msgspec.structs.asdict(msgspec.convert(stored, StoredSegments))
    columns = {name: np.asarray(arrays[name], np.float64) for name in _COLUMNS}
    if len({one.shape for one in columns.values()}) != 1 or columns["start_s"].ndim != 1:
        raise ValueError("the columns of the segments differ in length")
    return SegmentsResult(**{**known, **columns})
