"""The sounds of a training in memory: loaded once, level set, with their class indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from ..sound_folders import Clip, SoundFolder, Split, Unreadable, level_gain, load_sounds
from .loop import Progress

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sounds:
    """Mono waveforms at the model's rate and level, and their class indices [clips]."""

    clips: list[Clip]
    waveforms: list[FloatArray]
    targets: npt.NDArray[np.int64]


def load_split(
    folder: SoundFolder, split: Split, sample_rate: int, level: str, *, strict: bool, quiet: bool
) -> tuple[Sounds, Sounds, list[Unreadable]]:
    """Training and validation sounds, and the clips that could not be read.

    Raises DataError where a class has no readable clip to train on, or with `strict` at the first
    unreadable clip.
    """
    bar = Progress(len(split.train) + len(split.validation), "reading sounds", "clip", quiet)
    index = {label: position for position, label in enumerate(folder.labels)}
    parts: list[Sounds] = []
    unreadable: list[Unreadable] = []
    try:
        for clips in (split.train, split.validation):
            good, waveforms, bad = load_sounds(clips, sample_rate, strict=strict, on_clip=bar.step)
            levelled = [w * np.float32(level_gain(w, level)) for w in waveforms]
            targets = np.array([index[clip.label] for clip in good], dtype=np.int64)
            parts.append(Sounds(good, levelled, targets))
            unreadable += bad
    finally:
        bar.close()
    heard = {clip.label for clip in parts[0].clips}
    for label in folder.labels:
        if label not in heard:
            raise DataError(
                f"{Path(folder.path) / label}: none of its clips can be read ({unreadable[0].reason})"
            )
    return parts[0], parts[1], unreadable


def windows(sound: FloatArray, samples: int) -> FloatArray:
    """[n] -> [windows, samples], as the runtime hears it: padded at the end, or every half window."""
    if len(sound) <= samples:
        return np.pad(sound, (0, samples - len(sound)))[None]
    step = samples // 2
    starts = [*range(0, len(sound) - samples, step), len(sound) - samples]
    return np.stack([sound[start : start + samples] for start in starts])


def stack(waveforms: Sequence[FloatArray], samples: int) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """All windows of all sounds [windows, samples], and of which sound each one is [windows]."""
    pieces = [windows(sound, samples) for sound in waveforms]
    owner = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
    return np.concatenate(pieces), owner
