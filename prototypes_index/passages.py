"""What the passage around a place is: how long it lasts, and how often the like begins beside it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .table import Table
from .views import View

# Both are of the sound alone, whatever model is asked (`runtime.methods.prototypes.passages`).
PASSAGE = np.dtype([("length_s", "<f4"), ("onsets_per_s", "<f4")])
# Views whose places are passages. What time_frequency matches is a place in both, the passage among the rest.
PASSAGE_VIEWS: frozenset[View] = frozenset({"time"})
# Of two lengths, and of two rates, the larger is at most twice the smaller. Both are multiples of a frame, so
# that twice is common: rounding must not decide.
_MOST = 2.001
# Beyond these all count as equal: a click, what lasts on; what begins once, or quicker than can be counted.
_LENGTHS_S, _RATES_PER_S = (0.1, 2.0), (1.0, 10.0)


def like_passages(asked: Table, passages: Table) -> npt.NDArray[np.bool_]:
    """Which passages, PASSAGE records [q, n] or [n], are like those asked for [q]: [q, n].

    True where the lengths differ by a factor of 2 at most, and the onsets per second likewise.
    """
    near = np.ones((len(asked), passages.shape[-1]), np.bool_)
    for name, limits in (("length_s", _LENGTHS_S), ("onsets_per_s", _RATES_PER_S)):
        own, other = np.clip(asked[name], *limits)[:, None], np.clip(passages[name], *limits)
        near &= (other <= own * _MOST) & (own <= other * _MOST)
    return near
