"""`earmark train classifier`: a compact classifier from a folder of sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...export.training.settings import ClassifierSettings
from ..console import tell
from ..inputs import tell_passed_over
from ..paths import DataFolder
from ..settings_options import Given, settings_options
from .options import (
    device_option,
    fail_for_left_out,
    require_torch,
    running_options,
    settings_of,
    tell_left_out,
)

if TYPE_CHECKING:
    from ...export.training.device import Device


@click.command()
@click.argument("data", type=DataFolder())
@click.option("-o", "--out", "run", required=True, type=click.Path(path_type=Path), help="The run directory.")
@device_option
@settings_options(ClassifierSettings)
@running_options
def classifier(
    data: Path,
    run: Path,
    device: Device,
    given: Given[ClassifierSettings],
    resume: bool,
    strict: bool,
    threads: int | None,
    quiet: bool,
) -> None:
    """Train a compact classifier on DATA, a folder of class folders of sound.

    Clips with several labels, or none, are named by DATA/labels.csv: columns clip and labels, these
    joined by ";". Where a label counts what is heard, take out what changes the count: --mixup 0 --shift 0
    --stretches 0. Exits with 1 where a clip or a folder could not be read and was left out.
    """
    require_torch(threads)
    tell_passed_over(data)
    from ...export.training.classifier import train_classifier

    settings = settings_of(given, run, "classifier", resume=resume)
    summary = train_classifier(data, run, settings, device=device, resume=resume, strict=strict, quiet=quiet)
    tell_left_out(summary)
    figures = ""
    if summary.get("accuracy") is not None:
        figures = f", {summary['accuracy']:.1%} of {summary['validation_clips']} validation clips right"
    elif summary.get("f1") is not None:
        figures = f", F1 {summary['f1']:.3f} on {summary['validation_clips']} validation clips"
    tell(f"{run}: {summary['parameters']} parameters, {summary['clips']} clips{figures}")
    tell(f"next: earmark train lmac {run} {data}")
    fail_for_left_out(summary)
