"""The sounds of a training in memory: loaded once, level set, with their labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from ...evaluation.data.folder import (
    Clip,
    SoundFolder,
    Split,
    Unreadable,
    load_sounds,
    split_sounds,
)
from ...progress import Progress
from ...runtime.audio.lengths import longest_window
from ...runtime.audio.level import level_of
from ...runtime.values.arrays import FloatArray
from .options import TrainingOptions
from .settings import SplitSettings


@dataclass(frozen=True)
class Sounds:
    """Mono waveforms at the model's rate and level, and which of its labels hold: 0 or 1 [clips, K]."""

    clips: list[Clip]
    waveforms: list[FloatArray]
    targets: FloatArray

    def only(self, wanted: Sequence[bool]) -> Sounds:
        """Those sounds for which `wanted` is true."""
        kept = [index for index, keep in enumerate(wanted) if keep]
        return Sounds(
            [self.clips[index] for index in kept],
            [self.waveforms[index] for index in kept],
            self.targets[kept],
        )


def split_by(folder: SoundFolder, settings: SplitSettings) -> Split:
    """The clips of a folder in the parts that the settings name. Raises DataError for an absent fold."""
    return split_sounds(
        folder,
        val_fold=settings.val_fold,
        val_fraction=settings.val_fraction,
        train_folds=settings.train_folds,
        seed=settings.seed,
    )


def load_split(
    folder: SoundFolder,
    split: Split,
    labels: Sequence[str],
    sample_rate: int,
    level: str,
    options: TrainingOptions,
) -> tuple[Sounds, Sounds, list[Unreadable]]:
    """Training and validation sounds, and the clips that could not be read or are damaged.

    labels: the model's, in its order; of a clip's labels those that are among them hold
    Raises DataError where a class has no readable clip to train on, or with `options.strict` at the first
    unreadable clip.
    """
    bar = Progress(len(split.train) + len(split.validation), "reading sounds", quiet=options.quiet)
    index = {label: position for position, label in enumerate(labels)}
    parts: list[Sounds] = []
    unreadable: list[Unreadable] = []
    try:
        for clips in (split.train, split.validation):
            good, waveforms, bad = load_sounds(bar.over(clips), sample_rate, strict=options.strict)
            levelled = [w * np.float32(1.0 / level_of(w, level)) for w in waveforms]
            targets = np.zeros((len(good), len(index)), dtype=np.float32)
            for row, clip in zip(targets, good, strict=True):
                row[[index[label] for label in clip.labels if label in index]] = 1.0
            parts.append(Sounds(good, levelled, targets))
            unreadable += bad
    finally:
        bar.close()
    piece = {label for clip in parts[0].clips for label in clip.labels}
    for label in folder.labels:
        if label not in piece:
            reason = next(one.reason for one in unreadable if not one.used)
            raise DataError(f"{Path(folder.path) / label}: none of its clips can be read ({reason})")
    return parts[0], parts[1], unreadable


def window_batches(
    waveforms: Sequence[FloatArray], samples: int, size: int = 16
) -> Iterator[tuple[FloatArray, npt.NDArray[np.int64]]]:
    """All windows of all sounds, up to `size` of one length at a time: [B, N], and their sounds [B].

    As the runtime cuts them: shorter sound is padded with silence at its end, longer sound cut every
    half window, the last one aligned to the end.
    """
    most = longest_window(samples)
    by_length: dict[int, list[tuple[int, int]]] = {}
    for index, sound in enumerate(waveforms):
        last = len(sound) - most
        starts = [*range(0, last, samples // 2), last] if last > 0 else [0]
        by_length.setdefault(min(max(len(sound), samples), most), []).extend(
            (index, start) for start in starts
        )
    for length, places in sorted(by_length.items()):
        for first in range(0, len(places), size):
            some = places[first : first + size]
            pieces = np.zeros((len(some), length), dtype=np.float32)
            for row, (index, start) in zip(pieces, some, strict=True):
                piece = waveforms[index][start : start + length]
                row[: len(piece)] = piece
            yield pieces, np.array([index for index, _ in some], dtype=np.int64)
