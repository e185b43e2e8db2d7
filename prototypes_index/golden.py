"""`golden.json`: what some entries of a generation are, written with it: swapped rows and tables show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from .. import limits
from ..errors import PrototypeIndexError
from ..forks import fork_waits
from .generation import Generation
from .table import REBUILD, read_small
from .views import View

GOLDEN = "golden.json"
_ENTRIES = 12
# Of a cosine: an index of lists keeps vectors in 16 bits.
_TOLERANCE = 2e-3
_DIGITS = 6


class GoldenEntry(msgspec.Struct, frozen=True):
    """An entry: its vector, and the place that it stands for."""

    row: Annotated[int, msgspec.Meta(ge=0)]
    vector: list[float]
    clip: str
    label: str
    start_s: float
    end_s: float


def golden_entries(generation: Generation) -> bytes:
    """The document for a generation that has just been written: entries from all of each view."""
    return msgspec.json.encode({view: _entries(generation, view) for view in generation.views})


def _entries(generation: Generation, view: View) -> list[GoldenEntry]:
    rows = np.flatnonzero(generation.alive[generation.clips_of_entries(view)])
    rows = np.unique(rows[np.linspace(0, len(rows) - 1, _ENTRIES).astype(np.int64)]) if len(rows) else rows
    vectors = generation.index(view).vectors_at(rows.astype(np.int64))
    return [
        GoldenEntry(row, [round(one, _DIGITS) for one in vector], *_place(generation, view, row))
        for row, vector in zip(rows.tolist(), vectors.astype(np.float64).tolist(), strict=True)
    ]


def _place(generation: Generation, view: View, row: int) -> tuple[str, str, float, float]:
    """Clip and label of an entry, and when it is."""
    entry = generation.entry(view, row)
    start, end = round(float(entry.start_s), _DIGITS), round(float(entry.end_s), _DIGITS)
    return generation.clip(entry.clip).id, generation.info.labels[entry.label], start, end


def check_golden(generation: Generation, path: Path) -> None:
    """Raise PrototypeIndexError where an entry is not what it was when the generation was written."""
    try:
        golden = msgspec.json.decode(read_small(path, limits.INFO_BYTES), type=dict[View, list[GoldenEntry]])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PrototypeIndexError(f"{path}: damaged ({error}); {REBUILD}") from error
    if set(golden) != set(generation.views):
        raise PrototypeIndexError(f"{path}: of other views than the generation; {REBUILD}")
    for view, entries in golden.items():
        info = generation.info.views[view]
        rows = np.array([one.row for one in entries], np.int64)
        fits = len(rows) > 0 and rows.max(initial=0) < info.entries
        if not fits or any(len(one.vector) != info.dimension for one in entries):
            raise PrototypeIndexError(f"{path}: does not fit the {view} view; {REBUILD}")
        written = np.array([one.vector for one in entries], np.float32)
        stored = generation.index(view).vectors_at(rows)
        for one, vector, now in zip(entries, written, stored, strict=True):
            same = _place(generation, view, one.row) == (one.clip, one.label, one.start_s, one.end_s)
            if not same or not _is_vector(vector, now) or not _is_nearest(generation, view, vector):
                raise PrototypeIndexError(
                    f"{generation.folder / view}: entry {one.row} is not what it was when the prototypes "
                    f"were written; {REBUILD}"
                )


def _is_vector(written: npt.NDArray[np.float32], stored: npt.NDArray[np.float32]) -> bool:
    """Whether the stored vector is the one that was written, of length 1 or below.

    |a - b|^2 = 2 - 2 cos for vectors of length 1; those of zeros and of a length below 1 have no cosine.
    """
    return float(np.square(written - stored).sum()) <= 2.0 * _TOLERANCE


@fork_waits
def _is_nearest(generation: Generation, view: View, vector: npt.NDArray[np.float32]) -> bool:
    """Whether a search for the vector finds it, or one that is as near."""
    length = float(np.linalg.norm(vector))
    matches = generation.search(view, vector[None], 1)
    return length <= _TOLERANCE or any(match.cosine >= length - _TOLERANCE for match in matches)
