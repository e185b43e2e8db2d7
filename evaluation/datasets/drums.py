"""Drums: ten hits laid end to end; the label is the number of kicks among them, none included.

As in Bolanos et al. (arXiv 2506.04391), with hits that are synthesised: every one has its own pitch, glide,
colour, decay and length, drawn by the clip's seed, so no hit is in two parts. They are made of the same skins
and noise as the one-shots (`synthesis/one_shots.py`), each as long as it is told to be. No source is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import signal

from ..data.events import TrueEvent
from ..synthesis.one_shots import Samples, band, membrane, times_of
from .parts import Mixture, Options
from .sources import at_peak, fade

HITS = 10
MOST_KICKS = 5
SHORTEST_S, LONGEST_S = 0.1, 1.0
# What tells a kick is its start: of a kick of 1 s, nine tenths would be no evidence for anybody.
LONGEST_KICK_S = 0.4
# The whole clip: hits are drawn until they fit.
SECONDS = (2.0, 4.0)
NOISE_DB = (-45.0, -25.0)


def _ring(times: Samples, random: np.random.Generator) -> Samples:
    """The envelope: 20 to 30 dB down where the hit ends, so that it sounds as long as it is said to."""
    return np.asarray(10.0 ** (-random.uniform(20, 30) / 20.0 * times / times[-1]))


def _noise(times: Samples, low_hz: float, high_hz: float, rate: int, random: np.random.Generator) -> Samples:
    """Band-passed noise, standard deviation 1."""
    sound = band(random.standard_normal(times.size), low_hz, high_hz, rate)
    return np.asarray(sound / np.std(sound))


def kick(seconds: float, rate: int, random: np.random.Generator) -> Samples:
    """Bass drum: a falling low sine, driven, and the beater's click."""
    times = times_of(seconds, rate)
    skin = membrane(times, random.uniform(130, 240), random.uniform(42, 65), random.uniform(0.02, 0.05))
    click = _noise(times, 900, 3500, rate, random) * np.exp(-times / 0.004)
    return np.asarray(np.tanh(random.uniform(1.0, 2.5) * skin * _ring(times, random)) + 0.15 * click)


def tom(seconds: float, rate: int, random: np.random.Generator) -> Samples:
    """Tom: two tuned modes that hardly fall, and the stick."""
    times, pitch = times_of(seconds, rate), random.uniform(110, 220)
    modes = membrane(times, 1.2 * pitch, pitch, 0.08) + 0.4 * membrane(times, 1.9 * pitch, 1.59 * pitch, 0.08)
    stick = _noise(times, 500, 2500, rate, random) * np.exp(-times / 0.006)
    return np.asarray(modes * _ring(times, random) + 0.15 * stick)


def snare(seconds: float, rate: int, random: np.random.Generator) -> Samples:
    """Snare: the head's modes and the wires' rattle."""
    times, pitch = times_of(seconds, rate), random.uniform(170, 240)
    head = membrane(times, 1.2 * pitch, pitch, 0.02) * np.exp(-times / 0.05)
    return np.asarray(
        (head + random.uniform(0.4, 0.7) * _noise(times, random.uniform(900, 1800), 7500, rate, random))
        * _ring(times, random)
    )


def hat(seconds: float, rate: int, random: np.random.Generator) -> Samples:
    """Hi-hat or cymbal: high noise and inharmonic metal."""
    times, base = times_of(seconds, rate), random.uniform(300, 420)
    ratios = np.array([1.0, 1.342, 1.2312, 1.6532, 1.9523, 2.1523])
    metal = signal.square(2.0 * np.pi * base * ratios[:, None] * times).sum(axis=0)
    high = signal.butter(4, random.uniform(4000, 5500), "highpass", fs=rate, output="sos")
    sound = signal.sosfilt(high, metal / 6.0 + random.uniform(0.3, 1.0) * random.standard_normal(times.size))
    return np.asarray(sound * _ring(times, random))


def clap(seconds: float, rate: int, random: np.random.Generator) -> Samples:
    """Clap: three bursts and the room."""
    times, centre = times_of(seconds, rate), random.uniform(1000, 1500)
    bursts = sum(np.where(times >= on, np.exp(-(times - on) / 0.004), 0.0) for on in (0.0, 0.011, 0.022))
    return np.asarray(
        _noise(times, 0.75 * centre, 1.5 * centre, rate, random) * (bursts + 0.6 * _ring(times, random))
    )


OTHERS: Mapping[str, Callable[[float, int, np.random.Generator], Samples]] = {
    "clap": clap,
    "hat": hat,
    "snare": snare,
    "tom": tom,
}


class Drums:
    """The recipe; it needs no source."""

    sample_rate = 16000
    parts: Mapping[str, int] = {"train": 200, "tune": 15, "test": 15}

    def __init__(self, options: Options) -> None:
        del options

    def labels(self, part: str) -> tuple[str, ...]:
        """k0 (no kick) to k5."""
        return tuple(f"k{number}" for number in range(MOST_KICKS + 1))

    def clip(self, part: str, label: str, random: np.random.Generator) -> Mixture:
        """Ten hits, that many of them kicks, in any order."""
        rate, kicks = self.sample_rate, int(label[1:])
        kinds = ["kick"] * kicks + [str(kind) for kind in random.choice(sorted(OTHERS), HITS - kicks)]
        random.shuffle(kinds)
        while True:
            longest = [LONGEST_KICK_S if kind == "kick" else LONGEST_S for kind in kinds]
            lengths = np.exp(random.uniform(np.log(SHORTEST_S), np.log(longest)))
            if SECONDS[0] <= lengths.sum() <= SECONDS[1]:
                break
        hits, truths, used = [], [], 0
        for kind, seconds in zip(kinds, lengths, strict=True):
            hit = fade((OTHERS.get(kind) or kick)(float(seconds), rate, random).astype(np.float32), rate)
            hits.append(hit / np.max(np.abs(hit)) * np.float32(random.uniform(0.5, 1.0)))
            if kind == "kick":
                truths.append(TrueEvent(label, used / rate, (used + len(hit)) / rate))
            used += len(hit)
        sound = np.concatenate(hits)
        hiss = float(random.uniform(*NOISE_DB))
        sound += (10.0 ** (hiss / 20.0) * random.standard_normal(len(sound))).astype(np.float32)
        facts = {"hits": kinds, "lengths_s": [round(float(s), 3) for s in lengths], "hiss_db": round(hiss, 1)}
        # Every clip is a recording of its own.
        number = int(random.integers(1, 10**8))
        return Mixture(at_peak(sound, random), tuple(truths), number, 1 + list(self.parts).index(part), facts)

    def info(self) -> Mapping[str, Any]:
        """Lengths and noise."""
        return {
            "hits": HITS,
            "hit_seconds": (SHORTEST_S, LONGEST_S),
            "longest_kick_s": LONGEST_KICK_S,
            "seconds": SECONDS,
            "hiss_db": NOISE_DB,
        }
