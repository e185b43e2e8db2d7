"""The sound of components: soft masks of the dictionary on the input, made when somebody listens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from ....errors import MethodError
from ....forks import fork_waits
from ...audio.overlap import OverlapAdd
from ...audio.sound import OpenSound, Restored, residual
from ...audio.stft import ComplexArray, forward, inverse
from ...bundle.manifest import AnalysisSpec
from ...inference.window import WindowPlan
from ...values.arrays import FloatArray, Values
from ...values.lazy import lazy_property
from ..evidence import Evidence, Overview, spans_of
from ..saved import SavedSounds
from .dictionary import ComponentDictionary
from .harmonics import Glide, glide

# Below any activation that says something: no division by zero.
_TINY = 1e-10
# Longest sound whose components are followed in frequency.
_GLIDES_S = 60.0


@fork_waits
def soft_mask(dictionary: ComponentDictionary, activations: FloatArray, chosen: Sequence[int]) -> FloatArray:
    """Share of the chosen components in the model of the sound, [T, F] in 0..1.

    mask_L = sum_L (W_k H_k)^p / sum_k (W_k H_k)^p, on the linear magnitude, for the dictionary's W [F, K] and
    p and for activations H [K, T]; with p = 1 that of Listen to Interpret, section 3.3. The shares of all
    components add up to 1 where any is active.
    """
    some, power = list(chosen), dictionary.spec.mask_power
    active: FloatArray = np.asarray(activations**power, np.float32)
    part: FloatArray = active[some].T @ dictionary.parts[:, some].T
    part /= dictionary.whole(active) + np.float32(_TINY**power)
    # What rounding adds to a sum of shares is no sound.
    return np.minimum(part, 1.0, out=part)


@dataclass(frozen=True)
class Tracks:
    """What is needed to make any components of one sound audible.

    activations [K, T'] of the whole sound, T' at least its frames
    """

    opened: OpenSound
    spec: AnalysisSpec
    dictionary: ComponentDictionary
    activations: FloatArray
    plan: WindowPlan

    def sound(self, chosen: Sequence[int]) -> FloatArray:
        """The chosen components together [channels, input_samples], at the input's rate.

        Every channel gets the same mask. Raises AudioError where the file of a long sound has changed.
        """
        restored, join = Restored(self.opened), OverlapAdd((self.opened.input_channels,))
        for offset, length, spectrum, active in self._windows():
            mask = soft_mask(self.dictionary, active, chosen)
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
        evidence = Evidence(1 + self.opened.samples // self.spec.hop, self.dictionary.columns.shape[0])
        for offset, length, spectrum, active in self._windows():
            mask = soft_mask(self.dictionary, active, chosen)
            frames = 1 + length // self.spec.hop
            first = round(offset / self.spec.hop)
            evidence.show(first, np.abs(spectrum).max(axis=0)[:frames])
            evidence.show(first, mask[:frames], of_mask=True)
        return evidence.overview

    @property
    def fundamentals(self) -> FloatArray:
        """Of the dictionary's columns."""
        return self.dictionary.fundamentals

    @lazy_property
    def glides(self) -> tuple[Glide | None, ...]:
        """Of each component the frequencies in Hz between which its track moves; None where it stays.

        Of sound longer than a minute none, which would be read once more. Raises AudioError as `sound`.
        """
        count, rate = len(self.activations), self.opened.model_rate
        if self.opened.samples > _GLIDES_S * rate:
            return (None,) * count
        centroids, energy = self._centroids()
        frame_s, seconds = self.spec.hop / rate, self.opened.samples / rate
        found: list[Glide | None] = []
        for index in range(count):
            over_time = np.asarray(self.activations[index, : len(energy)], np.float32)
            spans = spans_of(over_time, frame_s, seconds)
            start, end = max(spans, key=lambda span: span[1] - span[0], default=(0.0, 0.0))
            longest = slice(round(start / frame_s), round(end / frame_s) + 1)
            found.append(glide(centroids[longest, index], energy[longest, index]) if spans else None)
        return tuple(found)

    @fork_waits
    def _centroids(self) -> tuple[Values, Values]:
        """The mean frequency of every component's track, by energy, and that energy, [T, K] each."""
        columns, exponent = self.dictionary.parts, self.dictionary.spec.mask_power
        frames = min(1 + self.opened.samples // self.spec.hop, self.activations.shape[1])
        shape = (frames, columns.shape[1])
        moments, energy = np.zeros(shape), np.zeros(shape)
        squares = np.square(columns.astype(np.float64))
        weighted = np.linspace(0.0, self.max_hz, len(columns))[:, None] * squares
        for offset, length, spectrum, active in self._windows():
            first = round(offset / self.spec.hop)
            some = min(1 + length // self.spec.hop, frames - first)
            # A track has the energy |S|^2 m_k^2, m_k its mask.
            # In float64: squares of cubes of what is faint are below what float32 holds.
            parts = np.asarray(active**exponent, np.float64)
            model = self.dictionary.whole(parts) + _TINY**exponent
            power = (np.square(np.abs(spectrum)).sum(axis=0) / np.square(model))[:some]
            gains = np.square(parts.T)[:some]
            energy[first : first + some] = (power @ squares) * gains
            moments[first : first + some] = (power @ weighted) * gains
        return moments / np.maximum(energy, 1e-30), energy

    def _windows(self) -> Iterator[tuple[int, int, ComplexArray, FloatArray]]:
        """Every window as (offset, samples, spectrum [channels, T, F], activations [K, T])."""
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
            yield offset, length, spectrum, active


class SavedTracks(msgspec.Struct, frozen=True):
    """The sound of components in the files of a saved result: of the selected ones, alone and together."""

    sounds: SavedSounds
    selected: tuple[int, ...]
    shown: Overview
    max_hz: float
    fundamentals: FloatArray
    glides: tuple[Glide | None, ...]

    def sound(self, chosen: Sequence[int]) -> FloatArray:
        """The chosen components together. Raises MethodError where that was not saved, DataError."""
        if tuple(chosen) == self.selected:
            return self.sounds.read("components/kept")
        if len(chosen) == 1:
            return self.sounds.read(f"components/component_{chosen[0]}")
        raise MethodError(
            f"{self.sounds.folder}: only the sound of selected components was saved; explain again"
        )

    def rest(self, taken: FloatArray) -> FloatArray:
        """What the selected components leave. Raises MethodError, DataError."""
        return self.sounds.read("components/removed")

    def overview(self, chosen: Sequence[int]) -> Overview:
        """Where the selected components lie, for a picture."""
        return self.shown

    def shaped(self, sound: FloatArray) -> FloatArray:
        """In the shape of the input."""
        return self.sounds.shaped(sound)
