"""The sound of components: soft masks of the dictionary on the input, made when somebody listens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...arrays import FloatArray
from ...audio.overlap import OverlapAdd
from ...audio.sound import OpenSound, Restored, residual
from ...audio.stft import ComplexArray, forward, inverse
from ...bundle.manifest import AnalysisSpec
from ...inference.window import WindowPlan
from ..evidence import Evidence, Overview

# Below any activation that says something: no division by zero.
_TINY = 1e-10


def soft_mask(columns: FloatArray, activations: FloatArray, chosen: Sequence[int]) -> FloatArray:
    """Share of the chosen components in the model of the sound, [T, F] in 0..1.

    mask_L = W_L H_L / (W H + 1e-10) (Listen to Interpret, section 3.3), on the linear magnitude, for
    columns W [F, K] and activations H [K, T]. The shares of all components add up to 1 where any is active.
    """
    some = list(chosen)
    part: FloatArray = activations[some].T @ columns[:, some].T
    part /= activations.T @ columns.T + np.float32(_TINY)
    # What rounding adds to a sum of shares is no sound.
    return np.minimum(part, 1.0, out=part)


class ComponentTracks(Protocol):
    """Where the sound of components comes from: the input, or the files of a saved result."""

    @property
    def max_hz(self) -> float:
        """The highest frequency of the spectrogram."""

    def sound(self, chosen: Sequence[int]) -> FloatArray:
        """The chosen components together, [channels, samples]."""

    def rest(self, taken: FloatArray) -> FloatArray:
        """Input minus `taken`."""

    def overview(self, chosen: Sequence[int]) -> Overview:
        """Where the chosen components lie, for a picture."""

    def shaped(self, sound: FloatArray) -> FloatArray:
        """In the shape of the input."""


@dataclass(frozen=True)
class Tracks:
    """What is needed to make any components of one sound audible.

    columns [F, K]; activations [K, T'] of the whole sound, T' at least its frames
    """

    opened: OpenSound
    spec: AnalysisSpec
    columns: FloatArray
    activations: FloatArray
    plan: WindowPlan

    def sound(self, chosen: Sequence[int]) -> FloatArray:
        """The chosen components together [channels, input_samples], at the input's rate.

        Every channel gets the same mask.

        Raises:
            AudioError: The file of a long sound has changed.

        """
        restored, join = Restored(self.opened), OverlapAdd((self.opened.input_channels,))
        for offset, length, spectrum, mask in self._windows(chosen):
            kept = inverse(spectrum * mask, self.spec, max(length, self.plan.shortest))[..., :length]
            if length == self.opened.samples:
                # A single window is what it is: weights would only round it.
                restored.push(kept)
                return restored.finish()
            restored.push(join.add(offset, kept))
        restored.push(join.finish())
        return restored.finish()

    def rest(self, taken: FloatArray) -> FloatArray:
        """Input minus `taken` [channels, input_samples]."""
        return residual(self.opened, taken)

    @property
    def max_hz(self) -> float:
        """The highest frequency of the spectrogram."""
        return 0.5 * self.opened.model_rate

    def shaped(self, sound: FloatArray) -> FloatArray:
        """[samples] where the input had no axis for channels."""
        return sound[0] if self.opened.flat else sound

    def overview(self, chosen: Sequence[int]) -> Overview:
        """Where the chosen components lie, for a picture."""
        evidence = Evidence(1 + self.opened.samples // self.spec.hop, self.columns.shape[0])
        for offset, length, spectrum, mask in self._windows(chosen):
            frames = 1 + length // self.spec.hop
            amplitude = np.abs(spectrum).max(axis=0)
            evidence.add(round(offset / self.spec.hop), mask[:frames], amplitude[:frames])
        return evidence.overview()

    def _windows(self, chosen: Sequence[int]) -> Iterator[tuple[int, int, ComplexArray, FloatArray]]:
        """Every window as (offset, samples, spectrum [channels, T, F], mask [T, F])."""
        last = self.activations.shape[1] - 1
        for offset, channels in self.opened.windows(self.plan.length, self.plan.hop):
            length = channels.shape[-1]
            missing = self.plan.shortest - length
            spectrum = forward(
                np.pad(channels, ((0, 0), (0, missing))) if missing > 0 else channels, self.spec
            )
            # The last window ends with the sound, between two frames.
            frames = np.minimum(round(offset / self.spec.hop) + np.arange(spectrum.shape[-2]), last)
            active = np.asarray(self.activations[:, frames], np.float32)
            yield offset, length, spectrum, soft_mask(self.columns, active, chosen)
