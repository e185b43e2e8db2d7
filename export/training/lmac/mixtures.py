"""The batches of a decoder's training: clips moved about, some with noise or another clip mixed in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..augmentation import noise, place, random_gain
from ..loop import batches
from ..settings import ExplainerSettings
from ..sounds import FloatArray

# Decibels that an added sound lies below the clip, at the most.
_QUIETEST = 20.0


@dataclass(frozen=True)
class MixtureBatch:
    """One step's sounds.

    mixed [B, N]: with what was mixed in; clean [B, N]: without
    partner [B]: the row whose clip was mixed in, or -1
    sharp [B, 1, 1]: whether the mask is drawn with a sharpened sigmoid
    """

    mixed: FloatArray
    clean: FloatArray
    partner: npt.NDArray[np.int64]
    sharp: npt.NDArray[np.bool_]


class MixtureBatches:
    """The batches of an epoch, from (seed, epoch) alone."""

    def __init__(
        self,
        waveforms: Sequence[FloatArray],
        samples: int,
        settings: ExplainerSettings,
        noises: Sequence[FloatArray] = (),
        *,
        sharpened: float = 0.0,
    ) -> None:
        """Sounds of `samples`, in batches of the settings.

        noises: recordings to mix in, at the model's rate; without any, noise is synthesised
        sharpened: part of the sounds whose mask is to be sharpened, 0..1
        """
        self.waveforms, self.samples, self.settings, self.noises = waveforms, samples, settings, noises
        self._sharpened = sharpened

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return len(batches(len(self.waveforms), self.settings.batch_size, np.random.default_rng(0)))

    def __call__(self, epoch: int) -> Iterator[MixtureBatch]:
        """The batches of one epoch."""
        random = np.random.default_rng([self.settings.seed, epoch])
        for chosen in batches(len(self.waveforms), self.settings.batch_size, random):
            clean = np.stack([place(self.waveforms[i], self.samples, random) for i in chosen])
            mixed, partner = self._mixed(clean, random)
            level = random_gain(len(chosen), random, 3.0)
            sharp = random.random((len(chosen), 1, 1)) < self._sharpened
            yield MixtureBatch(mixed * level, clean * level, partner, sharp)

    def _mixed(
        self, clean: FloatArray, random: np.random.Generator
    ) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        """Some sounds with another clip, or with noise, 0 to 20 dB below them."""
        count = len(clean)
        rms = np.sqrt(np.mean(clean**2, axis=1, keepdims=True))
        # Powers in float64: in float32 they differ between processors.
        share = (10.0 ** (-random.uniform(0.0, _QUIETEST, (count, 1)) / 20.0)).astype(np.float32)
        others = random.permutation(count)
        added = clean[others]
        added = added / (np.sqrt(np.mean(added**2, axis=1, keepdims=True)) + 1e-6)
        noisy = random.random((count, 1)) < 0.5
        added = np.where(noisy, self._noise(count, random), added)
        chosen = random.random((count, 1)) < self.settings.mixtures
        mixed: FloatArray = clean + np.where(chosen, rms * share * added, 0.0).astype(np.float32)
        partner = np.where((chosen & ~noisy)[:, 0] & (others != np.arange(count)), others, -1)
        return mixed, partner.astype(np.int64)

    def _noise(self, count: int, random: np.random.Generator) -> FloatArray:
        """[count, samples] of root mean square 1."""
        if not self.noises:
            return noise(count, self.samples, random)
        rows = []
        for _ in range(count):
            recording = self.noises[int(random.integers(len(self.noises)))]
            # Short recordings are repeated: noise has no beginning and no end.
            start = int(random.integers(len(recording)))
            rows.append(np.take(recording, np.arange(start, start + self.samples), mode="wrap"))
        drawn = np.stack(rows).astype(np.float32)
        scaled: FloatArray = drawn / (np.sqrt(np.mean(drawn**2, axis=1, keepdims=True)) + 1e-6)
        return scaled
