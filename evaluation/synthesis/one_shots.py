"""Drum-kit one-shots from physically sensible recipes with random parameters.

A recipe takes a random generator and a sample rate and returns one hit: [samples] float64 with
peak 1. Membranes are damped sines whose pitch falls with the stretch of the skin; metal is a sum
of inharmonic partials; wires, claps and cymbals are filtered noise under an envelope.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import signal

from ...runtime.audio.lengths import samples_of

Samples = npt.NDArray[np.float64]
Recipe = Callable[[np.random.Generator, int], Samples]


def times_of(seconds: float, rate: int) -> Samples:
    """Times of the samples in s."""
    return np.arange(samples_of(seconds, rate)) / rate


def _decay(times: Samples, seconds: float) -> Samples:
    """An exponential that has fallen by 60 dB after `seconds`."""
    return np.asarray(np.exp(-np.log(1000.0) * times / seconds))


def band(noise: Samples, low_hz: float, high_hz: float, rate: int, order: int = 2) -> Samples:
    """Band-passed noise; the upper edge stays below the Nyquist frequency."""
    edges = (low_hz, min(high_hz, 0.47 * rate))
    return np.asarray(signal.sosfilt(signal.butter(order, edges, "bandpass", fs=rate, output="sos"), noise))


def _finish(hit: Samples, rate: int, attack_seconds: float = 0.0005) -> Samples:
    """Start and end without a click, peak 1."""
    rise = max(2, samples_of(attack_seconds, rate))
    fall = max(2, samples_of(0.005, rate))
    shaped = hit.copy()
    shaped[:rise] *= np.linspace(0.0, 1.0, rise)
    shaped[-fall:] *= np.linspace(1.0, 0.0, fall)
    return np.asarray(shaped / np.max(np.abs(shaped)))


def membrane(times: Samples, start_hz: float, end_hz: float, glide_seconds: float) -> Samples:
    """A sine whose pitch falls exponentially from `start_hz` to `end_hz`."""
    pitch = end_hz + (start_hz - end_hz) * np.exp(-times / glide_seconds)
    rate = 1.0 / (times[1] - times[0])
    return np.asarray(np.sin(2.0 * np.pi * np.cumsum(pitch) / rate))


def kick(rng: np.random.Generator, rate: int) -> Samples:
    """Bass drum: a low membrane with a fast fall in pitch and the beater's click."""
    times = times_of(rng.uniform(0.25, 0.5), rate)
    body = membrane(times, rng.uniform(140, 260), rng.uniform(42, 62), rng.uniform(0.015, 0.04))
    click = band(rng.standard_normal(times.size), 900, 3500, rate) * _decay(times, 0.02)
    hit = body * _decay(times, rng.uniform(0.25, 0.5)) + rng.uniform(0.1, 0.4) * click
    return _finish(np.tanh(rng.uniform(1.0, 2.5) * hit), rate)


def tom(rng: np.random.Generator, rate: int) -> Samples:
    """Tom: two modes of a tuned membrane (ratio 1.59) with a slow, small fall in pitch."""
    times = times_of(rng.uniform(0.35, 0.6), rate)
    pitch = rng.uniform(95, 210)
    glide = rng.uniform(0.05, 0.12)
    first = membrane(times, 1.35 * pitch, pitch, glide) * _decay(times, rng.uniform(0.4, 0.7))
    second = membrane(times, 1.35 * 1.59 * pitch, 1.59 * pitch, glide) * _decay(times, rng.uniform(0.2, 0.35))
    stick = band(rng.standard_normal(times.size), 500, 2500, rate) * _decay(times, 0.03)
    return _finish(first + 0.45 * second + rng.uniform(0.1, 0.3) * stick, rate)


def snare(rng: np.random.Generator, rate: int) -> Samples:
    """Snare: two modes of the head and the rattle of the wires."""
    times = times_of(rng.uniform(0.18, 0.35), rate)
    pitch = rng.uniform(170, 240)
    head = membrane(times, 1.2 * pitch, pitch, 0.02) + 0.6 * membrane(times, 1.9 * pitch, 1.6 * pitch, 0.02)
    wires = band(rng.standard_normal(times.size), rng.uniform(900, 1800), 7500, rate)
    wires = wires / np.std(wires) * _decay(times, rng.uniform(0.16, 0.32))
    return _finish(head * _decay(times, rng.uniform(0.1, 0.18)) + rng.uniform(0.35, 0.6) * wires, rate)


def hi_hat(rng: np.random.Generator, rate: int) -> Samples:
    """Closed or half-open hi-hat: six inharmonic square waves and noise, high-passed."""
    times = times_of(rng.uniform(0.06, 0.3), rate)
    base = rng.uniform(300, 420)
    ratios = np.array([1.0, 1.342, 1.2312, 1.6532, 1.9523, 2.1523])
    metal = signal.square(2.0 * np.pi * base * ratios[:, None] * times).sum(axis=0)
    sound = metal / 6.0 + rng.uniform(0.4, 1.0) * rng.standard_normal(times.size)
    high = band(sound, rng.uniform(4800, 5800), 7800, rate, order=4)
    return _finish(high * _decay(times, rng.uniform(0.9, 1.2) * times[-1]), rate)


def clap(rng: np.random.Generator, rate: int) -> Samples:
    """Hand clap: three or four bursts of noise about 10 ms apart, then the room."""
    times = times_of(rng.uniform(0.2, 0.3), rate)
    envelope = np.zeros_like(times)
    onset = 0.0
    for _ in range(int(rng.integers(3, 5))):
        later = np.where(times >= onset, times - onset, np.inf)
        envelope = np.maximum(envelope, rng.uniform(0.7, 1.0) * np.exp(-later / 0.003))
        onset += rng.uniform(0.008, 0.014)
    later = np.where(times >= onset, times - onset, np.inf)
    envelope = np.maximum(envelope, 0.8 * np.exp(-later / rng.uniform(0.02, 0.04)))
    centre = rng.uniform(1000, 1500)
    return _finish(band(rng.standard_normal(times.size), 0.75 * centre, 1.5 * centre, rate) * envelope, rate)


def cowbell(rng: np.random.Generator, rate: int) -> Samples:
    """Cowbell: two square partials a dissonant fifth apart, as in the classic machines."""
    times = times_of(rng.uniform(0.2, 0.4), rate)
    base = rng.uniform(500, 620)
    tone = signal.square(2 * np.pi * base * times) + signal.square(
        2 * np.pi * rng.uniform(1.46, 1.52) * base * times
    )
    envelope = 0.5 * _decay(times, 0.06) + 0.5 * _decay(times, rng.uniform(0.3, 0.5))
    return _finish(band(np.asarray(tone), 450, 4000, rate, order=1) * envelope, rate)


def woodblock(rng: np.random.Generator, rate: int) -> Samples:
    """Woodblock: two short bar modes (ratio 2.5) and a tick."""
    times = times_of(rng.uniform(0.07, 0.12), rate)
    pitch = rng.uniform(800, 1250)
    bar = np.sin(2 * np.pi * pitch * times) * _decay(times, rng.uniform(0.06, 0.1))
    second = np.sin(2 * np.pi * rng.uniform(2.4, 2.6) * pitch * times) * _decay(
        times, rng.uniform(0.02, 0.04)
    )
    tick = band(rng.standard_normal(times.size), 2000, 5000, rate) * _decay(times, 0.008)
    return _finish(bar + 0.5 * second + 0.2 * tick, rate)


def bell(rng: np.random.Generator, rate: int) -> Samples:
    """Small bell: the partials of a struck bell (hum, prime, tierce, quint, nominal and above)."""
    times = times_of(rng.uniform(0.6, 0.9), rate)
    prime = rng.uniform(1000, 1600)
    ratios = np.array([0.5, 1.0, 1.19, 1.5, 2.0, 2.74, 3.0, 3.76]) * rng.uniform(0.995, 1.005, 8)
    levels = np.array([0.35, 0.6, 0.5, 0.25, 1.0, 0.45, 0.3, 0.25]) * rng.uniform(0.7, 1.3, 8)
    sound = np.zeros_like(times)
    # Higher partials die sooner.
    for ratio, level in zip(ratios, levels, strict=True):
        if ratio * prime < 0.47 * rate:
            tone = np.sin(2 * np.pi * ratio * prime * times + rng.uniform(0, 2 * np.pi))
            sound += level * tone * _decay(times, rng.uniform(0.9, 1.4) / (0.6 + 0.4 * ratio))
    return _finish(sound, rate)


RECIPES: dict[str, Recipe] = {
    "bell": bell,
    "clap": clap,
    "cowbell": cowbell,
    "hi-hat": hi_hat,
    "kick": kick,
    "snare": snare,
    "tom": tom,
    "woodblock": woodblock,
}
