"""From logits to scores, and from the scores of windows to those of a sound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..bundle.manifest import Aggregation
from ..values.arrays import FloatArray

# Sharpness of log-mean-exp: 0 is the mean, infinity the maximum.
SHARPNESS = 5.0


def scores_of(logits: FloatArray, task: str) -> FloatArray:
    """Probabilities [..., K]: softmax where one label holds, sigmoid where several may.

    Of a regression the values themselves.
    """
    if task == "regression":
        return logits.astype(np.float32)
    wide = logits.astype(np.float64)
    if task == "multi_label":
        return (0.5 * (1.0 + np.tanh(0.5 * wide))).astype(np.float32)
    shifted = np.exp(wide - wide.max(axis=-1, keepdims=True))
    scores: FloatArray = (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)
    return scores


# A label holds from this score on: where several may, or as the one that does.
HOLDS = 0.5


class Aggregate:
    """Scores of a sound from the scores p of its W windows; memory does not grow.

    mean: sum(p) / W; max: max(p); lme: log(sum(exp(a p)) / W) / a with a = SHARPNESS, which lies between
    them, and within 0..1.
    """

    def __init__(self, how: Aggregation) -> None:
        self._how = how
        self._total: np.ndarray | None = None
        self._count = 0

    def add(self, scores: Iterable[FloatArray]) -> None:
        """See the scores [K] of further windows."""
        for one in scores:
            value = one.astype(np.float64)
            if self._how == "lme":
                value = np.exp(SHARPNESS * value)
            if self._total is None:
                self._total = value
            elif self._how == "max":
                self._total = np.maximum(self._total, value)
            else:
                self._total = self._total + value
            self._count += 1

    def value(self) -> FloatArray:
        """Scores [K] of the sound so far. Raises ValueError before the first window."""
        if self._total is None:
            raise ValueError("no window was added")
        total = self._total if self._how == "max" else self._total / self._count
        return np.asarray(np.log(total) / SHARPNESS if self._how == "lme" else total, np.float32)


class Clearest:
    """Of each label the window in which it is clearest; memory does not grow."""

    def __init__(self) -> None:
        self._scores: FloatArray = np.zeros(0, np.float32)
        self._at: np.ndarray = np.zeros((0, 2), np.int64)
        self._windows = 0

    def add(self, scores: FloatArray, offset: int, length: int) -> None:
        """See the scores [K] of the next window, `length` samples from `offset` on."""
        if self._windows == 0:
            self._scores, self._at = np.full_like(scores, -np.inf), np.zeros((len(scores), 2), np.int64)
        ahead = scores > self._scores
        self._scores = np.maximum(scores, self._scores)
        self._at[ahead] = offset, offset + length
        self._windows += 1

    def warnings(self, joined: FloatArray, labels: Sequence[str], rate: int, how: Aggregation) -> list[str]:
        """A warning where labels hold in a window, but in no joined score [K]: a mean drowns a short call.

        labels: all K; rate: of the offsets, in Hz; how: the scores were joined
        """
        lost = np.flatnonzero((self._scores >= HOLDS) & (joined < HOLDS))
        if self._windows < 2 or not len(lost):
            return []
        first = int(lost[self._scores[lost].argmax()])
        start, end = self._at[first] / rate
        others = f" (and other labels in theirs: {len(lost) - 1})" if len(lost) > 1 else ""
        return [
            f"{labels[first]!r} has {self._scores[first]:.1%} in the window {start:.2f}-{end:.2f} s{others}, "
            f"but {joined[first]:.1%} as {how} over {self._windows} windows: for the clearest window "
            'to count, explain with --aggregate max (in Python aggregate="max"), or export the bundle so'
        ]
