"""The clips of a folder, as the model gets them, for measuring and calibrating an export. Never torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import AudioError, DataError
from ...runtime.audio.lengths import samples_at_least, samples_of
from ...runtime.audio.level import level_of
from ...runtime.audio.listing import list_sound_files
from ...runtime.audio.sound import read_mono
from ...runtime.values.arrays import FloatArray
from ..source.exportable import Exportable


def find_clips(folder: Path) -> list[Path]:
    """The sound files under `folder` by their names, sorted. Raises DataError where there is none."""
    paths = list_sound_files(folder).files
    if not paths:
        raise DataError(f"{folder}: no sound files; give a folder of clips")
    return paths


def evenly(paths: list[Path], most: int) -> list[Path]:
    """At most `most` of them, evenly chosen."""
    return [paths[at * len(paths) // most] for at in range(most)] if len(paths) > most else paths


def read_clip(path: Path, source: Exportable) -> FloatArray | None:
    """The first window of a clip [N]: mono, at the source's rate, level applied, padded where too short.

    None where it is silent. Raises DataError where it cannot be read.
    """
    rate = source.sample_rate
    try:
        mono = read_mono(path, rate, most_s=source.window.seconds)
    except AudioError as error:
        raise DataError(str(error)) from error
    mono = mono[: samples_of(source.window.seconds, rate)]
    if not len(mono) or not np.isfinite(mono).all() or not np.abs(mono).max() > 0:
        return None
    shortest = samples_at_least(source.window.minimum_seconds, rate)
    padded = np.pad(mono, (0, max(0, shortest - len(mono))))
    return np.asarray(padded / level_of(mono, source.level), dtype=np.float32)


def read_clips(folder: Path, source: Exportable, most: int = 5) -> list[FloatArray]:
    """Up to `most` clips of a folder for the measurement: mono, at the source's rate, level applied.

    Evenly chosen from the sorted files that soundfile reads; silent ones are passed over. Raises
    DataError where there is none or one cannot be read.
    """
    windows = (read_clip(path, source) for path in evenly(find_clips(folder), most))
    clips = [clip for clip in windows if clip is not None]
    if not clips:
        raise DataError(f"{folder}: no sound that is not silent; give a folder of clips")
    return clips
