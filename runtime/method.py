"""The protocol of an explanation method: one file a method, one line of registration.

The runtime hears a sound window by window; a method opens an account for the sound and its
target, sees every window once, in order, and closes the account with its part of the result.
Memory therefore does not grow with the sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Heard:
    """One window after the classifier has heard it.

    waveform: [N] mono at the model's rate with the pipeline's level gain applied
    channels: [channels, N] the same stretch at the model's rate, the input's own level
    offset: first sample of the window in the sound, at the model's rate
    stft: [T, F, 2] real and imaginary part of the listenable STFT of `waveform`
    logits: [K]
    taps: name -> [1, ...] feature maps of this window
    """

    waveform: FloatArray
    channels: FloatArray
    offset: int
    stft: FloatArray
    logits: FloatArray
    taps: Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True)
class Sound:
    """What is known of a sound before its windows are explained.

    samples: length at the model's rate; windows: how many there will be;
    input_rate, input_samples, input_channels: as the user gave it
    """

    samples: int
    windows: int
    input_rate: int
    input_samples: int
    input_channels: int


class Account(Protocol):
    """The running explanation of one sound for one target."""

    def add(self, heard: Heard) -> None:
        """See one more window."""

    def finish(self) -> Any:
        """The method's part of the result."""


class Method(Protocol):
    """An explanation method over an open bundle."""

    name: ClassVar[str]

    def begin(self, sound: Sound, target: int) -> Account:
        """Open an account for `sound` and the class index `target`."""
