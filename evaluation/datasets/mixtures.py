"""Mixtures: two sounds of different classes in every clip, for classifiers of several labels.

Any folder of class folders in ESC's layout serves. Both sounds come from one fold, so that a fold held out
holds out both of their recordings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import DataError
from ...runtime.audio.lengths import samples_of
from ...runtime.values.arrays import FloatArray
from ..data.events import TrueEvent
from ..data.folder import list_sounds
from .parts import Mixture, Options
from .sources import (
    SourceSound,
    active_stretches,
    at_peak,
    by_fold,
    fade,
    gain_db,
    loudest_stretch,
    reader,
    varied,
)

SECONDS = 5.0
# How long each of the two is, and where: they may overlap, and mostly do.
LENGTH_S = (2.0, 4.0)
# Power of the second over that of the first, each while it sounds.
RATIO_DB = (-6.0, 6.0)
# A soft noise below both, so that nothing is digital silence.
NOISE_DB = (-50.0, -35.0)


class Mixtures:
    """The recipe over a folder of ESC's layout; its classes are the labels."""

    sample_rate = 16000
    parts: Mapping[str, int] = {"train": 60, "tune": 10, "test": 15}

    def __init__(self, options: Options) -> None:
        classes = list_sounds(options.sounds).labels if options.sounds is not None else ()
        self._pools = by_fold(options, classes)
        self._classes = tuple(classes)
        self._read = reader(self.sample_rate)

    def labels(self, part: str) -> tuple[str, ...]:
        """The first label of a clip."""
        return self._classes

    def clip(self, part: str, label: str, random: np.random.Generator) -> Mixture:
        """A sound of the label and one of another class and the same fold, at random places."""
        rate, samples = self.sample_rate, samples_of(SECONDS, self.sample_rate)
        first = self._pools.draw(part, label, random)
        sources = (first, self._other(part, first, random))
        ratio = float(random.uniform(*RATIO_DB))
        sound = gain_db(random.uniform(*NOISE_DB)) * random.standard_normal(samples).astype(np.float32)
        truths: list[TrueEvent] = []
        for source, decibels in zip(sources, (0.0, ratio), strict=True):
            piece, stretches = self._piece(source, part, random)
            start = int(random.integers(samples - len(piece) + 1))
            sound[start : start + len(piece)] += gain_db(decibels) * piece
            truths += [TrueEvent(source.label, (start + a) / rate, (start + b) / rate) for a, b in stretches]
        facts = {"sources": [source.name for source in sources], "ratio_db": round(ratio, 2)}
        both = tuple(source.label for source in sources)
        return Mixture(at_peak(sound, random), tuple(truths), first.recording, first.fold, facts, both)

    def info(self) -> Mapping[str, Any]:
        """Folds of the parts, labels and gains."""
        return {
            "folds": self._pools.held,
            "labels": list(self._classes),
            "ratio_db": RATIO_DB,
            "noise_db": NOISE_DB,
            "seconds": SECONDS,
        }

    def _other(self, part: str, first: SourceSound, random: np.random.Generator) -> SourceSound:
        """A sound of any other class, all alike, out of the same fold."""
        near = {
            label: [source for source in self._pools.pools[part, label] if source.fold == first.fold]
            for label in self._classes
            if label != first.label
        }
        able = [label for label, free in near.items() if free]
        if not able:
            raise DataError(f"{first.name}: no other class has a clip of fold {first.fold} to mix with")
        free = near[able[int(random.integers(len(able)))]]
        return free[int(random.integers(len(free)))]

    def _piece(
        self, source: SourceSound, part: str, random: np.random.Generator
    ) -> tuple[FloatArray, list[tuple[int, int]]]:
        """The loudest stretch [n] of a drawn length, and where in it something sounds.

        Root mean square 1 over what sounds.
        """
        sound = self._read(source.path)
        if part == "train":
            sound = varied(sound, random)
        sound = loudest_stretch(sound, self.sample_rate, float(random.uniform(*LENGTH_S)))
        piece = fade(sound, self.sample_rate)
        stretches = active_stretches(piece, self.sample_rate)
        kept = np.concatenate([piece[start:end] for start, end in stretches])
        level = float(np.sqrt(np.mean(np.square(kept, dtype=np.float64))))
        return piece / np.float32(level or 1.0), stretches
