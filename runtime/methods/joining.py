"""Frames of a long sound, joined over its windows: what comes finished is stored, and may leave memory."""

from __future__ import annotations

import numpy as np

from ..audio.scratch import releaser, scratch
from ..audio.sound import OpenSound
from ..values.arrays import FloatArray


class StoredFrames:
    """Values [frames, width] of a whole sound in half precision, in a file where the sound is long."""

    def __init__(self, frames: int, width: int, opened: OpenSound) -> None:
        self.values: FloatArray = scratch((frames, width), np.float16, long=opened.long)
        self.filled = 0
        self._release = releaser(self.values)

    def append(self, block: FloatArray) -> FloatArray:
        """Store finished frames [n, width]; those of them that lie within the sound, which may be fewer."""
        taken = block[: len(self.values) - self.filled]
        self.values[self.filled : self.filled + len(taken)] = taken
        self.filled += len(taken)
        self._release(taken.nbytes)
        return taken

    def finish(self) -> FloatArray:
        """The frames that no window reached: the first takes the value of the last one that was reached.

        The last window ends with the sound, between two frames: one frame may be its shadow. More are left
        only where an explanation was stopped; they stay zero.
        """
        self.values[self.filled : self.filled + 1] = self.values[self.filled - 1]
        return self.values[self.filled :]
