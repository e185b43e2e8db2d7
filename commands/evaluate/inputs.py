"""What `earmark evaluate` judges: words checked, clips chosen and read, before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import DataError
from ...progress import Progress
from ..console import tell

if TYPE_CHECKING:
    from ...evaluation.data.folder import Clip, SoundFolder
    from ...runtime.bundle.manifest import Manifest


def check_words(
    methods: Sequence[str], conditions: Sequence[str], device: str, source: str | None, curves: Path | None
) -> None:
    """Words that no bundle and no machine could know are wrong usage."""
    from ...evaluation.faithfulness.conditions import CONDITIONS
    from ...evaluation.faithfulness.maskers import known_maskers
    from ...runtime.inference.devices import DEVICE_PATTERN
    from .curves import SUFFIXES
    from .source import ATTRIBUTIONS

    for method in methods:
        if method in ATTRIBUTIONS and source is None:
            raise click.BadParameter(
                f"{method!r} needs --source: what the bundle was exported from", param_hint="--method"
            )
        known = (*known_maskers(), *ATTRIBUTIONS)
        if method not in known:
            raise click.BadParameter(f"{method!r} is not one of {', '.join(known)}", param_hint="--method")
    for condition in conditions:
        if condition not in CONDITIONS:
            raise click.BadParameter(
                f"{condition!r} is not one of {', '.join(CONDITIONS)}", param_hint="--condition"
            )
    if not DEVICE_PATTERN.fullmatch(device):
        raise click.BadParameter(
            f"{device!r} is not one of auto, cpu, cuda, cuda:N, tensorrt", param_hint="--device"
        )
    if curves is not None and curves.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(f"{curves}: end it with {', '.join(SUFFIXES)}", param_hint="--curves")


def chosen_clips(folder: SoundFolder, manifest: Manifest, fold: int | None) -> list[Clip]:
    """The clips to judge. Raises DataError for classes that the model does not know, or an absent fold."""
    strange = [label for label in folder.labels if label not in manifest.labels]
    if strange:
        raise DataError(
            f"{folder.path}: {', '.join(map(repr, strange[:5]))}{' ...' if len(strange) > 5 else ''} "
            f"{'is no label' if len(strange) == 1 else 'are no labels'} of {manifest.name}; it has "
            f"{', '.join(manifest.labels[:10])}{' ...' if len(manifest.labels) > 10 else ''}"
        )
    if fold is None:
        return folder.clips
    clips = [clip for clip in folder.clips if clip.fold == fold]
    if not clips:
        folds = sorted({clip.fold for clip in folder.clips if clip.fold is not None})
        have = ", ".join(map(str, folds)) or "none: file names do not begin with <fold>-<recording>-<take>"
        raise DataError(f"{folder.path}: no clip of fold {fold}; folds there are: {have}")
    return clips


def speech_of(folder: Path | None) -> list[Path]:
    """The readable speech files; the others are named on stderr."""
    if folder is None:
        return []
    from ...evaluation.faithfulness.conditions import speech_files

    files, unreadable = speech_files(folder)
    for reason in unreadable:
        tell(f"left out {reason}")
    return files


def readable_clips(
    folder: SoundFolder, clips: Sequence[Clip], rate: int, strict: bool
) -> tuple[list[Clip], list[dict[str, str]]]:
    """The clips of `folder` that can be read, and what cannot, named on stderr.

    What is wrong with clips that are read is said there too. Raises DataError with `strict` for the first
    that cannot be read.
    """
    from ...evaluation.data.folder import load_sound

    good: list[Clip] = []
    skipped = [{"clip": name, "reason": reason} for name, reason in folder.left_out(strict=strict)]
    damaged: list[str] = []
    with Progress(len(clips), "reading") as bar:
        for clip in clips:
            try:
                faults: list[str] = []
                load_sound(clip.path, rate, faults.append)
                damaged += [f"{clip.name}: {fault}" for fault in faults]
                good.append(clip)
            except DataError as error:
                if strict:
                    raise
                skipped.append({"clip": clip.name, "reason": str(error)})
            bar.step()
    for one in skipped:
        tell(f"left out {one['clip']}: {one['reason']}")
    for line in damaged:
        tell(line)
    return good, skipped


def fail_for(skipped: Sequence[object]) -> None:
    """End with exit code 1, after all was said, where something was left out."""
    if skipped:
        raise click.exceptions.Exit(1)
