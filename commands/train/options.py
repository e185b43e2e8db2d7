"""What the recipes of `earmark train` share: options, settings kept in a run, what was left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import MissingDependencyError, RunError
from ..console import tell

if TYPE_CHECKING:
    from ...export.training.settings import Settings


def _folds(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Folds as numbers, from "1,2,3" or "1-3"."""
    if value is None:
        return None
    folds: list[int] = []
    try:
        for piece in value.split(","):
            first, dash, last = piece.partition("-")
            folds += range(int(first), int(last) + 1) if dash else [int(first)]
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: give numbers such as 1,2,3 or 1-3") from error
    if not folds:
        raise click.BadParameter(f"{value!r}: names no fold")
    return tuple(sorted(set(folds)))


def shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of the recipes that train by epochs."""
    options = [
        click.option("--epochs", type=click.IntRange(1), help="Passes over the data."),
        click.option("--batch-size", type=click.IntRange(1), help="Clips a step. [default: 16]"),
        click.option(
            "--lr", type=click.FloatRange(0, min_open=True), help="Peak learning rate. [default: 0.003]"
        ),
        click.option("--width", type=click.IntRange(1), help="Channels; cost grows with the square."),
    ]
    command = split_options(command)
    for option in reversed(options):
        command = option(command)
    return command


def split_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of every recipe: seed, split, resuming, threads."""
    options = [
        click.option("--seed", type=click.IntRange(0), help="Same seed, same weights. [default: 0]"),
        click.option("--val-fold", type=int, metavar="N", help="Validate on the ESC fold N."),
        click.option(
            "--val-fraction",
            type=click.FloatRange(0, 1, min_open=True, max_open=True),
            metavar="X",
            help="Validate on this part of the source recordings.",
        ),
        click.option(
            "--train-folds", callback=_folds, metavar="LIST", help="Train on these folds only, e.g. 1-3."
        ),
        click.option("--resume", is_flag=True, help="Go on with an interrupted run, exactly."),
        click.option("--strict", is_flag=True, help="Fail at the first clip that cannot be read."),
        click.option("--threads", type=click.IntRange(1), help="CPU threads. [default: all]"),
        click.option("-q", "--quiet", is_flag=True, help="No progress bar."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def require_torch(threads: int | None, *more: str) -> None:
    """Raise MissingDependencyError where the training extra, or one of the packages `more`, is missing."""
    from importlib.util import find_spec

    # All of them now, not matplotlib's absence after the last epoch.
    for package in ("torch", "safetensors", "matplotlib", "tqdm", *more):
        if find_spec(package) is None:
            raise MissingDependencyError(
                f'training needs {package}, which is not installed: pip install "earmark[export]"'
            )
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def settings_of(kind: type[Settings], given: Mapping[str, Any], stored: Mapping[str, Any] | None) -> Settings:
    """The settings named on the command line over those stored in the run being resumed, or the defaults.

    Raises RunError where a resumed run was started otherwise.
    """
    from ...export.training.settings import from_record

    named = {name: value for name, value in given.items() if value is not None}
    if stored is None:
        return kind(**named)
    settings = from_record(kind, dict(stored))
    for name, value in named.items():
        if getattr(settings, name) != value:
            option = "--" + name.replace("_", "-")
            raise RunError(f"the run was started with {option} {getattr(settings, name)}; leave {option} out")
    return settings


def stored_settings(run: Path, part: Any, resume: bool) -> Mapping[str, Any] | None:
    """The training settings of the run to be resumed; None where it is to begin."""
    from ...export.sources.run.directory import RunDirectory

    directory = RunDirectory(run, part)
    if not resume or not directory.config_path.exists():
        return None
    stored: Mapping[str, Any] = directory.read_config().get("training", {})
    return stored


def tell_left_out(summary: Mapping[str, Any]) -> None:
    """What was left out, on stderr."""
    for clip, reason in summary["unreadable"]:
        tell(f"left out {clip}: {reason}")
    for clip, reason in summary.get("damaged", ()):
        tell(f"{clip}: {reason}")
