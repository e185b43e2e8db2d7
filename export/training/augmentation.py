"""What training changes in sounds: place, level, mixtures, masked stretches. Gaps are silence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...runtime.values.arrays import FloatArray


def place(sound: FloatArray, samples: int, random: np.random.Generator, shift: float = 0.25) -> FloatArray:
    """[n] -> [samples]: a random stretch of longer sound; else the sound, moved, the rest silence.

    shift: how far, in parts of `samples`, sound may be pushed over either edge (half of the time).
    """
    if len(sound) > samples:
        start = int(random.integers(0, len(sound) - samples + 1))
        sound = sound[start : start + samples]
    free = samples - len(sound)
    offset = int(random.integers(0, free + 1)) if random.random() < 0.5 else 0
    if random.random() < 0.5:
        # Never so far that most of a short sound is lost.
        reach = int(shift * min(samples, len(sound)))
        offset += int(random.integers(-reach, reach + 1))
    out = np.zeros(samples, dtype=np.float32)
    first, last = max(0, offset), min(samples, offset + len(sound))
    if last > first:
        out[first:last] = sound[first - offset : last - offset]
    return out


def random_gain(count: int, random: np.random.Generator, decibels: float = 6.0) -> FloatArray:
    """[count, 1] factors between -decibels and +decibels."""
    return (10.0 ** (random.uniform(-decibels, decibels, (count, 1)) / 20.0)).astype(np.float32)


# Longest stretch that SpecAugment silences, as a share of the frames and of the bands.
_TIME, _BANDS = 0.12, 0.14


def mask_stretches(logmel: torch.Tensor, random: np.random.Generator, count: int = 2) -> torch.Tensor:
    """SpecAugment (arXiv 1904.08779): silence up to `count` stretches of time and of bands; [B, T, M]."""
    out = logmel.clone()
    frames, mels = logmel.shape[1:]
    for row in out:
        for _ in range(count):
            length = int(random.integers(0, max(1, int(_TIME * frames)) + 1))
            start = int(random.integers(0, frames - length + 1))
            row[start : start + length] = 0.0
            height = int(random.integers(0, max(1, int(_BANDS * mels)) + 1))
            low = int(random.integers(0, mels - height + 1))
            row[:, low : low + height] = 0.0
    return out


def noise(count: int, samples: int, random: np.random.Generator) -> FloatArray:
    """[count, samples] noise between white and brown, each of root mean square 1."""
    white = random.standard_normal((count, samples), dtype=np.float32)
    spectrum = np.fft.rfft(white)
    slope = random.uniform(0.0, 1.0, (count, 1))
    spectrum *= np.maximum(np.arange(spectrum.shape[1]), 1.0)[None] ** -slope
    coloured = np.fft.irfft(spectrum, samples)
    coloured /= np.sqrt(np.mean(coloured**2, axis=1, keepdims=True)) + 1e-9
    return coloured.astype(np.float32)


# Level of background noise (root mean square, full scale 1) in decibels, how much of the background is
# digital silence, and how much of the rest recordings are, where there are any.
_BACKGROUND_DB = (-80.0, -30.0)
_SILENT = 0.4
_RECORDED = 0.75


def background(
    count: int, samples: int, random: np.random.Generator, recordings: Sequence[FloatArray] = ()
) -> FloatArray:
    """[count, samples] sounds in which there is nothing: digital silence, or faint noise, white to brown.

    recordings: [N] at the level of the clips, of which most of what is not silent is then drawn
    """
    level = 10.0 ** (random.uniform(*_BACKGROUND_DB, (count, 1)) / 20.0)
    sounds = noise(count, samples, random) * level.astype(np.float32)
    if recordings:
        for row in np.flatnonzero(random.random(count) < _RECORDED):
            recording = recordings[int(random.integers(len(recordings)))]
            sounds[row] = place(recording, samples, random) * random_gain(1, random)[0]
    sounds[random.random(count) < _SILENT] = 0.0
    return sounds


def mixup(
    sounds: FloatArray, targets: FloatArray, alpha: float, random: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Every sound [B, N] and its targets [B, K] mixed with another's of the batch (arXiv 1710.09412).

    The shares are drawn from Beta(alpha, alpha); with an alpha of 0 nothing is mixed.
    """
    if alpha <= 0:
        return sounds, targets
    share = random.beta(alpha, alpha, (len(sounds), 1)).astype(np.float32)
    other = random.permutation(len(sounds))
    return share * sounds + (1.0 - share) * sounds[other], share * targets + (1.0 - share) * targets[other]
