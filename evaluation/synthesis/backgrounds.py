"""Backgrounds behind the one-shots: noise of several colours, hum, rain, wind, chirps, chords.

A background takes a random generator, a length in samples and a sample rate and returns
[samples] float64 with root mean square 1.
"""

from __future__ import annotations

from collections.abc import Callable

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


def white(rng: np.random.Generator, samples: int, rate: int) -> Samples:
    """White noise."""
    return _coloured(rng, samples, rate, 0.0)


def pink(rng: np.random.Generator, samples: int, rate: int) -> Samples:
    """Pink noise, power as 1 / f."""
    return _coloured(rng, samples, rate, 1.0)


def brown(rng: np.random.Generator, samples: int, rate: int) -> Samples:
    """Brown noise, power as 1 / f**2."""
    return _coloured(rng, samples, rate, 2.0)


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
    "brown": brown,
    "chirps": chirps,
    "chord": chord,
    "hum": hum,
    "pink": pink,
    "rain": rain,
    "white": white,
    "wind": wind,
}
