"""`earmark train classifier`: a compact classifier from a folder of sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .train_options import require_torch, settings_of, shared_options, stored_settings, tell_left_out


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("-o", "--out", "run", required=True, type=click.Path(path_type=Path), help="The run directory.")
@click.option("--window", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="[default: 5]")
@click.option("--sample-rate", type=click.IntRange(1000), metavar="HZ", help="[default: 16000]")
@click.option(
    "--level",
    type=click.Choice(["none", "peak"]),
    help="Gain before the model: none, or to peak 1 (default).",
)
@shared_options
def classifier(
    data: Path, run: Path, resume: bool, strict: bool, threads: int | None, quiet: bool, **given: Any
) -> None:
    """Train a compact classifier on DATA, a folder of class folders of sound."""
    require_torch(threads)
    from ..export.training.classifier import train_classifier
    from ..export.training.settings import ClassifierSettings

    settings = settings_of(ClassifierSettings, given, stored_settings(run, "classifier", resume))
    summary = train_classifier(data, run, settings, resume=resume, strict=strict, quiet=quiet)
    tell_left_out(summary)
    accuracy = summary["accuracy"]
    heard = (
        ""
        if accuracy is None
        else f", {accuracy:.1%} of {summary['validation_clips']} validation clips right"
    )
    click.echo(f"{run}: {summary['parameters']} parameters, {summary['clips']} clips{heard}", err=True)
    click.echo(f"next: earmark train lmac {run} {data}", err=True)
