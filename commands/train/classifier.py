"""`earmark train classifier`: a compact classifier from a folder of sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..console import tell
from ..inputs import tell_passed_over
from ..paths import DataFolder
from .options import require_torch, settings_of, shared_options, stored_settings, tell_left_out


@click.command()
@click.argument("data", type=DataFolder(exists=False))
@click.option("-o", "--out", "run", required=True, type=click.Path(path_type=Path), help="The run directory.")
@click.option("--window", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="[default: 5]")
@click.option("--sample-rate", type=click.IntRange(1000), metavar="HZ", help="[default: 16000]")
@click.option(
    "--level",
    type=click.Choice(["none", "peak"]),
    help="Gain before the model: none, or to peak 1 (default).",
)
@click.option(
    "--multi-label/--single-label",
    default=None,
    help="Several labels may hold at once. [default: where DATA has a labels.csv]",
)
@click.option("--mixup", type=click.FloatRange(0), help="Mixup's alpha; 0: none. [default: 0.4]")
@click.option(
    "--shift", type=click.FloatRange(0, 1), help="Part of a sound pushed over an edge. [default: 0.25]"
)
@click.option(
    "--stretches", type=click.IntRange(0), help="Stretches of time and bands silenced. [default: 2]"
)
@click.option("--label-smoothing", type=click.FloatRange(0, 1), help="[default: 0.05]")
@shared_options
def classifier(
    data: Path, run: Path, resume: bool, strict: bool, threads: int | None, quiet: bool, **given: Any
) -> None:
    """Train a compact classifier on DATA, a folder of class folders of sound.

    Clips with several labels, or none, are named by DATA/labels.csv: columns clip and labels, these
    joined by ";". Where a label counts what is heard, take out what changes the count: --mixup 0 --shift 0
    --stretches 0.
    """
    require_torch(threads)
    tell_passed_over(data)
    from ...export.training.classifier import train_classifier
    from ...export.training.settings import ClassifierSettings

    settings = settings_of(ClassifierSettings, given, stored_settings(run, "classifier", resume))
    summary = train_classifier(data, run, settings, resume=resume, strict=strict, quiet=quiet)
    tell_left_out(summary)
    heard = ""
    if summary.get("accuracy") is not None:
        heard = f", {summary['accuracy']:.1%} of {summary['validation_clips']} validation clips right"
    elif summary.get("f1") is not None:
        heard = f", F1 {summary['f1']:.3f} on {summary['validation_clips']} validation clips"
    tell(f"{run}: {summary['parameters']} parameters, {summary['clips']} clips{heard}")
    tell(f"next: earmark train lmac {run} {data}")
