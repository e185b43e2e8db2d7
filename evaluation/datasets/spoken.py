"""Spoken digits: which digit is it, who speaks, or is "seven" among them. 8 kHz, as the recordings are.

Of `digits` and `speakers` half of what is loud is no evidence: a piece of synthesised babble, about as loud
and as long as the word, lies beside it, and noise behind both. Of `keyword` noise or a scene is behind.
The parts of `digits` and `keyword` are disjoint by speaker, those of `speakers` by take; scenes by fold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...runtime.audio.lengths import samples_of
from ...runtime.values.arrays import FloatArray
from ..data.events import TrueEvent
from ..synthesis.backgrounds import speech_like
from .parts import Mixture, Options
from .sources import (
    SCENES,
    Pools,
    SourceSound,
    active_part,
    any_background,
    at_peak,
    by_fold,
    by_speaker,
    by_take,
    fade,
    gain_db,
    placed,
    reader,
    stretch,
    varied,
)

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SECONDS = 1.5
# Power of the word over that of the noise, and of the babble over that of the word.
RATIO_DB = (10.0, 30.0)
BABBLE_DB = (-4.0, 4.0)
LONGEST_S = 0.6
# Ends of a word that are this far below its loudest frame are cut: they are inaudible behind the noise.
FLOOR_DB = 20.0


class _Spoken:
    """A word of a label, and babble before or behind it."""

    sample_rate = 8000

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._read = reader(self.sample_rate)

    def info(self) -> Mapping[str, Any]:
        """What the parts hold, and the gains."""
        return {
            "held": self._pools.held,
            "ratio_db": RATIO_DB,
            "babble_db": BABBLE_DB,
            "seconds": SECONDS,
        }

    def _clip(self, source: SourceSound, part: str, label: str, random: np.random.Generator) -> Mixture:
        rate, samples = self.sample_rate, samples_of(SECONDS, self.sample_rate)
        sound = self._read(source.path)
        if part == "train":
            sound = self._changed(sound, random)
        word = active_part(sound, rate, LONGEST_S, FLOOR_DB)
        length = samples_of(float(random.uniform(0.25, LONGEST_S)), rate)
        babble = gain_db(random.uniform(*BABBLE_DB)) * fade(
            speech_like(random, length, rate).astype(np.float32), rate
        )
        ratio = float(random.uniform(*RATIO_DB))
        background, name = any_background(random, samples, rate)
        mixed = gain_db(-ratio) * background
        order = random.permutation(2)
        starts = dict(placed(order, (len(word), length), samples, samples_of(0.02, rate), random))
        for kind, piece in enumerate((word, babble)):
            mixed[starts[kind] : starts[kind] + len(piece)] += piece
        truth = TrueEvent(label, starts[0] / rate, (starts[0] + len(word)) / rate)
        facts = {"word": source.name, "background": name, "ratio_db": round(ratio, 2)}
        return Mixture(at_peak(mixed, random), (truth,), source.recording, source.fold, facts)

    def _changed(self, sound: FloatArray, random: np.random.Generator) -> FloatArray:
        """A recording of the training part, changed in what the label does not depend on."""
        return varied(sound, random, 0.15)


class Digits(_Spoken):
    """Which digit: the speakers of a part are in no other."""

    parts: Mapping[str, int] = {"train": 100, "tune": 12, "test": 12}

    def __init__(self, options: Options) -> None:
        super().__init__(by_speaker(options))

    def labels(self, part: str) -> tuple[str, ...]:
        """The ten digits in words."""
        return DIGITS

    def clip(self, part: str, label: str, random: np.random.Generator) -> Mixture:
        """The digit, by anybody of the part."""
        source = self._pools.draw(part, str(DIGITS.index(label)), random)
        return self._clip(source, part, label, random)


class Speakers(_Spoken):
    """Who speaks: all speakers are in all parts, no recording is in two."""

    parts: Mapping[str, int] = {"train": 200, "tune": 24, "test": 24}

    def __init__(self, options: Options) -> None:
        pools, self._names = by_take(options)
        super().__init__(pools)

    def labels(self, part: str) -> tuple[str, ...]:
        """The speakers by name."""
        return self._names

    def clip(self, part: str, label: str, random: np.random.Generator) -> Mixture:
        """Any digit, by the speaker."""
        return self._clip(self._pools.draw(part, label, random), part, label, random)

    def _changed(self, sound: FloatArray, random: np.random.Generator) -> FloatArray:
        """As it is: pace and pitch are the speaker's."""
        return sound


KEYWORD, DIGIT = "seven", "7"
OTHER = "other"
OTHERS = tuple("012345689")
KEYWORD_SECONDS = 3.0
# How much louder or softer each of the other words is than the keyword.
OTHERS_DB = 4.0
KEYWORD_LONGEST_S = 0.8


class Keyword:
    """The recipe over a folder of spoken digits and, where given, one of scenes."""

    sample_rate = 8000
    parts: Mapping[str, int] = {"train": 500, "tune": 40, "test": 40}

    def __init__(self, options: Options) -> None:
        self._speech = by_speaker(options)
        self._scenes = by_fold(options, SCENES) if options.sounds is not None else None
        self._read = reader(self.sample_rate)

    def labels(self, part: str) -> tuple[str, ...]:
        """The keyword, and speech without it (which has no events)."""
        return (OTHER, KEYWORD)

    def clip(self, part: str, label: str, random: np.random.Generator) -> Mixture:
        """Two to four words, a voice each, one of them the keyword where the label says so."""
        rate, samples = self.sample_rate, samples_of(KEYWORD_SECONDS, self.sample_rate)
        first = DIGIT if label == KEYWORD else str(random.choice(OTHERS))
        chosen = [self._speech.draw(part, first, random)]
        chosen += [
            self._speech.draw(part, str(random.choice(OTHERS)), random) for _ in range(random.integers(1, 4))
        ]
        words = [self._word(self._read(source.path), part, random) for source in chosen]
        while sum(map(len, words)) > 0.9 * samples:
            words.pop()
            chosen.pop()
        order = random.permutation(len(words))
        ratio = float(random.uniform(*RATIO_DB))
        behind, name = self._background(part, samples, random)
        sound = gain_db(-ratio) * behind
        truths: tuple[TrueEvent, ...] = ()
        lengths = [len(word) for word in words]
        for place, start in placed(order, lengths, samples, samples_of(0.02, rate), random):
            end = start + len(words[place])
            sound[start:end] += (
                gain_db(0.0 if place == 0 else random.uniform(-OTHERS_DB, OTHERS_DB)) * words[place]
            )
            if place == 0 and label == KEYWORD:
                truths = (TrueEvent(label, start / rate, end / rate),)
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
            "seconds": KEYWORD_SECONDS,
        }

    def _word(self, sound: FloatArray, part: str, random: np.random.Generator) -> FloatArray:
        """A word at root mean square 1; in the training part at another pace and pitch."""
        if part == "train":
            sound = varied(sound, random, 0.15)
        return active_part(sound, self.sample_rate, KEYWORD_LONGEST_S, FLOOR_DB)

    def _background(self, part: str, samples: int, random: np.random.Generator) -> tuple[FloatArray, str]:
        """Synthesised noise, or half of the time a scene; root mean square 1."""
        if self._scenes is None or random.random() < 0.5:
            return any_background(random, samples, self.sample_rate)
        source = self._scenes.draw(part, str(random.choice(SCENES)), random)
        return stretch(self._read(source.path), samples, random), source.name
