"""From logits to scores, and from the scores of windows to those of a sound."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from .arrays import FloatArray


def scores_of(logits: FloatArray, task: str) -> FloatArray:
    """Probabilities [..., K]: softmax where one label holds, sigmoid where several may."""
    wide = logits.astype(np.float64)
    if task == "multi_label":
        return (0.5 * (1.0 + np.tanh(0.5 * wide))).astype(np.float32)
    shifted = np.exp(wide - wide.max(axis=-1, keepdims=True))
    scores: FloatArray = (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)
    return scores


class Aggregate:
    """Scores of a sound from those of its windows, by mean or maximum; memory does not grow."""

    def __init__(self, how: Literal["mean", "max"]) -> None:
        self._how = how
        self._total: np.ndarray | None = None
        self._count = 0

    def add(self, scores: Iterable[FloatArray]) -> None:
        """See the scores [K] of further windows."""
        for one in scores:
            value = one.astype(np.float64)
            if self._total is None:
                self._total = value
            else:
                self._total = self._total + value if self._how == "mean" else np.maximum(self._total, value)
            self._count += 1

    def value(self) -> FloatArray:
        """Scores [K] of the sound so far. Raises ValueError before the first window."""
        if self._total is None:
            raise ValueError("no window has been heard")
        mean = self._total / self._count if self._how == "mean" else self._total
        return np.asarray(mean, np.float32)
