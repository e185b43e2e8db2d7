"""What the recipes of `earmark train` share: options, settings kept in a run, what was left out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import MissingDependencyError, RunError
from ...export.training.options import TrainingOptions
from ...runtime.audio.listing import reason_lines
from ..console import tell
from ..graph_options import GraphOptions, load_graph
from ..inputs import tell_passed_over
from ..options import Decorator, folder_option, with_options
from ..paths import DataFolder
from ..settings_options import Given, option_names, settings_options, words_of

if TYPE_CHECKING:
    from ...export.source.exportable import Exportable
    from ...export.sources.run.directory import RunPart
    from ...export.training.settings import Settings
    from ...export.training.summary import Faults, Summary


@dataclass(frozen=True)
class TrainedOver:
    """The source that a training is over.

    opened: what names it, or a graph that was opened; run: the run directory that gets the result
    exported: what `earmark export` then takes
    """

    opened: str | Exportable
    run: Path
    exported: str


_RUNNING: tuple[Decorator, ...] = (
    click.option("--resume", is_flag=True, help="Go on with an interrupted run, exactly."),
    click.option("--strict", is_flag=True, help="Fail at the first clip that cannot be read."),
    click.option("--threads", type=click.IntRange(1), help="CPU threads. [default: all]"),
    click.option("-q", "--quiet", is_flag=True, help="No progress bar."),
)
device_option: Decorator = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="A GPU trains in mixed precision.",
)


def training_options(kind: type[TrainingOptions], *, loose: bool = False) -> Decorator:
    """A decorator: the options of every recipe, for a command that gets them and its own as one `kind`.

    The keyword argument `options` takes the place of all that are fields of `kind`. Before the command runs,
    PyTorch is looked for and its threads are set, and the files of DATA that are not used are named. `loose`:
    sounds in no class folder are used, unless they train over a run's classifier.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(*arguments: Any, threads: int | None, **collected: Any) -> None:
            from ...export.sources.run.directory import holds_classifier

            names = [field.name for field in fields(kind) if field.name in collected]
            options = kind(**{name: collected.pop(name) for name in names})
            _require_torch(threads)
            unlabelled = loose and not holds_classifier(collected["source"].run)
            tell_passed_over(collected["data"], fewest_classes=0 if unlabelled else 1)
            command(*arguments, options=options, **collected)

        return with_options(run, _RUNNING)

    return decorate


def over_source_options(what: str) -> Decorator:
    """A decorator: arguments and options of the recipes that train `what` over the classifier of a SOURCE.

    The keyword argument `source` is then a `TrainedOver`.
    """
    noise = folder_option(
        "--noise", "DIR", "Mix in recordings of noise from DIR instead of synthesised noise."
    )
    return source_options(what, f"Where the {what} goes, if not SOURCE.", (noise, device_option))


def source_options(what: str, out_help: str, more: Sequence[Decorator] = ()) -> Decorator:
    """A decorator: SOURCE, DATA, where the result goes, and what is told of an .onnx file.

    The keyword argument `source` is then a `TrainedOver`.
    """
    options: tuple[Decorator, ...] = (
        click.argument("source"),
        click.argument("data", type=DataFolder()),
        click.option("-o", "--out", type=click.Path(path_type=Path), metavar="RUN", help=out_help),
        *more,
        click.option(
            "--window",
            metavar="SECONDS",
            type=click.FloatRange(0, min_open=True),
            help="For an .onnx file of any length: the longest sound it takes at once.",
        ),
        settings_options(GraphOptions, "graph"),
    )

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(source: str, *, window: float | None, graph: Given[GraphOptions], **collected: Any) -> None:
            words = [*words_of(graph), *([] if window is None else ["--window", f"{window:g}"])]
            opened: Exportable | str = source
            if Path(source).suffix.lower() == ".onnx":
                if collected["out"] is None:
                    raise click.UsageError(f"{source}: say by -o RUN where the {what} goes")
                opened = load_graph(source, window, graph.settings())
            elif words:
                raise click.UsageError(f"{words[0]} is for an .onnx file; this source says it itself")
            run_path = Path(collected["out"] or source)
            extra = [] if str(run_path) == source else [f"--{what}", str(run_path)]
            command(source=TrainedOver(opened, run_path, shlex.join([source, *words, *extra])), **collected)

        return with_options(run, options)

    return decorate


def require_packages(*packages: str) -> None:
    """Raise MissingDependencyError where one of the packages, which training needs, is missing."""
    from importlib.util import find_spec

    for package in packages:
        if find_spec(package) is None:
            raise MissingDependencyError(
                f'training needs {package}, which is not installed: pip install "earmark[export]"'
            )


def _require_torch(threads: int | None) -> None:
    # All of them now, not matplotlib's absence after the last epoch.
    require_packages("torch", "safetensors", "matplotlib")
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


def tell_left_out(left_out: Faults) -> None:
    """What was left out, on stderr."""
    for clip, reason in left_out.unreadable:
        tell(f"left out {clip}: {reason}")
    for line in reason_lines(left_out.damaged):
        tell(line)


def tell_trained(summary: Summary, lines: Sequence[str], following: str) -> None:
    """Say what was left out, what came of a training, what to know of it, and the command that follows.

    Raises click's Exit as `fail_for_left_out` does.
    """
    tell_left_out(summary.left_out)
    for line in (*lines, *(f"warning: {one}" for one in summary.warnings), f"next: {following}"):
        tell(line)
    fail_for_left_out(summary.left_out)


def fail_for_left_out(left_out: Faults) -> None:
    """End with exit code 1, after all else was printed, where something was left out."""
    if left_out.unreadable:
        raise click.exceptions.Exit(1)
