"""What a benchmark set consists of: clips with the truth of their events, in parts, written to a folder.

    OUT/info.json            name, seed, gains, what is held out, terms, the command that trains on it
    OUT/<part>/<label>/<fold>-<recording>-<index>.flac
    OUT/<part>/events.csv    clip, label, start_s, end_s: where the label's evidence truly lies; level_db of
                             events at stated levels
    OUT/<part>/clips.jsonl   a line a clip: sources, signal-to-noise ratios
    OUT/<part>/labels.csv    clip, labels joined by ";": where clips have several

The parts are train, tune (settings are chosen there), test, and what a set adds. The file names carry the
fold and the source recording, as `evaluation/data/folder.py` reads them: splits and intervals keep recordings
whole.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...errors import DataError
from ...prototypes_index.atomic import put_in_place, staged, sweep
from ...prototypes_index.durability import naming
from ...runtime.audio.writing import write_sound
from ...runtime.values.arrays import FloatArray
from ..data.events import TrueEvent
from ..data.labels import write_labels

INFO = "info.json"


@dataclass(frozen=True)
class Mixture:
    """A clip and what is true of it.

    waveform: [samples] float32 in -1..1; recording: number of the source recording, one group of clips
    fold: the fold or speaker that recording belongs to; facts: JSON-ready, for clips.jsonl
    labels: all of the clip's, in a set whose clips have several; its folder is the first
    """

    waveform: FloatArray
    truths: tuple[TrueEvent, ...]
    recording: int
    fold: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asks of a set.

    sounds: folder of class folders, <fold>-<recording>-<take> as in ESC; speech: folder of
        <digit>_<speaker>_<take> as in FSDD
    clips: part -> clips per label; folds, speakers: part -> which; what is left out takes the set's default
    parts: only these are made
    minutes, events: length of a scene, and how many events it has; None: as the set says
    levels: of events over the background, in dB; none: as the set says
    backgrounds: names of synthesised ones; none: as the set says
    """

    sounds: Path | None = None
    speech: Path | None = None
    seed: int = 0
    clips: Mapping[str, int] = field(default_factory=dict)
    folds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    speakers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    minutes: float | None = None
    events: int | None = None
    levels: tuple[float, ...] = ()
    backgrounds: tuple[str, ...] = ()


class Recipe(Protocol):
    """A set's recipe over its opened sources.

    parts: part -> clips per label, without the user's wishes; labels: part -> labels
    """

    sample_rate: int
    parts: Mapping[str, int]

    def labels(self, part: str) -> tuple[str, ...]:
        """The labels of a part."""

    def clip(self, part: str, label: str, random: np.random.Generator) -> Mixture:
        """Draw a clip."""

    def info(self) -> Mapping[str, Any]:
        """Facts for info.json: gains, sources, what is held out."""


def clips_of(recipe: Recipe, options: Options) -> Iterator[tuple[str, str, int, Mixture]]:
    """Every clip as (part, label, index, mixture); a clip depends on the seed and its own place alone."""
    names = list(recipe.parts)
    for part in options.parts or names:
        if part not in recipe.parts:
            raise DataError(f"there is no part {part!r}; this set has {', '.join(names)}")
        count = options.clips.get(part, recipe.parts[part])
        for position, label in enumerate(recipe.labels(part)):
            for index in range(count):
                random = np.random.default_rng([options.seed, names.index(part), position, index])
                yield part, label, index, recipe.clip(part, label, random)


def write_set(recipe: Recipe, out: str | Path, options: Options, info: Mapping[str, Any]) -> dict[str, int]:
    """Write the set into the new or empty folder `out` (FLAC, 16 bit, mono); returns part -> clips.

    The same sources and options give the same files, all of them or none. Raises DataError: `out` holds
    something; WriteError.
    """
    target = Path(out)
    sweep(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target}: is not empty; name a new folder for the set")
    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    # Nothing else may be done with a folder that is there: it can be the working folder, or a mount.
    there = target.exists()
    with staged(target, inside=there) as folder:
        counts = _write_parts(recipe, folder, options)
        text = json.dumps({**info, **recipe.info(), "clips": counts}, indent=2, ensure_ascii=False)
        with naming(folder / INFO):
            (folder / INFO).write_text(text + "\n", encoding="utf-8")
        with naming(target):
            if not there:
                put_in_place(folder, target)
            else:
                for entry in (*(folder / part for part in counts), folder / INFO):
                    entry.rename(target / entry.name)
    return counts


def _write_parts(recipe: Recipe, folder: Path, options: Options) -> dict[str, int]:
    """Write the clips of all parts with their tables; returns part -> clips."""
    counts: dict[str, int] = {}
    events: dict[str, list[tuple[str, TrueEvent]]] = {}
    notes: dict[str, list[str]] = {}
    tables: dict[str, dict[str, tuple[str, ...]]] = {}
    for part, label, index, mixture in clips_of(recipe, options):
        name = f"{label}/{mixture.fold}-{mixture.recording}-{index:04d}.flac"
        path = folder / part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sound(path, mixture.waveform, recipe.sample_rate, "FLAC", "PCM_16")
        counts[part] = counts.get(part, 0) + 1
        if mixture.labels:
            tables.setdefault(part, {})[name] = mixture.labels
        events.setdefault(part, []).extend((name, truth) for truth in mixture.truths)
        notes.setdefault(part, []).append(json.dumps({"clip": name, **mixture.facts}, ensure_ascii=False))
    for part in counts:
        path = folder / part / "events.csv"
        with naming(path), path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            levels = ["level_db"] if any(truth.level_db is not None for _, truth in events[part]) else []
            writer.writerow(["clip", "label", "start_s", "end_s", *levels])
            for name, truth in events[part]:
                more = [f"{truth.level_db:g}"] if truth.level_db is not None else []
                writer.writerow([name, truth.label, f"{truth.start_s:.4f}", f"{truth.end_s:.4f}", *more])
        with naming(folder / part / "clips.jsonl"):
            (folder / part / "clips.jsonl").write_text("\n".join(notes[part]) + "\n", encoding="utf-8")
    for part, table in tables.items():
        write_labels(folder / part, table)
    return counts
