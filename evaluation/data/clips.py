"""The clips that an evaluation judges: those of a fold that can be read, with labels that the model has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import DataError, MethodError
from ...progress import Progress
from ...runtime.audio.listing import reason_lines, skipped_lines
from ...runtime.bundle.manifest import Manifest
from ..settings import ClipSettings
from .folder import Clip, LeftOut, SoundFolder, list_sounds, load_sounds

Tell = Callable[[str], None]


def ignore(_line: str) -> None:
    """Take a line and do nothing with it."""


def judged_clips(
    sounds: SoundFolder,
    manifest: Manifest,
    settings: ClipSettings,
    *,
    tell: Tell = ignore,
    quiet: bool = True,
) -> tuple[list[Clip], list[LeftOut]]:
    """Choose the clips to judge, and read each of them once.

    Args:
        sounds: The data folder.
        manifest: Of the bundle that is judged.
        settings: Fold, and whether a clip that cannot be read is an error.
        tell: Takes what a person should know, line by line, as soon as it is known.
        quiet: Show no progress bar.

    Returns:
        The clips that can be read, and what was left out.

    Raises:
        DataError: A class that the model does not know and `any_label` does not allow, a fold that no clip
            has, no clip that can be read; with `strict` the first that cannot.

    """
    for line in skipped_lines(sounds.skipped):
        tell(line)
    clips = _chosen(sounds, manifest, settings)
    left_out = sounds.left_out(strict=settings.strict)
    readable, unreadable = _readable(clips, manifest.sample_rate, settings.strict, tell, quiet)
    left_out += unreadable
    for name, reason in left_out:
        tell(f"left out {name}: {reason}")
    if not readable:
        raise DataError(f"{sounds.path}: none of its clips can be read ({left_out[0].reason})")
    return readable, left_out


def require_classes(manifest: Manifest) -> None:
    """Raise MethodError where a model gives values: no class is right or wrong by them."""
    if manifest.task == "regression":
        raise MethodError(
            f"{manifest.name}: gives values of a regression: clips of classes cannot judge its explanations"
        )


def listed_clips(data: str | Path, settings: ClipSettings) -> SoundFolder:
    """The sounds of a folder, as an evaluation takes them. Raises DataError as `list_sounds` does."""
    return list_sounds(data, fewest_classes=0 if settings.any_label else 1)


def _chosen(sounds: SoundFolder, manifest: Manifest, settings: ClipSettings) -> Sequence[Clip]:
    """The clips of a fold, or all. Raises DataError: an unknown class, or a fold that no clip has."""
    strange = [label for label in sounds.labels if label not in manifest.labels]
    if strange and not settings.any_label:
        raise DataError(
            f"{sounds.path}: {', '.join(map(repr, strange[:5]))}{' ...' if len(strange) > 5 else ''} "
            f"{'is no label' if len(strange) == 1 else 'are no labels'} of {manifest.name}; it has "
            f"{', '.join(manifest.labels[:10])}{' ...' if len(manifest.labels) > 10 else ''}; "
            "where labels do not matter, allow any (--any-label)"
        )
    return sounds.clips if settings.fold is None else sounds.of_fold(settings.fold)


def _readable(
    clips: Sequence[Clip], rate: int, strict: bool, tell: Tell, quiet: bool
) -> tuple[list[Clip], list[LeftOut]]:
    """The clips that can be read, and those that cannot; of damaged ones `tell` takes what is wrong."""
    readable: list[Clip] = []
    unreadable: list[LeftOut] = []
    faults: list[tuple[str, str]] = []
    with Progress(len(clips), "reading", quiet=quiet) as bar:
        for clip in bar.over(clips):
            # One by one, so that no sound is kept.
            good, _, bad = load_sounds([clip], rate, strict=strict)
            readable += good
            faults += [(clip.name, one.reason) for one in bad if one.used]
            unreadable += [LeftOut(clip.name, one.reason) for one in bad if not one.used]
    for line in reason_lines(faults):
        tell(line)
    return readable, unreadable
