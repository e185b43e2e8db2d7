"""A folder of labelled sound: listing, splitting by recording, loading. numpy only.

`DATA/<label>/<clip>` in any format that soundfile reads; where clips have several labels, `DATA/labels.csv`
says which (`labels.py`). Clips of one source recording never lie on both sides of a split: the recording
is read from an ESC file name (`<fold>-<recording>-<take>.ogg`), else it is the file's stem without a trailing
take number (`kick_03.wav` -> `kick`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ...errors import AudioError, DataError
from ...runtime.audio.listing import Listing, Skipped, list_folders, list_sound_files, text_of
from ...runtime.audio.sound import read_mono
from ...runtime.values.arrays import FloatArray
from .labels import LABEL_TABLE, read_labels

_ESC = re.compile(r"^(?P<fold>\d+)-(?P<recording>\d+)-(?P<take>[^-]+?)(?:-\d+)?$")
_TAKE = re.compile(r"^(?P<recording>.*?\D)[\s_.\-]*\d+$")


@dataclass(frozen=True, slots=True)
class Clip:
    """One sound file: its class, the recording it was cut from, and its fold where the name says one.

    label: "" where a table of labels gives it none, or it lies in no class folder
    also: its further labels, where it has several
    """

    path: Path
    # Path inside the data folder, with forward slashes.
    name: str
    label: str
    recording: str
    fold: int | None
    also: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """All its labels; none for a clip of nothing that is known."""
        return (self.label, *self.also) if self.label else ()


class LeftOut(NamedTuple):
    """A clip or a folder that was not used, by its path in the data folder, and why (one line)."""

    clip: str
    reason: str


@dataclass(frozen=True, slots=True)
class SoundFolder:
    """A data folder: labels in order (the logits' order), clips sorted by label and name.

    multi_label: its clips are labelled by a table, and may have several labels or none
    skipped: what looks like sound and was passed over; locked: folders that could not be listed
    """

    path: Path
    labels: list[str]
    clips: list[Clip]
    multi_label: bool = False
    skipped: tuple[Skipped, ...] = ()
    locked: tuple[Skipped, ...] = ()

    def of_fold(self, fold: int) -> list[Clip]:
        """The clips of a fold. Raises DataError where there are none."""
        clips = [clip for clip in self.clips if clip.fold == fold]
        if not clips:
            folds = sorted({clip.fold for clip in self.clips if clip.fold is not None})
            have = (
                ", ".join(map(str, folds)) or "none: file names do not begin with <fold>-<recording>-<take>"
            )
            raise DataError(f"{self.path}: no clip of fold {fold}; folds there are: {have}")
        return clips

    def left_out(self, *, strict: bool = False) -> list[LeftOut]:
        """The folders that could not be listed, by their path inside this one, and why.

        Raises DataError for the first of them with `strict`.
        """
        if strict and self.locked:
            raise DataError(f"{self.locked[0].path}: {self.locked[0].reason}")
        return [
            LeftOut(text_of(one.path.relative_to(self.path).as_posix()), f"{one.path}: {one.reason}")
            for one in self.locked
        ]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A clip that could not be used, and why (one line); used: it was used, and is cut off or damaged."""

    clip: Clip
    reason: str
    used: bool = False


def list_sounds(data: str | Path, *, fewest_classes: int = 2) -> SoundFolder:
    """List the class folders of `data` and their clips, sorted, as `list_sound_files` tells them.

    With a table of labels in it, list the clips of the table instead, sorted by name.

    fewest_classes: refuse fewer; 1 serves where no classifier is trained. With 0 sounds may also lie in no
    class folder, and then have no label.
    A folder inside that cannot be listed is `locked`, and the rest is listed.
    Raises DataError: no such folder, one that cannot be listed, too few class folders, a class without sound
    files, a damaged table; where a classifier is trained, a class all of which is locked.
    """
    folder = Path(data)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give a folder of class folders of sound")
    if (folder / LABEL_TABLE).is_file():
        return _list_table(folder, fewest_classes)
    try:
        classes = list_folders(folder)
    except OSError as error:
        raise DataError(f"{folder}: this folder cannot be listed ({error.strerror or error})") from error
    if not classes and fewest_classes:
        raise DataError(f"{folder}: no class folders inside; sounds belong in {folder.name}/<label>/")
    if len(classes) < fewest_classes:
        raise DataError(
            f"{folder}: only one class ({classes[0].name}); a classifier needs two or more class folders"
        )
    # The whole at once, so that a folder that is reached twice counts once here as it does for explain.
    listing = list_sound_files(folder)
    inside: dict[str, list[Path]] = {kind.name: [] for kind in classes}
    loose: list[Path] = []
    skipped = list(listing.skipped)
    for path in listing.files:
        below = path.relative_to(folder).parts
        if len(below) > 1:
            inside[below[0]].append(path)
        elif not fewest_classes:
            loose.append(path)
        else:
            skipped.append(Skipped(path, "it lies in no class folder"))
    bundles = {one.path for one in listing.skipped if one.path.is_dir()}
    for kind in classes:
        if fewest_classes and not inside[kind.name] and kind not in bundles:
            _check_empty(kind, listing, fewest_classes)
    labels = [kind.name for kind in classes if inside[kind.name]]
    if not labels and not loose:
        if not listing.locked:
            raise DataError(f"{folder}: no sound files in it")
        raise DataError(f"{listing.locked[0].path}: {listing.locked[0].reason}, and there is no other sound")
    clips = [_clip(folder, "", path) for path in loose]
    clips += [_clip(folder, text_of(name), path) for name in labels for path in inside[name]]
    return SoundFolder(
        folder,
        [text_of(name) for name in labels],
        clips,
        skipped=tuple(skipped),
        locked=tuple(listing.locked),
    )


def _check_empty(kind: Path, listing: Listing, fewest_classes: int) -> None:
    """Raise DataError for a class without sound files, unless it is locked and no classifier is trained."""
    locked = [one for one in listing.locked if one.path.is_relative_to(kind)]
    if locked and fewest_classes > 1:
        raise DataError(f"{locked[0].path}: {locked[0].reason}")
    if locked:
        return
    skipped = [one for one in listing.skipped if one.path.is_relative_to(kind)]
    why = f" ({skipped[0].path.name}: {skipped[0].reason})" if skipped else ""
    if not why and kind.is_symlink():
        why = f" (it is a link to {kind.resolve()}, which is listed by its own name)"
    raise DataError(f"{kind}: no sound files in this class{why}; add some or remove the folder")


def _list_table(folder: Path, fewest_classes: int) -> SoundFolder:
    """The clips that the table of labels names."""
    table = read_labels(folder)
    labels = sorted({label for labels in table.values() for label in labels})
    if len(labels) < fewest_classes:
        raise DataError(f"{folder / LABEL_TABLE}: a classifier needs {fewest_classes} or more labels")
    clips = [
        replace(_clip(folder, next(iter(own), ""), folder / name), also=tuple(own[1:]))
        for name, own in sorted(table.items())
    ]
    return SoundFolder(folder, labels, clips, multi_label=True)


def _clip(folder: Path, label: str, path: Path) -> Clip:
    name, own = text_of(path.relative_to(folder).as_posix()), text_of(path.stem)
    esc = _ESC.match(own)
    if esc:
        return Clip(path, name, label, esc["recording"], int(esc["fold"]))
    take = _TAKE.match(own)
    # Outside ESC's ids, the same stem in two classes or folders is no sign of one recording.
    where = text_of(path.parent.relative_to(folder).as_posix())
    stem = take["recording"].rstrip(" _.-") if take else own
    return Clip(path, name, label, f"{where}/{stem}", None)


@dataclass(frozen=True, slots=True)
class Split:
    """Clips to train on and clips to validate on; no recording is on both sides."""

    train: list[Clip]
    validation: list[Clip]


def split_sounds(
    sounds: SoundFolder,
    *,
    val_fold: int | None = None,
    val_fraction: float | None = None,
    train_folds: Sequence[int] | None = None,
    seed: int = 0,
) -> Split:
    """Split by fold, or by a fraction of each class's recordings (at least one, where a class has two).

    val_fold: validation is that fold, training the other folds or `train_folds`.
    val_fraction: in 0..1; 0 validates on nothing. Without either, every clip is trained on.
    `train_folds` alone trains on these folds.
    Raises DataError: a fold that no clip has, overlapping folds, a fraction out of range, a class that
    keeps no clip to train on.
    """
    clips = sounds.clips
    for fold in [*(train_folds or []), *([val_fold] if val_fold is not None else [])]:
        sounds.of_fold(fold)
    if val_fold is not None and val_fraction is not None:
        raise DataError("give a validation fold or a validation fraction, not both")
    if val_fold is not None and val_fold in (train_folds or []):
        raise DataError(f"fold {val_fold} is both trained on and validated on; leave it out of one")
    if train_folds:
        chosen = [clip for clip in clips if clip.fold in set(train_folds)]
    else:
        chosen = [clip for clip in clips if val_fold is None or clip.fold != val_fold]
    held: list[Clip] = []
    if val_fold is not None:
        held = [clip for clip in clips if clip.fold == val_fold]
        seen = {clip.recording for clip in held}
        # ESC keeps a recording inside one fold; a folder that does not must not leak.
        chosen = [clip for clip in chosen if clip.recording not in seen]
    elif val_fraction:
        held_recordings = _hold_out(chosen, val_fraction, seed)
        held = [clip for clip in chosen if clip.recording in held_recordings]
        if not held_recordings:
            raise DataError(
                f"{sounds.path}: no class has two source recordings, so none can be held out; recordings are "
                "told by file name without the trailing number"
            )
        chosen = [clip for clip in chosen if clip.recording not in held_recordings]
    left = {label for clip in chosen for label in clip.labels}
    for label in sounds.labels:
        if label not in left:
            raise DataError(
                f"{sounds.path / label}: no clip is left to train on; its recordings are all held out or "
                "in other folds, so add recordings or change the split"
            )
    return Split(chosen, held)


def _hold_out(clips: Sequence[Clip], fraction: float, seed: int) -> set[str]:
    """Recordings to hold out: of each class about `fraction`, at least one where it has two or more."""
    if not 0.0 < fraction < 1.0:
        raise DataError(f"validation fraction {fraction:g}: give a number between 0 and 1")
    held: set[str] = set()
    for label in sorted({clip.label for clip in clips}):
        recordings = sorted({clip.recording for clip in clips if clip.label == label})
        # Not a secret: only the same split for the same seed.
        random.Random(f"{seed}/{label}").shuffle(recordings)  # noqa: S311
        if len(recordings) > 1:
            count = min(len(recordings) - 1, max(1, round(fraction * len(recordings))))
            held.update(recordings[:count])
    return held


def load_sound(path: str | Path, sample_rate: int, tell: Callable[[str], None] | None = None) -> FloatArray:
    """Read a clip as mono [samples] float32 at `sample_rate` Hz, as the runtime reads it.

    tell: takes what is wrong with the file, line by line
    Raises DataError where it cannot be read, is empty, or is not finite.
    """
    try:
        return read_mono(path, sample_rate, tell=tell)
    except AudioError as error:
        raise DataError(str(error)) from error


def load_sounds(
    clips: Iterable[Clip],
    sample_rate: int,
    *,
    strict: bool = False,
) -> tuple[list[Clip], list[FloatArray], list[Unreadable]]:
    """Load clips; those that cannot be read are listed and left out, or raise DataError with `strict`.

    Those that are damaged and used all the same are listed too.
    """
    good: list[Clip] = []
    waveforms: list[FloatArray] = []
    bad: list[Unreadable] = []
    for clip in clips:
        try:
            faults: list[str] = []
            waveforms.append(load_sound(clip.path, sample_rate, faults.append))
            good.append(clip)
            bad += [Unreadable(clip, fault, used=True) for fault in faults]
        except DataError as error:
            if strict:
                raise
            bad.append(Unreadable(clip, str(error)))
    return good, waveforms, bad
