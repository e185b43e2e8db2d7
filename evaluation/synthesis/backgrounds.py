"""Backgrounds behind the one-shots: noise of several colours, hum, rain, wind, chirps, chords; babble.

A background takes a random generator, a length in samples and a sample rate and returns
[samples] float64 with root mean square 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import signal

from ...runtime.audio.lengths import samples_of

Samples = npt.NDArray[np.float64]
Background = Callable[[np.random.Generator, int, int], Samples]


def _level(sound: Samples) -> Samples:
    """Root mean square 1."""
    return np.asarray(sound / np.sqrt(np.mean(sound**2)))


def _coloured(rng: np.random.Generator, samples: int, rate: int, slope: float) -> Samples:
    """Noise whose power falls as 1 / f**slope above 30 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequencies = np.fft.rfftfreq(samples, 1.0 / rate)
    spectrum *= np.maximum(frequencies, 30.0) ** (-slope / 2.0)
    spectrum[frequencies < 15.0] = 0.0
    return _level(np.fft.irfft(spectrum, samples))


def pink(rng: np.random.Generator, samples: int, rate: int) -> Samples:
    """Pink noise, power as 1 / f."""
    return _coloured(rng, samples, rate, 1.0)


def hum(rng: np.random.Generator, samples: int, rate: int) -> Samples:
    """Mains hum with its harmonics over a little pink noise."""
    times = np.arange(samples) / rate
    base = float(rng.choice([50.0, 60.0]))
    harmonics = np.arange(1, 16)
    levels = rng.uniform(0.3, 1.0, harmonics.size) / harmonics**0.7
    phases = rng.uniform(0, 2 * np.pi, harmonics.size)
    tones = levels[:, None] * np.sin(2 * np.pi * base * harmonics[:, None] * times + phases[:, None])
    return _level(tones.sum(axis=0) + 0.15 * pink(rng, samples, rate))


def rain(rng: np.random.Generator, samples: int, rate: int) -> Samples:
    """Rain: drops at random times, each a short resonance, over a soft hiss."""
    drops = np.zeros(samples)
    count = int(rng.integers(300, 900) * samples / rate)
    drops[rng.integers(0, samples, count)] = rng.exponential(1.0, count) * rng.choice([-1.0, 1.0], count)
    edges = (rng.uniform(1200, 2200), min(7000.0, 0.45 * rate))
    filtered = signal.sosfilt(signal.butter(1, edges, "bandpass", fs=rate, output="sos"), drops)
    return _level(_level(np.asarray(filtered)) + 0.5 * _coloured(rng, samples, rate, 0.5))


def wind(rng: np.random.Generator, samples: int, rate: int) -> Samples:
    """Wind: low noise that swells slowly."""
    times = np.arange(samples) / rate
    swell = 1.0 + 0.7 * np.sin(2 * np.pi * rng.uniform(0.2, 0.8) * times + rng.uniform(0, 2 * np.pi))
    low = signal.butter(2, rng.uniform(400, 900), "lowpass", fs=rate, output="sos")
    return _level(np.asarray(signal.sosfilt(low, pink(rng, samples, rate))) * swell)


def chirps(rng: np.random.Generator, samples: int, rate: int) -> Samples:
    """Birds or insects: a repeated, smoothly swelling sweep over a little pink noise."""
    sound = np.zeros(samples)
    length = samples_of(rng.uniform(0.12, 0.35), rate)
    times = np.arange(length) / rate
    start, end = rng.uniform(1800, 5500, 2)
    sweep = signal.chirp(times, start, times[-1], end) * np.hanning(length)
    position = int(rng.integers(0, length))
    while position + length < samples:
        sound[position : position + length] += rng.uniform(0.5, 1.0) * sweep
        position += length + samples_of(rng.uniform(0.02, 0.5), rate)
    return _level(sound + 0.1 * pink(rng, samples, rate))


def chord(rng: np.random.Generator, samples: int, rate: int) -> Samples:
    """A sustained triad with four harmonics a note and a slow tremolo."""
    times = np.arange(samples) / rate
    third = 3 + int(rng.integers(0, 2))
    notes = rng.uniform(110, 330) * 2.0 ** (np.array([0, third, 7]) / 12.0)
    partials = (notes[:, None] * np.arange(1, 5)).ravel()
    levels = np.tile(1.0 / np.arange(1, 5) ** 1.5, 3)
    phases = rng.uniform(0, 2 * np.pi, partials.size)
    tones = (levels[:, None] * np.sin(2 * np.pi * partials[:, None] * times + phases[:, None])).sum(axis=0)
    tremolo = 1.0 + 0.3 * np.sin(2 * np.pi * rng.uniform(0.5, 3.0) * times)
    return _level(tones * tremolo + 0.05 * pink(rng, samples, rate))


BACKGROUNDS: dict[str, Background] = {
    # Power as 1 / f**2, and the same at all f.
    "brown": partial(_coloured, slope=2.0),
    "chirps": chirps,
    "chord": chord,
    "hum": hum,
    "pink": pink,
    "rain": rain,
    "white": partial(_coloured, slope=0.0),
    "wind": wind,
}


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
