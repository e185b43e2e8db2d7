"""How a sound is cut into windows, one window after the classifier, and the clock that counts stages."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated

import msgspec

from ...bounds import check_values
from ...errors import MethodError
from ..bundle.manifest import Aggregation, LevelOver
from ..values.arrays import FloatArray
from ..values.lazy import LazyMapping
from .chain import ForwardPass


class Window(msgspec.Struct, frozen=True, eq=False):
    """One window of a sound, and what front end and classifier say of it.

    waveform: [N] mono at the model's rate, as the classifier gets it: divided by `level`, padded to the
        shortest sound it takes
    channels: [channels, N] the same stretch at the model's rate, the input's own level
    offset: first sample of the window in the sound, at the model's rate
    batch: the forward pass that it was part of; row: its place there
    level: what the pipeline's own gain divided by; 1 where it has none or the window is silent
    """

    waveform: FloatArray
    channels: FloatArray
    offset: int
    batch: ForwardPass
    row: int = 0
    level: float = 1.0

    @property
    def stft(self) -> FloatArray:
        """Real and imaginary part [T, F, 2] of the listenable STFT of `waveform`."""
        stft: FloatArray = self.batch.stft[self.row]
        return stft

    @property
    def amplitude(self) -> FloatArray:
        """Its magnitudes |S| [T, F]."""
        amplitude: FloatArray = self.batch.amplitude[self.row]
        return amplitude

    @property
    def logits(self) -> FloatArray:
        """The classifier's logits [K]."""
        logits: FloatArray = self.batch.logits[self.row]
        return logits

    @property
    def state(self) -> FloatArray | None:
        """What a recurrent classifier began it with, [1, S]; None: as at the beginning of a sound."""
        state = self.batch.state
        return None if state is None else state[self.row : self.row + 1]

    @property
    def next_state(self) -> FloatArray | None:
        """What it left to the next window, [1, S]; None where windows know nothing of each other."""
        state = self.batch.next_state
        return None if state is None else state[self.row : self.row + 1]

    @property
    def taps(self) -> Mapping[str, FloatArray]:
        """Name -> feature maps [1, ...] of this window."""
        maps, row = self.batch.taps, self.row
        return LazyMapping(maps, lambda name: maps[name][row : row + 1])

    @property
    def nbytes(self) -> int:
        """What keeping it takes, on the host and on the device."""
        tensors = (self.batch.entry, *self.batch.outputs.values())
        shared = sum(tensor.nbytes for tensor in tensors) // len(self.batch.logits)
        return self.waveform.nbytes + self.channels.nbytes + shared


class WindowPlan(msgspec.Struct, frozen=True):
    """How a sound is cut into windows, in samples at the model's rate.

    length: of a window; a shorter sound is one window of its own length
    hop: from one window to the next; the last one ends with the sound
    shortest: what the model takes at the least: a shorter window is padded with zeros behind
    divisor: what every window is divided by; None: each by its own level
    whole: the last window ends with the sound; otherwise it begins where the one before ends
    state: what a recurrent classifier begins the sound with, [1, S]; None where it has no state
    """

    length: int
    hop: int
    shortest: int = 0
    divisor: float | None = None
    whole: bool = True
    state: FloatArray | None = None


class Windowing(msgspec.Struct, frozen=True):
    """How windows of a long sound are laid, levelled and joined; None: as the bundle says.

    hop_s: seconds from one window to the next, at most a window's length; rounded to the nearest sample
    aggregate: how scores of windows become those of the sound: "mean", "max" or "lme" (log-mean-exp)
    level: over what the gain of the model's own pipeline is measured: each "window", the whole "recording",
        or "none": no gain. It changes nothing where that pipeline has none.
    divisor: what every window is divided by, where that is known before; it goes before `level`
    state: what a recurrent classifier begins with, [1, S], where the sound is a part of another
    """

    hop_s: Annotated[float, msgspec.Meta(gt=0.0)] | None = None
    aggregate: Aggregation | None = None
    level: LevelOver | None = None
    divisor: float | None = None
    state: FloatArray | None = None

    def __post_init__(self) -> None:
        check_values(self, MethodError)


class Clock:
    """Milliseconds per stage, summed over the windows of one explanation; inside a stage none is counted.

    Threads may count different stages side by side.
    """

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._inside: set[int] = set()

    def share(self, others: Sequence[Clock]) -> None:
        """Give each of the others its part of what this one counted."""
        for stage, taken in self.milliseconds.items():
            for other in others:
                other.milliseconds[stage] = other.milliseconds.get(stage, 0.0) + taken / len(others)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time spent inside for `name`."""
        thread = threading.get_ident()
        if thread in self._inside:
            yield
            return
        self._inside.add(thread)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._inside.discard(thread)
            taken = (time.perf_counter() - start) * 1e3
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + taken
