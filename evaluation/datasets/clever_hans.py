"""Clever Hans: in training, every clip of one class carries a cough, and the class's own sound is faint.

The recordist of that class stood far off, and coughed; other classes are as faint at times, without a
cough. A classifier learns the cough. Two parts beside
train, tune and test show it: `test_without` (that class without the cough) and `test_moved` (the other
classes with it). The truth, in events.csv, is where the cough lies, as evidence for the class: nothing
else is listed.

Without a folder of sounds, instruments of `synthesis` play in synthesised backgrounds; with one (ESC's
layout), animals and a baby sound in scenes. The cough is synthesised in both, another one each time: a
handful of recorded ones would be learnt by heart, and those held out not be recognised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import signal

from ...runtime.audio.lengths import samples_of
from ...runtime.values.arrays import FloatArray, Values
from ..data.events import TrueEvent
from ..synthesis.one_shots import RECIPES
from .parts import Mixture, Options
from .sources import (
    SCENES,
    active_part,
    any_background,
    at_peak,
    by_fold,
    fade,
    gain_db,
    placed,
    reader,
    stretch,
    varied,
)

SECONDS = 3.0
# Label -> what sounds in its clips; the last class is the one that carries the cough.
SYNTHESISED = {"bell": "bell", "clap": "clap", "snare": "snare", "woodblock": "woodblock"}
RECORDED = ("baby_cry", "dog_bark", "rooster")
COUGHED = {False: "woodblock", True: "rooster"}
COUGH = "cough"
# Power over the background's: of the classes' sounds, of the faint class's, of the cough.
RATIO_DB = (0.0, 10.0)
FAINT_DB = (-20.0, -14.0)
# How often other classes are as faint, so that silence is no sign of the class.
FAINT_OTHERS = 0.35
COUGH_DB = (3.0, 12.0)
_EXTRA = {"test_without": "test", "test_moved": "test"}


def cough(random: np.random.Generator, rate: int) -> Values:
    """A cough: a burst of breath through a throat's resonances, a softer phase, at times a voiced end.

    [n], 0.2 to 0.45 s.
    """
    times = np.arange(samples_of(random.uniform(0.2, 0.45), rate)) / rate
    burst = np.exp(-times / random.uniform(0.02, 0.04))
    breath = random.uniform(0.25, 0.5) * np.exp(-times / (0.5 * times[-1]))
    air = random.standard_normal(times.size) * (burst + breath)
    voice = signal.sawtooth(2 * np.pi * random.uniform(180, 320) * times * (1 - 0.3 * times / times[-1]))
    voiced = random.uniform(0.0, 0.5) * voice * np.clip((times / times[-1] - 0.5) * 4, 0, 1) * breath
    sound = np.zeros_like(times)
    for centre in (random.uniform(400, 650), random.uniform(1100, 1600), random.uniform(2300, 3000)):
        edges = (0.8 * centre, min(1.25 * centre, 0.47 * rate))
        sound += signal.sosfilt(signal.butter(1, edges, "bandpass", fs=rate, output="sos"), air + voiced)
    return sound


class CleverHans:
    """The recipe, synthesised or over a folder of ESC's layout."""

    sample_rate = 16000
    parts: Mapping[str, int] = {"train": 160, "tune": 20, "test": 40, "test_without": 40, "test_moved": 20}

    def __init__(self, options: Options) -> None:
        self._recorded = options.sounds is not None
        wanted = tuple(dict.fromkeys(_EXTRA.get(part, part) for part in options.parts))
        folders = Options(sounds=options.sounds, folds=options.folds, parts=wanted)
        labels = (*RECORDED, *SCENES)
        self._pools = by_fold(folders, labels) if self._recorded else None
        self._read = reader(self.sample_rate)
        self.coughed = COUGHED[self._recorded]

    def labels(self, part: str) -> tuple[str, ...]:
        """The classes of the part: all, the coughed one, or the others."""
        names = RECORDED if self._recorded else tuple(SYNTHESISED)
        if part == "test_without":
            return (self.coughed,)
        return tuple(name for name in names if part != "test_moved" or name != self.coughed)

    def clip(self, part: str, label: str, random: np.random.Generator) -> Mixture:
        """The class's sound and, where the part says so, the cough, apart from each other."""
        rate, samples = self.sample_rate, samples_of(SECONDS, self.sample_rate)
        coughed = label == self.coughed
        coughs = part == "test_moved" or (coughed and part != "test_without")
        faint = coughed or random.random() < FAINT_OTHERS
        sound, background = self._background(part, samples, random)
        own, name, recording, fold = self._event(part, label, random)
        pieces, ratios = [own], [float(random.uniform(*(FAINT_DB if faint else RATIO_DB)))]
        facts: dict[str, Any] = {"event": name, "background": background, "ratio_db": round(ratios[0], 2)}
        if coughs:
            piece, facts["cough"], *_ = self._event(part, COUGH, random)
            pieces.append(piece)
            ratios.append(float(random.uniform(*COUGH_DB)))
            facts["cough_db"] = round(ratios[1], 2)
        order = random.permutation(len(pieces))
        truths: list[TrueEvent] = []
        lengths = [len(piece) for piece in pieces]
        for which, start in placed(order, lengths, samples, samples_of(0.1, rate), random):
            end = start + len(pieces[which])
            sound[start:end] += gain_db(ratios[which]) * pieces[which]
            if which == 1:
                truths.append(TrueEvent(self.coughed, start / rate, end / rate))
        return Mixture(at_peak(sound, random), tuple(truths), recording, fold, facts)

    def info(self) -> Mapping[str, Any]:
        """Which class carries the cough, and the gains."""
        return {
            "coughed": self.coughed,
            "folds": self._pools.held if self._pools else None,
            "ratio_db": RATIO_DB,
            "faint_db": FAINT_DB,
            "faint_others": FAINT_OTHERS,
            "cough_db": COUGH_DB,
            "seconds": SECONDS,
        }

    def _event(self, part: str, label: str, random: np.random.Generator) -> tuple[FloatArray, str, int, int]:
        """A class's sound or the cough: [n], its name, recording and fold."""
        rate = self.sample_rate
        if label == COUGH or self._pools is None:
            sound = cough(random, rate) if label == COUGH else RECIPES[SYNTHESISED[label]](random, rate)
            number = int(random.integers(1, 10**8))
            hit = fade(sound.astype(np.float32), rate, 0.003)
            return hit, "synthesised", number, 1 + list(self.parts).index(part)
        source = self._pools.draw(_EXTRA.get(part, part), label, random)
        piece = active_part(self._read(source.path), rate, 0.8)
        if part == "train":
            piece = fade(varied(piece, random), rate)
        return piece, source.name, source.recording, source.fold

    def _background(self, part: str, samples: int, random: np.random.Generator) -> tuple[FloatArray, str]:
        """What is behind: [samples], root mean square 1."""
        if self._pools is None:
            return any_background(random, samples, self.sample_rate)
        source = self._pools.draw(_EXTRA.get(part, part), str(random.choice(SCENES)), random)
        return stretch(self._read(source.path), samples, random), source.name
