"""Windows of a sound that comes block by block: those that `OpenSound.windows` gives of the whole."""

from __future__ import annotations

import numpy as np

from ..audio.lengths import longest_window
from ..values.arrays import FloatArray

# First sample of a window, and the window [channels, n].
Cut = tuple[int, FloatArray]


class WindowCutter:
    """Cuts sound at the model's rate into windows; holds no more than one window and one hop of it.

    A window is given as soon as all of it is there, the first one once the sound is known to be longer than
    `longest_window`: shorter sound is one window.

    length, hop: of windows, in samples
    whole: False: the last window begins where the one before ends, and may be shorter
    """

    def __init__(self, length: int, hop: int, channels: int, *, whole: bool = True) -> None:
        self._length, self._hop, self._whole = length, hop, whole
        # What is held begins at the sample `_start`; the next window will at `_next`.
        self._held: FloatArray = np.zeros((channels, 0), np.float32)
        self._start = self._next = 0

    def push(self, block: FloatArray) -> list[Cut]:
        """The next block [channels, n]; gives the windows that are complete."""
        self._held = np.concatenate([self._held, block], axis=1) if self._held.shape[1] else block
        total = self._start + self._held.shape[1]
        if self._whole and total <= longest_window(self._length):
            return []
        cuts = []
        while self._next + self._length <= total:
            cuts.append(self._cut(self._next, self._next + self._length))
            self._next += self._hop
        # The last window ends with the sound: as much as a window is held, or from the next one on.
        keep = (min(self._next, total - self._length) if self._whole else self._next) - self._start
        if keep > 0:
            # A copy, so that no longer block stays alive for its end.
            self._held, self._start = self._held[:, keep:].copy(), self._start + keep
        return cuts

    def finish(self) -> list[Cut]:
        """The sound ends: gives the window that ends with it, unless it has been given."""
        total = self._start + self._held.shape[1]
        if not self._whole:
            return [self._cut(self._next, total)] if total > self._next else []
        if total == 0 or (self._next > 0 and self._next - self._hop + self._length >= total):
            return []
        length = total if total <= longest_window(self._length) else self._length
        return [self._cut(total - length, total)]

    def _cut(self, start: int, end: int) -> Cut:
        return start, self._held[:, start - self._start : end - self._start]
