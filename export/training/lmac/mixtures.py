"""The batches of a decoder's training: clips moved about, some with noise or another clip mixed in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ....runtime.values.arrays import FloatArray
from ..augmentation import place, random_gain
from ..loop import batches
from ..noise import Noise
from ..settings import ExplainerSettings

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
        noise: Noise | None = None,
        *,
        sharpened: float = 0.0,
    ) -> None:
        """Sounds of `samples`, in batches of the settings.

        noise: what is mixed in, at the model's rate; None: synthesised
        sharpened: part of the sounds whose mask is to be sharpened, 0..1
        """
        self.waveforms, self.samples, self.settings = waveforms, samples, settings
        self._noise = noise or Noise()
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
        added = np.where(noisy, self._noise.draw(count, self.samples, random), added)
        chosen = random.random((count, 1)) < self.settings.mixtures
        mixed: FloatArray = clean + np.where(chosen, rms * share * added, 0.0).astype(np.float32)
        partner = np.where((chosen & ~noisy)[:, 0] & (others != np.arange(count)), others, -1)
        return mixed, partner.astype(np.int64)
