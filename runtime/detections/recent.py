"""The last seconds of a sound at its own rate, from which the stretch of a detection is cut."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from ..values.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a sound.

    samples: [channels, n] at the input's rate; rate: that, in Hz
    start_s, end_s: where it lies, seconds from the sound's begin
    state: what a recurrent classifier began its first window with, [1, S]; None where windows have no state
    """

    samples: FloatArray
    rate: int
    start_s: float
    end_s: float
    state: FloatArray | None = None


class RecentSound:
    """Holds the last `most` samples per channel that were pushed, block by block."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._blocks: deque[FloatArray] = deque()
        self._start = 0
        self.count = 0

    def push(self, block: FloatArray) -> None:
        """The next block [channels, n], which nobody writes to any more."""
        self._blocks.append(block)
        self.count += block.shape[1]
        while self._blocks and self._start + self._blocks[0].shape[1] <= self.count - self._most:
            self._start += self._blocks.popleft().shape[1]

    def cut(self, start: int, end: int) -> FloatArray:
        """Samples `start` to `end` of the sound, [channels, n], a copy; they have not been dropped yet."""
        parts = []
        at = self._start
        for block in self._blocks:
            low, high = max(start - at, 0), min(end - at, block.shape[1])
            if low < high:
                parts.append(block[:, low:high])
            at += block.shape[1]
        return np.concatenate(parts, axis=1)
