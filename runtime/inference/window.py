"""One window of a sound after front end and classifier, and the clock that counts what each stage takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from ..arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a sound, and what front end and classifier say of it.

    waveform: [N] mono at the model's rate, as the model hears it: divided by `level`, padded to the
        shortest sound it takes
    channels: [channels, N] the same stretch at the model's rate, the input's own level
    offset: first sample of the window in the sound, at the model's rate
    stft: [T, F, 2] real and imaginary part of the listenable STFT of `waveform`
    logits: [K]
    taps: name -> [1, ...] feature maps of this window
    level: what the pipeline's own gain divided by; 1 where it has none or the window is silent
    """

    waveform: FloatArray
    channels: FloatArray
    offset: int
    stft: FloatArray
    logits: FloatArray
    taps: Mapping[str, FloatArray]
    level: float = 1.0


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How a sound is cut into windows, in samples at the model's rate.

    length: of a window; a shorter sound is one window of its own length
    hop: from one window to the next; the last one ends with the sound
    shortest: what the model takes at the least: a shorter window is padded with zeros behind
    """

    length: int
    hop: int
    shortest: int = 0


class Clock:
    """Milliseconds a stage, summed over the windows of one explanation; inside a stage none is counted."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._inside = False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time spent inside for `name`."""
        if self._inside:
            yield
            return
        self._inside = True
        start = time.perf_counter()
        try:
            yield
        finally:
            self._inside = False
            taken = (time.perf_counter() - start) * 1e3
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + taken
