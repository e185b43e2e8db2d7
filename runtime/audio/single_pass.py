"""A sound that is checked while it is read: what is wrong with it is known when its end has come."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from ...errors import AudioError
from ..values.arrays import FloatArray
from .quality import Quality
from .source import SoundSource, Stop

# The square root of what float32 holds, less what sums of a window need.
_HIGHEST = 1e15
# Samples per channel between two questions whether to stop.
ASK_EVERY = 2**20


class SinglePassSound:
    """A sound that is decoded once, block by block, and checked on the way; `stop` ends it where it stands.

    Attributes:
        flat: Whether it came without an axis for channels.
        input_samples: Per channel, read so far.
        peak: The largest absolute value so far.
        complete: Whether its end was read.

    """

    def __init__(self, source: SoundSource, model_rate: int, stop: Stop | None = None) -> None:
        self._source = source
        self._model_rate = model_rate
        self._stop = stop
        self._quality = Quality(source.channels)
        self.name = source.name
        self.input_rate = source.rate
        self.input_channels = source.channels
        self.flat = source.flat
        self.input_samples = 0
        self.peak = 0.0
        self.complete = False
        self._checked = 0

    def input_blocks(self) -> Generator[FloatArray, None, None]:
        """Blocks [channels, n] at the sound's own rate, in order; can be gone through once.

        Raises AudioError where the sound cannot be read, is empty, or is not finite.
        """
        for block in self.unchecked_blocks():
            self.check(block)
            yield block

    def unchecked_blocks(self) -> Generator[FloatArray, None, None]:
        """As `input_blocks`; each is to go through `check`, in order, by whatever thread."""
        due = ASK_EVERY
        for block in self._source.blocks():
            self.input_samples += block.shape[1]
            yield block
            if self._stop is not None and self.input_samples >= due:
                due += ASK_EVERY
                if self._stop.reached():
                    return
        if self.input_samples == 0:
            raise AudioError(f"{self.name} has no samples: give a sound that is not empty")
        self.complete = True

    def check(self, block: FloatArray) -> None:
        """Look at the next block [channels, n]. Raises AudioError where it is not finite."""
        lowest, highest = block.min(axis=1), block.max(axis=1)
        if not np.isfinite(lowest).all() or not np.isfinite(highest).all():
            bad = ~np.isfinite(block)
            at = int(np.argmax(bad.any(axis=0)))
            kind = "NaN" if np.isnan(block[:, at]).any() else "an infinite value"
            raise AudioError(
                f"{self.name} holds {kind} at {(self._checked + at) / self.input_rate:.3f} s: "
                "sound must be finite; replace such samples first"
            )
        self._checked += block.shape[1]
        peaks = np.maximum(highest, -lowest)
        self.peak = max(self.peak, float(peaks.max()))
        self._quality.add(block, peaks)

    @property
    def expected_samples(self) -> int | None:
        """Samples per channel of all of it; before it is complete, what its header promises, or None."""
        if self.complete:
            return self.input_samples
        return max(self.input_samples, self._source.expected) if self._source.expected else None

    @property
    def seconds(self) -> float:
        """Its length; before it is complete, what its header promises, or what was read."""
        return (self.expected_samples or self.input_samples) / self.input_rate

    @property
    def damage(self) -> list[str]:
        """What is wrong with the file itself, one line each."""
        return self._source.warnings() if self.complete else []

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the sound, one line each; of one that is not complete, what the rate says."""
        silent, lines = self.peak == 0.0, []
        if self.complete:
            if silent:
                lines.append("the sound is silent: its scores say nothing about any sound")
            lines += self.damage
            if self.peak > _HIGHEST:
                lines.append(
                    f"the sound's peak is {self.peak:.2g}: squares of that overflow; give sound within "
                    "[-1, 1]"
                )
            if self.input_samples == 1:
                lines.append("the sound is a single sample: its scores say nothing about any sound")
        # 1 % less is lost to the resampler's own slope.
        if self.input_rate < 0.99 * self._model_rate:
            lines.append(
                f"the sound's rate is {self.input_rate} Hz: it holds nothing above "
                f"{self.input_rate / 2:.0f} Hz, and the model listens up to {self._model_rate / 2:.0f} Hz"
            )
        if self.complete and not silent:
            lines += self._quality.warnings(self.peak)
        if self._stop is not None and self._stop.reason and not self.complete:
            read_s = self.input_samples / self.input_rate
            lines.append(
                f"partial: {self._stop.reason} when {read_s:.2f} s of the sound were read, which is what the "
                "answer is about"
            )
        return lines
