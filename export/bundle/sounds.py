"""The synthesised sounds that an export is measured with. Never torch."""

from __future__ import annotations

import numpy as np

from ...runtime.audio.lengths import samples_at_least, samples_of
from ...runtime.values.arrays import FloatArray
from ..source.exportable import Exportable

# Frames beyond the shortest sound: every remainder class of a decoder that halves time five times
# (32 m + 0, + 15, + 8, + 21) appears with a shortest sound of 32 frames.
_SHORT_FRAMES = (0, 15, 40, 85)
_GOLDEN_SOUNDS = 3


def parity_lengths(source: Exportable) -> list[int]:
    """Samples of the sounds that parity is measured with: shortest, short ones, one window, longer."""
    hop, rate = source.analysis.hop, source.sample_rate
    shortest = max(samples_at_least(source.window.minimum_seconds, rate), source.analysis.n_fft // 2 + 1)
    window = samples_of(source.window.seconds, rate)
    short = [shortest + frames * hop + index for index, frames in enumerate(_SHORT_FRAMES)]
    return sorted({*(n for n in short if n <= window), window, int(1.37 * window) | 1})


def synthesise(batch: int, samples: int, rate: int, seed: int) -> FloatArray:
    """Tones that glide and bursts of noise, [batch, samples], signed peak 1; seeded."""
    random = np.random.default_rng(seed)
    time = np.arange(samples) / rate
    sounds = []
    for _ in range(batch):
        sound = 1e-3 * random.standard_normal(samples)
        for _ in range(4):
            start, end = np.exp(random.uniform(np.log(60), np.log(0.45 * rate), 2))
            phase = 2 * np.pi * np.cumsum(np.linspace(start, end, samples)) / rate
            sound += (
                random.uniform(0.1, 0.5)
                * np.sin(phase)
                * (np.sin(np.pi * time * random.uniform(0.3, 4)) ** 2)
            )
        for _ in range(3):
            centre, width = random.uniform(0, samples / rate), random.uniform(0.01, 0.2)
            sound += np.exp(-(((time - centre) / width) ** 2)) * random.standard_normal(samples) * 0.5
        sounds.append(sound / max(float(sound.max()), 1e-6))
    return np.stack(sounds).astype(np.float32)


def golden_sounds(source: Exportable, seed: int) -> list[FloatArray]:
    """The synthesised sounds [1, N] that golden.npz holds, as the front end gets them."""
    lengths = parity_lengths(source)[:_GOLDEN_SOUNDS]
    return [
        synthesise(1, samples, source.sample_rate, seed + 1000 + index)
        for index, samples in enumerate(lengths)
    ]
