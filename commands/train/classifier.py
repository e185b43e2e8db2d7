"""`earmark train classifier`: a compact classifier from a folder of sound."""

from __future__ import annotations

from pathlib import Path

import click

from ...export.training.options import ClassifierOptions
from ...export.training.settings import ClassifierSettings
from ..options import examples, folder_option
from ..paths import DataFolder
from ..settings_options import Given, settings_options
from .options import (
    device_option,
    settings_of,
    tell_trained,
    training_options,
)


@click.command(epilog=examples("earmark train classifier data -o run"))
@click.argument("data", type=DataFolder())
@click.option("-o", "--out", "run", required=True, type=click.Path(path_type=Path), help="The run directory.")
@folder_option(
    "--background-sounds", "DIR", "Recordings without any of the labels join silence and faint noise."
)
@device_option
@settings_options(ClassifierSettings)
@training_options(ClassifierOptions)
def classifier(data: Path, run: Path, options: ClassifierOptions, given: Given[ClassifierSettings]) -> None:
    """Train a compact classifier on DATA, a folder of class folders of sound.

    Clips with several labels, or none, are named by DATA/labels.csv: columns clip and labels, these
    joined by ";". Where a label counts events, take out what changes the count: --mixup 0 --shift 0
    --stretches 0. Exits with 1 where a clip or a folder could not be read and was left out.
    """
    from ...export.training.classifier import train_classifier

    summary = train_classifier(
        data, run, settings_of(given, run, "classifier", resume=options.resume), options
    )
    figures = ""
    if "accuracy" in summary.figures:
        share = summary.figures["accuracy"]
        figures = f", {share:.1%} of {summary.validation_clips} validation clips right"
    elif "f1" in summary.figures:
        figures = f", F1 {summary.figures['f1']:.3f} on {summary.validation_clips} validation clips"
    line = f"{run}: {summary.parameters} parameters, {summary.clips} clips{figures}"
    tell_trained(summary, [line], f"earmark train lmac {run} {data}")
