"""Which bands of a feature map are alike, so that a low hum is not "nearest" to a hiss."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ....prototypes_index.views import View
from ...values.mel import mel_of

# Of the narrower band, in mel, that must lie in the other.
SHARED = 0.5
# Views whose matches lie in a like band. A passage (time, time_frequency) is one of all bands.
_BANDED: frozenset[View] = frozenset({"square", "frequency"})


def like_rows(
    view: View, rows: Sequence[int], bands_hz: Sequence[tuple[float, float]]
) -> npt.NDArray[np.bool_] | None:
    """[q, F] which rows of the feature map the matches of each place [q] may lie in; None: any.

    rows: in which each place lies; bands_hz: [low, high] of every row
    """
    if view not in _BANDED:
        return None
    return _like_each(tuple(map(tuple, bands_hz)))[rows]


@lru_cache(maxsize=16)
def _like_each(bands_hz: tuple[tuple[float, ...], ...]) -> npt.NDArray[np.bool_]:
    """[F, F] of every row, which rows lie in a band like its own."""
    return np.stack([alike(low, high, bands_hz) for low, high in bands_hz])


def alike(low_hz: float, high_hz: float, bands_hz: Sequence[tuple[float, ...]]) -> npt.NDArray[np.bool_]:
    """Which rows [F] of a feature map lie in a band like this one, by the bands [low, high] of every row.

    True where the two bands share at least half of the narrower one, on the mel scale.
    """
    rows = mel_of(np.asarray(bands_hz, np.float64).reshape(-1, 2))
    low, high = mel_of([low_hz, high_hz])
    shared = np.minimum(rows[:, 1], high) - np.maximum(rows[:, 0], low)
    narrower = np.minimum(rows[:, 1] - rows[:, 0], high - low)
    result: npt.NDArray[np.bool_] = shared >= SHARED * narrower - 1e-6
    return result
