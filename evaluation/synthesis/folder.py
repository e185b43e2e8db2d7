"""Folders of synthesised sound, as `earmark train` reads them: clips, one folder a class, and backgrounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...runtime.audio.lengths import samples_of
from ...runtime.audio.writing import write_sound
from ...runtime.values.arrays import FloatArray
from .backgrounds import BACKGROUNDS
from .clips import SAMPLE_RATE, SECONDS, Clip, make_clip
from .one_shots import RECIPES

FOLDS = 5


def clip_of(label: str, index: int, seed: int) -> Clip:
    """The clip number `index` of a class in the data set of `seed`."""
    return make_clip(label, [seed, sorted(RECIPES).index(label), index])


def write_folder(out: str | Path, seed: int, clips_per_class: int) -> list[Path]:
    """Write `clips_per_class` clips of every class into `out/<label>/<fold>-<id>-A.flac`.

    Folds 1..5 are dealt in turn, so that each holds every class; the id is unique in the data set.
    FLAC, 16 bit, 16 kHz, mono. Returns the paths written, in order of label and id.
    """
    paths = []
    for position, label in enumerate(sorted(RECIPES)):
        folder = Path(out) / label
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(clips_per_class):
            clip = clip_of(label, index, seed)
            path = folder / f"{1 + index % FOLDS}-{10_000 * (position + 1) + index}-A.flac"
            write_sound(path, clip.waveform, clip.sample_rate, "FLAC", "PCM_16")
            paths.append(path)
    return paths


def background_of(name: str, index: int, seed: int) -> FloatArray:
    """[samples]: background number `index` of a kind in the data set of `seed`, with no hit in it."""
    # Apart from the clips' seeds, which are three numbers.
    rng = np.random.default_rng([seed, sorted(BACKGROUNDS).index(name), index, 0])
    sound = BACKGROUNDS[name](rng, samples_of(SECONDS, SAMPLE_RATE), SAMPLE_RATE)
    return np.asarray(rng.uniform(0.3, 0.9) * sound / np.max(np.abs(sound)), np.float32)


def write_backgrounds(out: str | Path, seed: int, sounds_per_kind: int) -> None:
    """Write `sounds_per_kind` backgrounds of every kind into `out/<kind>-<index>.flac`.

    FLAC, 16 bit, 16 kHz, mono.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(BACKGROUNDS):
        for index in range(sounds_per_kind):
            sound = background_of(name, index, seed)
            write_sound(folder / f"{name}-{index}.flac", sound, SAMPLE_RATE, "FLAC", "PCM_16")
