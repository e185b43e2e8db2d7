"""A data folder of synthesised clips, one folder a class, as `earmark train` reads it."""

from __future__ import annotations

from pathlib import Path

from ...runtime.audio.writing import write_sound
from .clips import Clip, make_clip
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
