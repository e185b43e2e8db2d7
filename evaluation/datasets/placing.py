"""Placing events in a background at known times, at a known ratio to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ...errors import DataError
from ...runtime.values.arrays import FloatArray
from ..synthesis.backgrounds import BACKGROUNDS


def places(lengths: Sequence[int], samples: int, gap: int, random: np.random.Generator) -> list[int]:
    """First samples of events laid in this order without overlap, at least `gap` apart and from the edges.

    The free time is dealt at random between them. Raises DataError where they do not fit.
    """
    free = samples - sum(lengths) - gap * (len(lengths) + 1)
    if free < 0:
        raise DataError("the events do not fit into the clip; this is a defect of the set's recipe")
    cuts = np.sort(random.integers(0, free + 1, len(lengths)))
    starts: list[int] = []
    used = 0
    for position, (cut, length) in enumerate(zip(cuts, lengths, strict=True)):
        starts.append(int(cut) + used + gap * (position + 1))
        used += length
    return starts


def placed(
    order: Iterable[int], lengths: Sequence[int], samples: int, gap: int, random: np.random.Generator
) -> list[tuple[int, int]]:
    """The events, numbered as `lengths`, in this order, each with where it begins; see `places`."""
    numbers = [int(number) for number in order]
    return list(zip(numbers, places([lengths[k] for k in numbers], samples, gap, random), strict=True))


def any_background(random: np.random.Generator, samples: int, rate: int) -> tuple[FloatArray, str]:
    """One of the synthesised backgrounds, and its name."""
    name = str(random.choice(sorted(BACKGROUNDS)))
    return BACKGROUNDS[name](random, samples, rate).astype(np.float32), name


def gain_db(decibels: float) -> np.float32:
    """Amplitude factor."""
    return np.float32(10.0 ** (decibels / 20.0))


def at_peak(sound: FloatArray, random: np.random.Generator) -> FloatArray:
    """[n] with a peak drawn from 0.5 to 0.95."""
    peak = float(np.max(np.abs(sound), initial=0.0))
    scale = random.uniform(0.5, 0.95)
    return np.asarray(sound * np.float32(scale / peak) if peak > 0 else sound, np.float32)
