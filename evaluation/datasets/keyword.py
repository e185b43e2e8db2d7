"""A keyword in speech: is "seven" among the digits spoken, or not.

Noise or a scene is behind. 8 kHz, as the recordings are. The parts are disjoint by speaker; scenes, where
given, by fold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...runtime.audio.lengths import samples_of
from ...runtime.values.arrays import FloatArray
from .parts import Mixture, Options, Truth
from .sources import (
    SCENES,
    Reader,
    active_part,
    any_background,
    at_peak,
    by_fold,
    by_speaker,
    gain_db,
    placed,
    stretch,
    varied,
)

KEYWORD, DIGIT = "seven", "7"
OTHER = "other"
OTHERS = tuple("012345689")
SECONDS = 3.0
# Power of the speech over that of what is behind it.
RATIO_DB = (10.0, 30.0)
# How much louder or softer each of the other words is than the keyword.
OTHERS_DB = 4.0
LONGEST_S = 0.8
# Ends of a word that are this far below its loudest frame are cut: nobody hears them behind the noise.
FLOOR_DB = 20.0


class Keyword:
    """The recipe over a folder of spoken digits and, where given, one of scenes."""

    sample_rate = 8000
    parts: Mapping[str, int] = {"train": 500, "tune": 40, "test": 40}

    def __init__(self, options: Options) -> None:
        self._speech = by_speaker(options)
        self._scenes = by_fold(options, SCENES) if options.sounds is not None else None
        self._reader = Reader(self.sample_rate)

    def labels(self, part: str) -> tuple[str, ...]:
        """The keyword, and speech without it (which has no events)."""
        return (OTHER, KEYWORD)

    def clip(self, part: str, label: str, random: np.random.Generator) -> Mixture:
        """Two to four words, a voice each, one of them the keyword where the label says so."""
        rate, samples = self.sample_rate, samples_of(SECONDS, self.sample_rate)
        first = DIGIT if label == KEYWORD else str(random.choice(OTHERS))
        chosen = [self._speech.draw(part, first, random)]
        chosen += [
            self._speech.draw(part, str(random.choice(OTHERS)), random) for _ in range(random.integers(1, 4))
        ]
        words = [self._word(self._reader.read(source.path), part, random) for source in chosen]
        while sum(map(len, words)) > 0.9 * samples:
            words.pop()
            chosen.pop()
        order = random.permutation(len(words))
        ratio = float(random.uniform(*RATIO_DB))
        behind, name = self._background(part, samples, random)
        sound = gain_db(-ratio) * behind
        truths: tuple[Truth, ...] = ()
        lengths = [len(word) for word in words]
        for place, start in placed(order, lengths, samples, samples_of(0.02, rate), random):
            end = start + len(words[place])
            sound[start:end] += (
                gain_db(0.0 if place == 0 else random.uniform(-OTHERS_DB, OTHERS_DB)) * words[place]
            )
            if place == 0 and label == KEYWORD:
                truths = (Truth(label, start / rate, end / rate),)
        facts = {
            "first": chosen[0].name,
            "others": [chosen[k].name for k in sorted(order) if k],
            "background": name,
            "ratio_db": round(ratio, 2),
        }
        return Mixture(at_peak(sound, random), truths, chosen[0].recording, chosen[0].fold, facts)

    def info(self) -> Mapping[str, Any]:
        """Speakers and folds of the parts, and the gains."""
        return {
            "speakers": self._speech.held,
            "folds": self._scenes.held if self._scenes else None,
            "ratio_db": RATIO_DB,
            "others_db": OTHERS_DB,
            "seconds": SECONDS,
        }

    def _word(self, sound: FloatArray, part: str, random: np.random.Generator) -> FloatArray:
        """A word at root mean square 1; in the training part at another pace and pitch."""
        if part == "train":
            sound = varied(sound, random, 0.15)
        return active_part(sound, self.sample_rate, LONGEST_S, FLOOR_DB)

    def _background(self, part: str, samples: int, random: np.random.Generator) -> tuple[FloatArray, str]:
        """Synthesised noise, or half of the time a scene; root mean square 1."""
        if self._scenes is None or random.random() < 0.5:
            return any_background(random, samples, self.sample_rate)
        source = self._scenes.draw(part, str(random.choice(SCENES)), random)
        return stretch(self._reader.read(source.path), samples, random), source.name
