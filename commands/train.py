"""`earmark train`: a classifier, then an L-MAC decoder over it, from a folder of sound (PyTorch)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import MissingDependencyError, RunError

if TYPE_CHECKING:
    from ..export.training.settings import Settings


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


def _shared(command: Callable[..., None]) -> Callable[..., None]:
    """Options of both recipes."""
    options = [
        click.option("--epochs", type=click.IntRange(1), help="Passes over the data."),
        click.option("--batch-size", type=click.IntRange(1), help="Clips a step. [default: 16]"),
        click.option(
            "--lr", type=click.FloatRange(0, min_open=True), help="Peak learning rate. [default: 0.003]"
        ),
        click.option("--seed", type=click.IntRange(0), help="Same seed, same weights. [default: 0]"),
        click.option("--width", type=click.IntRange(1), help="Channels; cost grows with the square."),
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


def _require_torch(threads: int | None) -> None:
    """Raise MissingDependencyError where the training extra is not installed."""
    from importlib.util import find_spec

    # All of them now, not matplotlib's absence after the last epoch.
    for package in ("torch", "safetensors", "matplotlib", "tqdm"):
        if find_spec(package) is None:
            raise MissingDependencyError(
                f'training needs {package}, which is not installed: pip install "earmark[export]"'
            )
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def _settings(kind: type[Settings], given: Mapping[str, Any], stored: Mapping[str, Any] | None) -> Settings:
    """The settings named on the command line over those stored in the run being resumed, or the defaults.

    Raises RunError where a resumed run was started otherwise.
    """
    from ..export.training.settings import from_record

    named = {name: value for name, value in given.items() if value is not None}
    if stored is None:
        return kind(**named)
    settings = from_record(kind, dict(stored))
    for name, value in named.items():
        if getattr(settings, name) != value:
            option = "--" + name.replace("_", "-")
            raise RunError(f"the run was started with {option} {getattr(settings, name)}; leave {option} out")
    return settings


def _stored(run: Path, part: Any, resume: bool) -> Mapping[str, Any] | None:
    """The training settings of the run to be resumed; None where it is to begin."""
    from ..export.run_directory import RunDirectory

    directory = RunDirectory(run, part)
    if not resume or not directory.config_path.exists():
        return None
    stored: Mapping[str, Any] = directory.read_config().get("training", {})
    return stored


def _tell(summary: Mapping[str, Any]) -> None:
    """What was left out, on stderr."""
    for clip, reason in summary["unreadable"]:
        click.echo(f"left out {clip}: {reason}", err=True)


@click.group()
def train() -> None:
    """Train a classifier or a decoder from a folder of sound (needs the export extra)."""


@train.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("-o", "--out", "run", required=True, type=click.Path(path_type=Path), help="The run directory.")
@click.option("--window", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="[default: 5]")
@click.option("--sample-rate", type=click.IntRange(1000), metavar="HZ", help="[default: 16000]")
@click.option(
    "--level",
    type=click.Choice(["none", "peak"]),
    help="Gain before the model: none, or to peak 1 (default).",
)
@_shared
def classifier(
    data: Path, run: Path, resume: bool, strict: bool, threads: int | None, quiet: bool, **given: Any
) -> None:
    """Train a compact classifier on DATA, a folder of class folders of sound."""
    _require_torch(threads)
    from ..export.training.classifier import train_classifier
    from ..export.training.settings import ClassifierSettings

    settings = _settings(ClassifierSettings, given, _stored(run, "classifier", resume))
    summary = train_classifier(data, run, settings, resume=resume, strict=strict, quiet=quiet)
    _tell(summary)
    accuracy = summary["accuracy"]
    heard = (
        ""
        if accuracy is None
        else f", {accuracy:.1%} of {summary['validation_clips']} validation clips right"
    )
    click.echo(f"{run}: {summary['parameters']} parameters, {summary['clips']} clips{heard}", err=True)
    click.echo(f"next: earmark train lmac {run} {data}", err=True)


@train.command()
@click.argument("source")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Where the decoder goes, if not SOURCE.",
)
@click.option(
    "--decoder",
    type=click.Choice(["compact", "reference"]),
    help="compact: at most a tenth of the classifier's multiply-adds (default); reference: L-MAC's shape, "
    "nine times them.",
)
@click.option(
    "--targets",
    type=click.Choice(["predicted", "any"]),
    help="Whom the mask speaks for: the predicted class (default), or any that is asked for.",
)
@click.option("--guided", is_flag=True, default=None, help="The paper's guided fine-tuning.")
@click.option(
    "--teacher",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="RUN|BUNDLE",
    help="Follow this decoder's masks as well.",
)
@click.option(
    "--noise",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Mix in recordings of noise from DIR instead of synthesised noise.",
)
@click.option("--area-weight", type=click.FloatRange(0), help="Higher: smaller masks. [default: 15]")
@click.option(
    "--patience", type=click.IntRange(0), help="Epochs without a better one before the end; 0: all."
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="A GPU trains in mixed precision.",
)
@_shared
def lmac(
    source: str,
    data: Path,
    out: Path | None,
    teacher: Path | None,
    noise: Path | None,
    device: Any,
    resume: bool,
    strict: bool,
    threads: int | None,
    quiet: bool,
    **given: Any,
) -> None:
    """Train an L-MAC decoder over the classifier of SOURCE, on the sounds of DATA.

    SOURCE is a run directory, or with -o any PyTorch source of earmark export. Without a split of its
    own the decoder keeps the classifier's.
    """
    _require_torch(threads)
    from ..export.training.lmac import train_lmac
    from ..export.training.settings import LmacSettings

    run = out or Path(source)
    settings = _settings(LmacSettings, given, _stored(run, "decoder", resume))
    summary = train_lmac(
        source,
        data,
        settings,
        out=out,
        teacher=teacher,
        noise=noise,
        device=device,
        resume=resume,
        strict=strict,
        quiet=quiet,
    )
    _tell(summary)
    figures = ""
    if "area" in summary:
        figures = (
            f"; validation: area {summary['area']:.2f}, AI {summary['average_increase']:.1f} %, "
            f"AD {summary['average_drop']:.1f} %, FF {summary['faithfulness']:.2f}, "
            f"Fid-In {summary['input_fidelity']:.2f}"
        )
    share = summary["multiply_adds"] / summary["classifier_multiply_adds"]
    click.echo(
        f"{run}: decoder of {summary['parameters']} parameters, {share:.0%} of the classifier's multiply-adds"
        f"{figures}",
        err=True,
    )
    extra = "" if str(run) == source else f" --decoder {run}"
    click.echo(f"next: earmark export {source}{extra} -o BUNDLE", err=True)
