"""`earmark evaluate events`: does each explanation point at the event, beside what knows nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...errors import MethodError
from ...evaluation.settings import LocalisationSettings
from ...runtime.methods.segments.settings import SegmentSettings
from ..console import tell
from ..options import device_option, examples, json_option
from ..settings_options import Given, settings_options
from .options import (
    Output,
    below,
    bundle_and_data,
    csv_option,
    events_of,
    events_option,
    fail_for,
    paper_of,
    preset_option,
    records_option,
    tell_paper,
)


@click.command(epilog=examples("earmark evaluate events bundle data --events events.csv"))
@bundle_and_data
@events_option
@settings_options(LocalisationSettings)
@preset_option
@csv_option
@settings_options(SegmentSettings, "of_segments", only=("calls", "surrogate", "fill"))
@records_option
@device_option
@json_option
def events(
    bundle: Path,
    data: Path,
    table: Path | None,
    given: Given[LocalisationSettings],
    preset: str | None,
    of_segments: Given[SegmentSettings],
    device: str,
    **output: Any,
) -> None:
    """Judge where in time the explanations of BUNDLE lie, by the true events of the clips of DATA.

    Every row says when something sounded: AUC and average precision over the segments of a clip. Exits with 1
    where a clip could not be judged and was left out.
    """
    from ...evaluation.benchmark import document_of
    from ...evaluation.data.folder import list_sounds
    from ...evaluation.localisation.evaluate import evaluate_events
    from ...evaluation.localisation.localisers import check_methods
    from ...runtime.explainer import load

    paper = paper_of(preset, "events")
    settings = below(given, paper.settings).settings()
    try:
        check_methods(settings.methods)
    except MethodError as error:
        raise click.BadParameter(str(error), param_hint="'--method'") from error
    segments = below(of_segments, paper.segments).settings()
    tell_paper(paper)
    path = events_of(table, data)
    if of_segments and settings.methods and not any(one.startswith("segments") for one in settings.methods):
        raise click.UsageError(f"{of_segments.first} is an option of segments: add -m segments")
    report = evaluate_events(
        load(bundle, device=device),
        list_sounds(data, fewest_classes=1),
        settings,
        events=path,
        segments=segments,
        tell=tell,
        quiet=False,
    )
    Output(**output, intervals=True).give(
        report,
        report.table,
        [
            f"{report.bundle}: {report.judged} clips with events, {report.correct} of them classified as "
            f"labelled; segments of {report.segment_seconds:g} s, rule {report.rule}",
            "",
            *report.table.text(intervals=True).split("\n"),
        ],
        document_of(report.to_dict(), "events", preset),
    )
    fail_for(report.skipped)
