"""Joins what overlapping windows say: a cross-fade in one pass, with a buffer of one window."""

from __future__ import annotations

import numpy as np

from ..values.arrays import FloatArray


class OverlapAdd:
    """Weighted overlap-add along the last axis: sum(w x) / sum(w), w a triangle that is never zero.

    Windows come in the order of their offsets; whatever no later window can reach is given back.
    """

    def __init__(self, leading: tuple[int, ...]) -> None:
        self._leading = leading
        self._start = 0
        self._values = np.zeros((*leading, 0), np.float32)
        self._weights = np.zeros(0, np.float32)

    def add(self, offset: int, block: FloatArray) -> FloatArray:
        """See `block` [..., n] at `offset`; returns what is finished before `offset`, [..., m]."""
        done = self._take(offset - self._start)
        length = block.shape[-1]
        missing = length - self._values.shape[-1]
        if missing > 0:
            self._values = np.concatenate([self._values, np.zeros((*self._leading, missing), np.float32)], -1)
            self._weights = np.concatenate([self._weights, np.zeros(missing, np.float32)])
        ramp = np.arange(1, length + 1, dtype=np.float32)
        weight = np.minimum(ramp, ramp[::-1])
        self._values[..., :length] += weight * block
        self._weights[:length] += weight
        return done

    def finish(self) -> FloatArray:
        """What is left, [..., m]."""
        return self._take(self._values.shape[-1])

    def _take(self, count: int) -> FloatArray:
        """The first `count` samples; where windows left a gap, zeros."""
        values, weights = self._values[..., :count], self._weights[:count]
        done = np.where(weights > 0, values / np.maximum(weights, 1e-30), 0.0).astype(np.float32)
        if done.shape[-1] < count:
            done = np.concatenate([done, np.zeros((*self._leading, count - done.shape[-1]), np.float32)], -1)
        self._values, self._weights = self._values[..., count:], self._weights[count:]
        self._start += count
        return done
