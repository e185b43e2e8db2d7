"""Where sound comes from, read block by block at its own rate; and the simplest place: an array."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...errors import AudioError
from ..values.arrays import FloatArray

# The longest block that is read at once, in samples per channel, and its values at the most (2 MB). Threads
# that share a recording wait for each other at every block.
LONGEST, MOST_VALUES = 2**18, 2**19
LOWEST_RATE, HIGHEST_RATE = 1000, 768000
_MOST_CHANNELS = 64


class SoundSource(Protocol):
    """A sound at its own rate that can be read any number of times.

    rate in Hz; channels; flat: a single waveform [N] without an axis for channels.
    expected: samples per channel that there should be, 0 where nothing says so
    """

    name: str
    rate: int
    channels: int
    flat: bool
    expected: int

    def blocks(self) -> Generator[FloatArray, None, None]:
        """Blocks [channels, n] in order, from the beginning; ends early where decoding fails."""

    def warnings(self) -> list[str]:
        """What was wrong with the sound, one line each; known when `blocks` has come to its end."""


class Stop(Protocol):
    """What ends reading early; reason: why, once that is so."""

    reason: str

    def reached(self) -> bool: ...  # noqa: D102


class ArraySource:
    """An array [N] or [channels, N]; integers are scaled by their range to [-1, 1)."""

    def __init__(self, array: npt.ArrayLike, rate: int) -> None:
        if np.ma.is_masked(array):
            raise AudioError("the array is masked, and sound has no gaps: fill it, as array.filled(0)")
        values = np.asarray(array)
        self.name = "the array"
        if values.dtype.kind not in "iuf":
            raise AudioError(
                f"the array holds {values.dtype}, not sound: give floats within [-1, 1] or integers"
            )
        if values.dtype.kind in "iu" and values.dtype.itemsize > 4:
            # What Python's own integers become: scaled by 2**63, any real sound would be silence.
            raise AudioError(
                f"the array holds {values.dtype}, which has no agreed full scale: give floats within [-1, 1] "
                "or integers of 8, 16 or 32 bits"
            )
        if values.ndim not in {1, 2}:
            raise AudioError(
                f"the array has shape {list(values.shape)}: give [samples] or [channels, samples]"
            )
        if values.size == 0:
            raise AudioError(f"the array has no samples (shape {list(values.shape)})")
        self.flat = values.ndim == 1
        self._values = values.reshape(-1, values.shape[-1])
        self.channels, self.expected = self._values.shape
        if self.channels > _MOST_CHANNELS and self.channels > self.expected:
            raise AudioError(
                f"the array has {self.channels} channels of {self.expected} samples: give "
                "[channels, samples], that is array.T"
            )
        self.rate = checked_rate(rate, self.name)

    def blocks(self) -> Generator[FloatArray, None, None]:
        """Blocks [channels, n]; views where the array is float32 already."""
        kind, bits = self._values.dtype.kind, 8 * self._values.dtype.itemsize
        size = block_samples(self.channels)
        for start in range(0, self.expected, size):
            block = self._values[:, start : start + size]
            if kind == "f":
                with np.errstate(over="ignore"):
                    yield block.astype(np.float32, copy=False)
            else:
                zero = float(2 ** (bits - 1)) if kind == "u" else 0.0
                yield ((block.astype(np.float64) - zero) / 2.0 ** (bits - 1)).astype(np.float32)

    def warnings(self) -> list[str]:
        """None: an array is what it is."""
        return []


class BoundedSource:
    """A source that breaks off with an error where more comes out of it than is wanted.

    A small file may hold hours of sound, and what it says of its length need not be true.

    most_s, most_values: seconds that it may last, samples times channels that it may hold
    exceeded: whether there was more
    """

    def __init__(self, source: SoundSource, most_s: float, most_values: int) -> None:
        self.name, self.rate, self.channels = source.name, source.rate, source.channels
        self.flat, self.expected = source.flat, source.expected
        self.exceeded = False
        self._source = source
        self._most = min(most_s * source.rate, most_values / source.channels)

    def blocks(self) -> Generator[FloatArray, None, None]:
        """Blocks [channels, n]. Raises AudioError where there is more than is wanted."""
        count = 0
        for block in self._source.blocks():
            count += block.shape[1]
            if count > self._most:
                self.exceeded = True
                raise AudioError(
                    f"{self.name} is longer than {self._most / self.rate:g} s, the most that is taken of "
                    f"{self.channels} channel(s) at {self.rate} Hz: cut it"
                )
            yield block

    def warnings(self) -> list[str]:
        """Those of the source."""
        return self._source.warnings()


def block_samples(channels: int) -> int:
    """Samples per channel of a block that is read at once."""
    return min(LONGEST, MOST_VALUES // channels)


def checked_rate(rate: Any, name: str) -> int:
    """`rate` as an int in Hz, or AudioError."""
    try:
        value = int(rate)
        whole = value == rate
    except (TypeError, ValueError, OverflowError):
        whole, value = False, 0
    if not whole or not LOWEST_RATE <= value <= HIGHEST_RATE:
        raise AudioError(
            f"{name} has a sample rate of {rate!r} Hz: rates are whole numbers "
            f"from {LOWEST_RATE} to {HIGHEST_RATE}; resample it first"
        )
    return value
