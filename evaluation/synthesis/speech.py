"""Sound that is like speech without saying anything: syllables of voiced vowels and of hisses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import signal

from ...runtime.audio.lengths import samples_of

Samples = npt.NDArray[np.float64]

# First three formants of five vowels in Hz (Peterson & Barney 1952, men).
_VOWELS = np.array(
    [[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240]], np.float64
)
_WIDTHS = (80.0, 110.0, 160.0)


def speech_like(rng: np.random.Generator, samples: int, rate: int) -> Samples:
    """Babble of one voice, [samples] float64 with peak 1: 3 to 6 syllables a second, with pauses.

    A voiced syllable is a train of glottal pulses with a falling pitch through three formants; an
    unvoiced one is a hiss. Not speech: it stands in where no recordings are given.
    """
    sound = np.zeros(samples)
    pitch, tract = rng.uniform(90.0, 240.0), rng.uniform(0.9, 1.2)
    position = samples_of(rng.uniform(0.0, 0.15), rate)
    while position < samples:
        length = samples_of(rng.uniform(0.12, 0.26), rate)
        if rng.random() < 0.25:
            syllable = _hiss(rng, length // 2, rate)
        else:
            syllable = _vowel(rng, length, rate, pitch * rng.uniform(0.85, 1.2), tract)
        part = syllable[: samples - position]
        sound[position : position + part.size] += part
        # Now and then the end of a phrase.
        pause = rng.uniform(0.25, 0.5) if rng.random() < 0.12 else rng.uniform(0.01, 0.06)
        position += syllable.size + samples_of(pause, rate)
    # Pulses have a mean; a voice has none.
    sound = np.asarray(signal.sosfilt(signal.butter(2, 70.0, "highpass", fs=rate, output="sos"), sound))
    return np.asarray(sound / (np.max(np.abs(sound)) or 1.0))


def _vowel(rng: np.random.Generator, length: int, rate: int, pitch: float, tract: float) -> Samples:
    """Glottal pulses through the formants of one vowel."""
    glide = pitch * np.linspace(1.05, rng.uniform(0.8, 0.95), length)
    cycles = np.cumsum(glide) / rate
    pulses = np.diff(np.floor(cycles), prepend=0.0)
    # 12 dB an octave is what the glottis takes away, 6 what the lips give back.
    source = signal.lfilter([1.0], [1.0, -0.96], pulses) + 0.02 * rng.standard_normal(length)
    sound = source
    for formant, width in zip(rng.choice(_VOWELS) * tract, _WIDTHS, strict=True):
        if formant < 0.45 * rate:
            radius = np.exp(-np.pi * width / rate)
            poles = [1.0, -2.0 * radius * np.cos(2.0 * np.pi * formant / rate), radius**2]
            sound = signal.lfilter([sum(poles)], poles, sound)
    return np.asarray(sound / (np.max(np.abs(sound)) or 1.0) * np.hanning(length))


def _hiss(rng: np.random.Generator, length: int, rate: int) -> Samples:
    """A fricative: noise above some kHz."""
    low = min(rng.uniform(2000.0, 4500.0), 0.35 * rate)
    band = signal.butter(2, low, "highpass", fs=rate, output="sos")
    noise = np.asarray(signal.sosfilt(band, rng.standard_normal(length)))
    return np.asarray(0.3 * noise / (np.max(np.abs(noise)) or 1.0) * np.hanning(length))
