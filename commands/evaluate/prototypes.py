"""`earmark evaluate prototypes`: labels of the nearest prototypes, and what their places are worth."""

from __future__ import annotations

from pathlib import Path

import click

from ...evaluation.prototypes.settings import PrototypeSettings
from ..console import say, say_json, tell
from ..options import device_option, examples, json_option
from ..settings_options import Given, settings_options
from ..written import write_lines, write_text
from .options import (
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
    bundle: Path,
    data: Path,
    given: Given[PrototypeSettings],
    preset: str | None,
    csv_file: Path | None,
    intervals: bool,
    records: Path | None,
    device: str,
    as_json: bool,
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
    settings = below(given, {} if paper is None else paper.settings).settings()
    report = evaluate_prototypes(
        load(bundle, device=device),
        listed_clips(data, settings),
        settings,
        tell=tell,
        quiet=False,
    )
    if csv_file is not None:
        write_text(csv_file, report.prototypes.csv())
    if records is not None:
        write_lines(records, report.records)
    if as_json:
        say_json(document_of(report.to_dict(), "prototypes", preset), indent=2)
    else:
        right = f"{report.right / report.clips:.1%} classified as labelled; "
        say(
            f"{report.bundle}: {report.clips} clips, {'' if settings.any_label else right}removed from the "
            f"{report.domain}",
            "",
            *report.prototypes.text(intervals=intervals).split("\n"),
        )
    fail_for(report.skipped)
