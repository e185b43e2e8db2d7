"""The sounds that a set is mixed from, an ESC folder by fold, spoken digits by speaker; and their places."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soxr

from ...errors import DataError
from ...runtime.audio.lengths import samples_of
from ...runtime.audio.listing import list_sound_files
from ...runtime.values.arrays import FloatArray, Values
from ..data.folder import Clip, list_sounds, load_sound
from ..synthesis.backgrounds import BACKGROUNDS
from .parts import Options

# ESC's classes that are scenes, and which of its folds go where, unless others are asked for.
SCENES = ("fire_crackling", "helicopter", "rain", "sea_waves")
FOLDS: Mapping[str, tuple[int, ...]] = {"train": (1, 2), "tune": (3,), "test": (4,)}
_SPOKEN = re.compile(r"^(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<take>\d+)$")
# Where parts are disjoint by take: which of each run of takes go where; the others are trained on.
_TAKES, _TAKES_OF = 5, {0: "test", 1: "tune"}
# The envelope that finds an event: frames of this length; shorter gaps are closed.
_FRAME_S = 0.02
_GAP_S = 0.15


@dataclass(frozen=True)
class SourceSound:
    """One source sound: its file, name for the notes, label, number of its recording, fold or speaker."""

    path: Path
    name: str
    label: str
    recording: int
    fold: int


def by_fold(options: Options, labels: Sequence[str]) -> Pools:
    """The clips of these classes of `options.sounds`, a pool a part and label, parts disjoint by fold.

    Raises DataError: no folder given, a class or a fold that is not there, a fold in two parts.
    """
    if options.sounds is None:
        raise DataError("this set is mixed from sounds: name their folder with --from (ESC-10's layout)")
    folder = list_sounds(options.sounds, fewest_classes=1)
    for label in labels:
        if label not in folder.labels:
            raise DataError(
                f"{folder.path}: no class folder {label!r}; it has {', '.join(folder.labels[:12])}"
            )
    # A part that is not made holds nothing back.
    wanted = options.parts or tuple(FOLDS)
    folds = {part: options.folds.get(part, numbers) for part, numbers in FOLDS.items() if part in wanted}
    have = sorted({clip.fold for clip in folder.clips if clip.fold is not None})
    _disjoint(folds, "fold")
    pools: dict[tuple[str, str], list[SourceSound]] = {}
    for part, numbers in folds.items():
        for label in labels:
            chosen = [_esc(clip) for clip in folder.clips if clip.label == label and clip.fold in numbers]
            if not chosen:
                raise DataError(
                    f"{folder.path / label}: no clip of fold {_list(numbers)} for the {part} part; folds "
                    f"there are {_list(have) or 'none: names do not begin with <fold>-<recording>-<take>'}"
                )
            pools[part, label] = chosen
    return Pools(pools, {part: list(numbers) for part, numbers in folds.items()})


def by_speaker(options: Options) -> Pools:
    """The recordings of `options.speech`, a pool a part and digit, parts disjoint by speaker.

    Of the speakers in order of name the last is tested, the one before tuned on, the others trained on,
    unless `options.speakers` says otherwise. Raises DataError: no folder, too few speakers, an unknown one.
    """
    matches = _spoken(options)
    speakers = sorted({match["speaker"] for _, match in matches})
    named = dict(options.speakers)
    free = [name for name in speakers if not any(name in some for some in named.values())]
    for part in ("test", "tune"):
        if part not in named:
            named[part] = (free.pop(),) if free else ()
    named.setdefault("train", tuple(free))
    _disjoint(named, "speaker")
    wanted = options.parts or tuple(named)
    for part in wanted:
        for name in named.get(part, ()):
            if name not in speakers:
                raise DataError(f"{options.speech}: no speaker {name!r}; there are {', '.join(speakers)}")
        if part in named and not named[part]:
            raise DataError(f"{options.speech}: no speaker is left for the {part} part; three are needed")
    pools: dict[tuple[str, str], list[SourceSound]] = {}
    for path, match in matches:
        speaker = match["speaker"]
        for part, some in named.items():
            if speaker in some:
                source = _word(path, match, match["digit"], speakers.index(speaker))
                pools.setdefault((part, match["digit"]), []).append(source)
    return Pools(pools, {part: list(some) for part, some in named.items()})


def by_take(options: Options) -> tuple[Pools, tuple[str, ...]]:
    """The recordings of `options.speech`, a pool a part and speaker, parts disjoint by take; the speakers.

    Of five takes in a row the first is tested, the second tuned on, the others trained on.
    Raises DataError: no folder, fewer than two speakers, a part without takes.
    """
    matches = _spoken(options)
    speakers = sorted({match["speaker"] for _, match in matches})
    if len(speakers) < 2:
        raise DataError(f"{options.speech}: only {speakers[0]!r} speaks; two speakers are needed")
    pools: dict[tuple[str, str], list[SourceSound]] = {}
    takes: dict[str, set[int]] = {"train": set(), "tune": set(), "test": set()}
    for path, match in matches:
        take, speaker = int(match["take"]), match["speaker"]
        part = _TAKES_OF.get(take % _TAKES, "train")
        takes[part].add(take)
        pools.setdefault((part, speaker), []).append(_word(path, match, speaker, speakers.index(speaker)))
    held = {part: sorted(some) for part, some in takes.items()}
    return Pools(pools, held), tuple(speakers)


def _spoken(options: Options) -> list[tuple[Path, re.Match[str]]]:
    """The recordings of `options.speech` with what their names say. Raises DataError where there are none."""
    if options.speech is None:
        raise DataError("this set is mixed from spoken digits: name their folder with --speech (FSDD's)")
    if not options.speech.is_dir():
        raise DataError(f"{options.speech}: no such folder; give one of <digit>_<speaker>_<take>.wav")
    matches = [
        (path, match)
        for path in list_sound_files(options.speech, recursive=False).files
        if (match := _SPOKEN.match(path.stem))
    ]
    if not matches:
        raise DataError(f"{options.speech}: no file is named <digit>_<speaker>_<take>, as 7_anna_12.wav")
    return matches


def _word(path: Path, match: re.Match[str], label: str, speaker: int) -> SourceSound:
    """A recording of a digit by the speaker of this number."""
    recording = 10 * (1000 * speaker + int(match["take"])) + int(match["digit"])
    return SourceSound(path, path.name, label, recording, 1 + speaker)


@dataclass(frozen=True)
class Pools:
    """Sources by (part, label), and what each part holds (folds or speakers)."""

    pools: Mapping[tuple[str, str], list[SourceSound]]
    held: Mapping[str, list[int] | list[str]]

    def draw(self, part: str, label: str, random: np.random.Generator) -> SourceSound:
        """Any of them, all alike. Raises DataError where the pool is empty."""
        pool = self.pools.get((part, label), [])
        if not pool:
            raise DataError(f"the {part} part has no source of {label!r}")
        return pool[int(random.integers(len(pool)))]


def reader(sample_rate: int) -> Callable[[Path], FloatArray]:
    """Reads sources, mono [samples] at one rate, and remembers them (a few tens of MB)."""
    return cache(lambda path: load_sound(path, sample_rate))


def active_stretches(sound: FloatArray, rate: int, floor_db: float = 25.0) -> list[tuple[int, int]]:
    """Where a sound [n] is within `floor_db` of its loudest frame, gaps closed: (start, end) in samples."""
    power, frame = _power(sound, rate)
    return [(start * frame, end * frame) for start, end in _loud(power, floor_db)]


def active_part(sound: FloatArray, rate: int, longest_s: float, floor_db: float = 25.0) -> FloatArray:
    """The stretch of an event with the most energy: within `floor_db` of its loudest frame, gaps closed.

    Cut to `longest_s` around its loudest frame's start, with fades of 5 ms; root mean square 1.
    """
    power, frame = _power(sound, rate)
    first, last = max(_loud(power, floor_db), key=lambda s: float(power[s[0] : s[1]].sum()))
    most = round(longest_s / _FRAME_S)
    if last - first > most:
        first += _loudest(power[first:last], most)
        last = first + most
    return fade(sound[first * frame : last * frame], rate)


def loudest_stretch(sound: FloatArray, rate: int, seconds: float) -> FloatArray:
    """The `seconds` of a sound [n] with the most energy; all of a shorter one."""
    power, frame = _power(sound, rate)
    most = round(seconds / _FRAME_S)
    if most >= len(power):
        return sound
    first = _loudest(power, most)
    return sound[first * frame : (first + most) * frame]


def _loudest(power: Values, count: int) -> int:
    """Where the window of `count` frames with the most energy begins."""
    return int(np.convolve(power, np.ones(count), "valid").argmax())


def _power(sound: FloatArray, rate: int) -> tuple[Values, int]:
    """The mean square of each frame, and a frame's samples; what is left over at the end is passed over."""
    frame = max(1, samples_of(_FRAME_S, rate))
    count = max(1, len(sound) // frame)
    power = [float(np.mean(sound[i * frame : (i + 1) * frame] ** 2)) for i in range(count)]
    return np.array(power), frame


def _loud(power: Values, floor_db: float) -> list[tuple[int, int]]:
    """Stretches of frames (start, end) that are loud, short gaps closed; all of it in silence."""
    loud = power > power.max() * 10 ** (-floor_db / 10)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(np.int8), [0]])))
    parts: list[tuple[int, int]] = []
    for start, end in edges.reshape(-1, 2).tolist():
        if parts and (start - parts[-1][1]) * _FRAME_S <= _GAP_S:
            parts[-1] = (parts[-1][0], end)
        else:
            parts.append((start, end))
    return parts or [(0, len(power))]


def fade(sound: FloatArray, rate: int, seconds: float = 0.005) -> FloatArray:
    """[n] with soft ends and root mean square 1 (zeros stay zeros)."""
    out = ramped(sound, rate, seconds)
    level = float(np.sqrt(np.mean(out**2))) if len(out) else 0.0
    return out / np.float32(level) if level > 0 else out


def ramped(sound: FloatArray, rate: int, seconds: float = 0.005) -> FloatArray:
    """[n] with soft ends."""
    edge = min(len(sound) // 2, max(1, samples_of(seconds, rate)))
    out = sound.astype(np.float32, copy=True)
    ramp = np.linspace(0.0, 1.0, edge, dtype=np.float32)
    out[:edge] *= ramp
    out[len(out) - edge :] *= ramp[::-1]
    return out


def varied(sound: FloatArray, random: np.random.Generator, most: float = 0.1) -> FloatArray:
    """[n] -> [n'] played faster or slower by up to `most` (pitch changes with it): for training parts."""
    return np.asarray(soxr.resample(sound, 1000.0, 1000.0 * random.uniform(1 - most, 1 + most)), np.float32)


def stretch(sound: FloatArray, samples: int, random: np.random.Generator) -> FloatArray:
    """A random stretch of a background, [samples]; shorter sound is repeated; root mean square 1."""
    # Digital silence at a clip's end is padding, not background.
    nonzero = np.flatnonzero(np.abs(sound) > 1e-5)
    sound = sound[: nonzero[-1] + 1] if len(nonzero) else sound
    if len(sound) < samples:
        sound = np.tile(sound, -(-samples // max(1, len(sound))))
    start = int(random.integers(0, len(sound) - samples + 1))
    out = sound[start : start + samples]
    level = float(np.sqrt(np.mean(out**2)))
    return np.array(out / level if level > 0 else out, np.float32)


def _esc(clip: Clip) -> SourceSound:
    if clip.fold is None:
        raise AssertionError(clip.name)
    return SourceSound(clip.path, clip.name, clip.label, int(clip.recording), clip.fold)


def _disjoint(parts: Mapping[str, Sequence[object]], what: str) -> None:
    seen: dict[object, str] = {}
    for part, some in parts.items():
        for one in some:
            if one in seen:
                raise DataError(
                    f"{what} {one} is in both the {seen[one]} and the {part} part; leave it in one"
                )
            seen[one] = part


def _list(numbers: Sequence[object]) -> str:
    return ", ".join(map(str, numbers))


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
