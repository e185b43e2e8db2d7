"""Field: events planted in long scenes at stated levels, for whoever looks for events in recordings.

A scene is a synthesised background with events that never overlap. An event is a clip of a class, from its
first to its last loud frame, or a synthesised one-shot. Its level is its power while it is loud over that of
the background: the levels stated, in turn. Settings can be chosen on the scenes of `tune` and judged by those
of `test`: no recording is in both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import DataError
from ...runtime.audio.lengths import samples_of
from ...runtime.values.arrays import FloatArray
from ..data.events import TrueEvent
from ..data.folder import Clip, list_sounds
from ..synthesis.backgrounds import BACKGROUNDS
from ..synthesis.one_shots import RECIPES
from .parts import Mixture, Options
from .sources import active_stretches, at_peak, gain_db, loudest_stretch, places, ramped, reader

SCENES = "scenes"
MINUTES = 5.0
PER_MINUTE = 3.0
LEVELS_DB = (20.0, 10.0, 0.0)
# Of events; more of a clip is no event.
LONGEST_S = 10.0
# Between events, and from the edges.
APART_S = 1.0


class Field:
    """The recipe over a folder of class folders; without one, over synthesised one-shots."""

    sample_rate = 16000
    parts: Mapping[str, int] = {"tune": 4, "test": 8}

    def __init__(self, options: Options) -> None:
        self._levels = options.levels or LEVELS_DB
        self._samples = samples_of(60.0 * (options.minutes or MINUTES), self.sample_rate)
        asked = PER_MINUTE * (options.minutes or MINUTES) if options.events is None else options.events
        self._events = max(1, round(asked))
        self._read = reader(self.sample_rate)
        self._clips = _dealt(options, ("test", "tune")) if options.sounds is not None else None
        self._labels = tuple(sorted(self._clips["test"] if self._clips else RECIPES))
        # A background that bears a label's name would be an event that nobody planted.
        known = [name for name in sorted(BACKGROUNDS) if name not in self._labels]
        self._backgrounds = options.backgrounds or tuple(known)
        for name in self._backgrounds:
            if name not in BACKGROUNDS:
                raise DataError(f"there is no background {name!r}; there are {', '.join(BACKGROUNDS)}")

    def labels(self, part: str) -> tuple[str, ...]:
        """One folder: a scene has no label of its own."""
        return (SCENES,)

    def clip(self, part: str, label: str, random: np.random.Generator) -> Mixture:
        """A scene with its events."""
        rate = self.sample_rate
        background = str(random.choice(self._backgrounds))
        scene = BACKGROUNDS[background](random, self._samples, rate).astype(np.float32)
        drawn = [self._event(part, random) for _ in range(self._events)]
        lengths, gap = [len(sound) for _, _, sound in drawn], samples_of(APART_S, rate)
        if sum(lengths) + gap * (len(lengths) + 1) > len(scene):
            raise DataError(
                f"{self._events} events do not fit into a scene of {len(scene) / rate / 60:g} minutes, "
                f"{APART_S:g} s apart; ask for fewer, or longer scenes"
            )
        truths, sources = [], []
        for number, (start, (name, source, sound)) in enumerate(
            zip(places(lengths, len(scene), gap, random), drawn, strict=True)
        ):
            level_db = float(self._levels[number % len(self._levels)])
            scene[start : start + len(sound)] += gain_db(level_db) * sound
            truths.append(TrueEvent(name, start / rate, (start + len(sound)) / rate, level_db))
            sources.append(source)
        part_number = 1 + list(self.parts).index(part)
        facts = {"background": background, "events": sources}
        return Mixture(
            at_peak(scene, random), tuple(truths), int(random.integers(1, 10**8)), part_number, facts
        )

    def info(self) -> Mapping[str, Any]:
        """Levels, lengths, counts."""
        return {
            "labels": self._labels,
            "levels_db": self._levels,
            "scene_seconds": self._samples / self.sample_rate,
            "events_per_scene": self._events,
            "backgrounds": self._backgrounds,
            "recordings": {
                part: sum(len({one.recording for one in clips}) for clips in pools.values())
                for part, pools in (self._clips or {}).items()
            },
        }

    def _event(self, part: str, random: np.random.Generator) -> tuple[str, str, FloatArray]:
        """An event of any label, all labels alike: label, source, sound of mean square 1 while it is loud."""
        label = self._labels[int(random.integers(len(self._labels)))]
        if self._clips is None:
            name, sound = "synthesised", RECIPES[label](random, self.sample_rate).astype(np.float32)
        else:
            pool = self._clips[part][label]
            clip = pool[int(random.integers(len(pool)))]
            name = clip.name
            sound = loudest_stretch(self._read(clip.path), self.sample_rate, LONGEST_S)
        loud = active_stretches(sound, self.sample_rate)
        level = np.sqrt(np.mean(np.concatenate([sound[start:end] for start, end in loud]) ** 2))
        if not level > 0:
            raise DataError(f"{name}: is silent, and no event; take it out of the folder")
        return label, name, ramped(sound[loud[0][0] : loud[-1][1]] / level, self.sample_rate)


def _dealt(options: Options, parts: Sequence[str]) -> dict[str, dict[str, list[Clip]]]:
    """The clips of each part by label; recordings that several parts may use are dealt to them in turn.

    A part uses the folds that it is given, else all that are given to no other. Raises DataError: a part that
    is to be made has no recording of a label.
    """
    folder = list_sounds(options.sounds or "", fewest_classes=1)
    given = {fold for part in parts for fold in options.folds.get(part, ())}
    dealt: dict[str, str] = {}
    turns: Counter[tuple[str, ...]] = Counter()
    pools: dict[str, dict[str, list[Clip]]] = {part: {label: [] for label in folder.labels} for part in parts}
    for clip in sorted(folder.clips, key=lambda one: (one.label, one.recording, one.name)):
        takers = tuple(
            part
            for part in parts
            if (clip.fold in options.folds[part] if part in options.folds else clip.fold not in given)
        )
        if takers and clip.recording not in dealt:
            dealt[clip.recording] = takers[turns[takers] % len(takers)]
            turns[takers] += 1
        if takers:
            pools[dealt[clip.recording]].setdefault(clip.label, []).append(clip)
    for part in options.parts or parts:
        for label, clips in pools.get(part, {}).items():
            if not clips:
                raise DataError(
                    f"{folder.path / label}: no recording is left for the part {part}; make another part "
                    "alone (--parts), or give other folds"
                )
    return pools
