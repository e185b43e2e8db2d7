"""`earmark evaluate prototypes`: labels of the nearest prototypes, and what their places are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...evaluation.settings import PrototypeSettings
from ..console import tell
from ..options import device_option, examples, json_option
from ..settings_options import Given, settings_options
from .options import (
    Output,
    below,
    bundle_and_data,
    csv_option,
    fail_for,
    intervals_option,
    paper_of,
    preset_option,
    records_option,
    tell_paper,
)


@click.command(epilog=examples("earmark evaluate prototypes bundle data"))
@bundle_and_data
@settings_options(PrototypeSettings)
@preset_option
@csv_option
@intervals_option
@records_option
@device_option
@json_option
def prototypes(
    bundle: Path, data: Path, given: Given[PrototypeSettings], preset: str | None, device: str, **output: Any
) -> None:
    """Judge the nearest prototypes of BUNDLE on DATA, a folder of class folders of sound.

    Every row is a view: how often its nearest prototypes bear the clip's label, and what the logit loses
    where the matched place is removed. Exits with 1 where a clip or a folder could not be read and was left
    out.
    """
    from ...evaluation.benchmark import document_of
    from ...evaluation.data.clips import listed_clips
    from ...evaluation.prototypes.evaluate import evaluate_prototypes
    from ...runtime.explainer import load

    paper = paper_of(preset, "prototypes")
    tell_paper(paper)
    settings = below(given, paper.settings).settings()
    explainer, sounds = load(bundle, device=device), listed_clips(data, settings)
    report = evaluate_prototypes(explainer, sounds, settings, tell=tell, quiet=False)
    out = Output(**output)
    right = "" if settings.any_label else f"{report.right / report.clips:.1%} classified as labelled; "
    out.give(
        report,
        report.prototypes,
        [
            f"{report.bundle}: {report.clips} clips, {right}removed from the {report.domain}",
            "",
            *out.lines(report.prototypes),
        ],
        document_of(report.to_dict(), "prototypes", preset),
    )
    fail_for(report.skipped)
