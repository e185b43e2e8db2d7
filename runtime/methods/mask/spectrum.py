"""One window under its mask: the gain, what it keeps, and where the evidence of a single window lies."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from ...audio.level import levelled
from ...audio.stft import ComplexArray, as_complex, forward, gain
from ...bundle.manifest import AnalysisSpec, MaskGain
from ...inference.window import Window
from ...values.arrays import FloatArray
from ...values.lazy import lazy_property
from ..evidence import Evidence, Located


@dataclass(frozen=True, eq=False)
class MaskedSpectrum:
    """The spectrogram of a window under a mask [T, F]; what nobody asks for is not computed."""

    window: Window
    mask: FloatArray
    how: MaskGain

    @lazy_property
    def spectrum(self) -> ComplexArray:
        """S [T, F], the listenable STFT."""
        return as_complex(self.window.stft)

    @property
    def amplitude(self) -> FloatArray:
        """|S| [T, F]."""
        return self.window.amplitude

    @lazy_property
    def logarithm(self) -> FloatArray:
        """X = log1p(|S|) [T, F]."""
        logarithm: FloatArray = np.log1p(self.amplitude)
        return logarithm

    @lazy_property
    def gains(self) -> FloatArray:
        """G [T, F], what the mask does to |S|."""
        return gain(self.mask, self.amplitude, self.how, self.logarithm if self.how == "log" else None)

    @lazy_property
    def kept(self) -> ComplexArray:
        """G S [T, F]."""
        return self.spectrum * self.gains


class MaskedWindow(msgspec.Struct, frozen=True, eq=False):
    """The only window of a sound, of which a `MaskResult` finds where the evidence lies when somebody asks.

    mask: [T, F]; channels: [C, n] at the model's rate; level, samples: what the model's pipeline divided the
    sound by, and how long it made it; rate: of the model
    """

    mask: FloatArray
    channels: FloatArray
    level: float
    samples: int
    spec: AnalysisSpec
    rate: int

    def located(self) -> Located:
        """When, in which band, and a picture."""
        samples, frames = self.channels.shape[-1], len(self.mask)
        waveform = levelled(self.channels, self.level, self.samples)
        amplitude: FloatArray = np.abs(forward(waveform, self.spec)[:frames])
        evidence = Evidence(frames, self.mask.shape[1])
        evidence.weigh(0, self.mask * np.log1p(amplitude))
        # All pictures of a sound are of the input's own level.
        evidence.show(0, amplitude * np.float32(abs(self.level)))
        evidence.show(0, self.mask, of_mask=True)
        return evidence.located(self.spec, self.rate, samples)
