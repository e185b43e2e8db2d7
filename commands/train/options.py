"""What the recipes of `earmark train` share: options, settings kept in a run, what was left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import MissingDependencyError, RunError
from ..console import tell
from ..options import Decorator
from ..paths import DataFolder
from ..settings_options import Given, option_names

if TYPE_CHECKING:
    from ...export.sources.run.directory import RunPart
    from ...export.training.settings import Settings

_RUNNING = (
    click.option("--resume", is_flag=True, help="Go on with an interrupted run, exactly."),
    click.option("--strict", is_flag=True, help="Fail at the first clip that cannot be read."),
    click.option("--threads", type=click.IntRange(1), help="CPU threads. [default: all]"),
    click.option("-q", "--quiet", is_flag=True, help="No progress bar."),
)


device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="A GPU trains in mixed precision.",
)


def running_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of every recipe: resuming, threads, how much is said."""
    return _with(_RUNNING, command)


def over_source_options(what: str) -> Decorator:
    """Arguments and options of the recipes that train `what` over the classifier of a SOURCE."""
    options = (
        click.argument("source"),
        click.argument("data", type=DataFolder()),
        click.option(
            "-o",
            "--out",
            type=click.Path(path_type=Path),
            metavar="RUN",
            help=f"Where the {what} goes, if not SOURCE.",
        ),
        click.option(
            "--noise",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            metavar="DIR",
            help="Mix in recordings of noise from DIR instead of synthesised noise.",
        ),
        device_option,
    )
    return lambda command: _with(options, command)


def _with(options: tuple[Decorator, ...], command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(options):
        command = option(command)
    return command


def require_torch(threads: int | None, *more: str) -> None:
    """Raise MissingDependencyError where the training extra, or one of the packages `more`, is missing."""
    from importlib.util import find_spec

    # All of them now, not matplotlib's absence after the last epoch.
    for package in ("torch", "safetensors", "matplotlib", *more):
        if find_spec(package) is None:
            raise MissingDependencyError(
                f'training needs {package}, which is not installed: pip install "earmark[export]"'
            )
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def settings_of(given: Given[Settings], run: Path, part: RunPart, *, resume: bool) -> Settings:
    """The settings: those given, over those of the run where one is resumed, or the defaults.

    Raises RunError where a resumed run was started otherwise.
    """
    from ...export.sources.run.config import Config
    from ...export.sources.run.directory import RunDirectory
    from ...export.training.settings import from_record

    directory = RunDirectory(run, part)
    if not resume or not directory.config_path.exists():
        return given.settings()
    settings = from_record(given.kind, directory.read_config(Config).training)
    for name, value in given.values.items():
        if getattr(settings, name) != value:
            option = option_names(given.kind)[name]
            raise RunError(f"the run was started with {option} {getattr(settings, name)}; leave {option} out")
    return settings


def fail_for_left_out(summary: Mapping[str, Any]) -> None:
    """End with exit code 1, after all was said, where something was left out."""
    if summary["unreadable"]:
        raise click.exceptions.Exit(1)


def tell_left_out(summary: Mapping[str, Any]) -> None:
    """What was left out, on stderr."""
    for clip, reason in summary["unreadable"]:
        tell(f"left out {clip}: {reason}")
    for clip, reason in summary.get("damaged", ()):
        tell(f"{clip}: {reason}")
