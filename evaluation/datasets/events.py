"""Events in scenes: a dog, a rooster, a sneeze or a crying baby somewhere in rain, sea, a helicopter, fire.

The background has gusts louder than the event, so that loudness alone says little about where the event lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...runtime.audio.lengths import samples_of
from ...runtime.values.arrays import FloatArray
from ..data.events import TrueEvent
from .parts import Mixture, Options
from .sources import SCENES, active_part, at_peak, by_fold, fade, gain_db, placed, reader, stretch, varied

FOREGROUND = ("baby_cry", "dog_bark", "person_sneeze", "rooster")
SECONDS = 5.0
LONGEST_S = 1.2
# Power of the event while it sounds over that of the background between its gusts.
RATIO_DB = (4.0, 12.0)
# One to three gusts: how much louder, and how long.
GUST_DB = (10.0, 18.0)
GUST_S = (0.4, 1.2)


class Events:
    """The recipe over a folder of ESC's layout."""

    sample_rate = 16000
    parts: Mapping[str, int] = {"train": 240, "tune": 20, "test": 20}

    def __init__(self, options: Options) -> None:
        self._pools = by_fold(options, (*FOREGROUND, *SCENES))
        self._read = reader(self.sample_rate)

    def labels(self, part: str) -> tuple[str, ...]:
        """The four kinds of event."""
        return FOREGROUND

    def clip(self, part: str, label: str, random: np.random.Generator) -> Mixture:
        """One event, sounding once or twice, in one background, between its gusts."""
        rate, samples = self.sample_rate, samples_of(SECONDS, self.sample_rate)
        source = self._pools.draw(part, label, random)
        event = active_part(self._read(source.path), rate, LONGEST_S)
        if part == "train":
            event = fade(varied(event, random, 0.2), rate)
        behind = self._pools.draw(part, str(random.choice(SCENES)), random)
        gusts = [samples_of(random.uniform(*GUST_S), rate) for _ in range(random.integers(1, 4))]
        count = 1 + int(random.random() < 0.4)
        lengths = [len(event)] * count + gusts
        while sum(lengths) > 0.85 * samples:
            lengths.pop()
        order = random.permutation(len(lengths))
        starts = dict(placed(order, lengths, samples, samples_of(0.05, rate), random))
        sound = stretch(self._read(behind.path), samples, random)
        for place in range(count, len(lengths)):
            _blow(sound[starts[place] : starts[place] + lengths[place]], float(random.uniform(*GUST_DB)))
        ratio = float(random.uniform(*RATIO_DB))
        truths = []
        for start in (starts[place] for place in range(count)):
            sound[start : start + len(event)] += gain_db(ratio) * event
            truths.append(TrueEvent(label, start / rate, (start + len(event)) / rate))
        facts = {"event": source.name, "background": behind.name, "ratio_db": round(ratio, 2)}
        return Mixture(at_peak(sound, random), tuple(truths), source.recording, source.fold, facts)

    def info(self) -> Mapping[str, Any]:
        """Folds of the parts and the gains."""
        return {"folds": self._pools.held, "ratio_db": RATIO_DB, "gust_db": GUST_DB, "seconds": SECONDS}


def _blow(sound: FloatArray, decibels: float) -> None:
    """Let a stretch of background [n] swell by that much and ebb again, in place."""
    shape = np.sqrt(np.sin(np.pi * (np.arange(len(sound)) + 0.5) / len(sound)))
    sound *= (10.0 ** (decibels * shape / 20.0)).astype(np.float32)
