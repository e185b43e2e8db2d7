"""Averaging the scores of windows over their neighbours, before thresholds are asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..values.arrays import FloatArray

# Sums of seconds are no exact numbers.
ROUNDING_S = 1e-9


class PlacedScores(NamedTuple):
    """A window's number, its place in seconds, and its scores [K]."""

    number: int
    start_s: float
    end_s: float
    scores: FloatArray

    @property
    def middle_s(self) -> float:
        """The middle of the window."""
        return 0.5 * (self.start_s + self.end_s)


class Smoother:
    """Gives each window with the mean of the scores of the windows whose middles lie near its own.

    Near is half of `seconds` at the most; 0: only the window itself. A window is given with the first one
    that lies too far behind it to count, so memory does not grow. At the ends of a recording the mean is over
    those that there are.
    """

    def __init__(self, seconds: float) -> None:
        self._reach_s = 0.5 * seconds + ROUNDING_S
        self._off = seconds == 0
        # Windows that may still count, the first `_given` of which have been given.
        self._near: deque[PlacedScores] = deque()
        self._given = 0

    def add(self, window: PlacedScores) -> Iterator[PlacedScores]:
        """See one more window; gives those whose neighbours are all known."""
        if self._off:
            yield window
            return
        self._near.append(window)
        while window.middle_s - self._near[self._given].middle_s > self._reach_s:
            yield self._next()

    def finish(self) -> Iterator[PlacedScores]:
        """The sound ends: gives the windows that are left."""
        while self._given < len(self._near):
            yield self._next()
        self._near.clear()
        self._given = 0

    def _next(self) -> PlacedScores:
        """The first window that was not given, with its mean scores."""
        window = self._near[self._given]
        while window.middle_s - self._near[0].middle_s > self._reach_s:
            self._near.popleft()
            self._given -= 1
        near = [one.scores for one in self._near if one.middle_s - window.middle_s <= self._reach_s]
        self._given += 1
        scores = np.asarray(np.mean(near, axis=0, dtype=np.float64), np.float32)
        return window._replace(scores=scores)
