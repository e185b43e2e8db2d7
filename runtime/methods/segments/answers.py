"""What a model answers to changed sounds: which differences count, and how often it was asked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...values.arrays import FloatArray, Values
from .settings import Progress

# Sounds [B, N] -> the target's log-odds [B].
LogOdds = Callable[[FloatArray], Values]


@dataclass(frozen=True)
class Answers:
    """What a model answers, and what of it counts.

    Attributes:
        limit: Answers beyond it are all alike.
        smallest: Answers that differ by less than this, times their largest value where `relative`, are
            rounding.
        relative: See `smallest`.

    """

    limit: float
    smallest: float = 1e-6
    relative: bool = False

    def constant(self, values: Values) -> bool:
        """Whether answers [n] are all the same."""
        size = float(np.abs(values).max(initial=0.0)) if self.relative else 1.0
        return float(np.ptp(values)) <= self.smallest * size


# Probabilities nearer than 1e-6 to 0 or 1 are all alike.
LOG_ODDS = Answers(limit=13.8)
# Values of a regression, in any unit.
VALUES = Answers(limit=math.inf, relative=True)


class CountedModel:
    """A model that counts what it is asked."""

    def __init__(
        self, log_odds: LogOdds, budget: int, progress: Progress | None, answers: Answers = LOG_ODDS
    ) -> None:
        self._log_odds, self._budget, self._progress, self.answers = log_odds, budget, progress, answers
        self.calls, self.seconds = 0, 0.0

    def __call__(self, sounds: FloatArray) -> Values:
        """Log-odds [B], clipped, of sounds [B, N]."""
        start = time.perf_counter()
        answers = self._log_odds(sounds)
        self.seconds += time.perf_counter() - start
        self.calls += len(sounds)
        if self._progress is not None:
            self._progress(self.calls, self._budget)
        return np.clip(answers, -self.answers.limit, self.answers.limit)
