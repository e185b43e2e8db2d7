"""`earmark evaluate detections`: how well the true events of recordings are detected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...errors import LabelError, SettingsError
from ...evaluation.settings import AgreementSettings
from ...times import duration_text
from ..console import bold, tell
from ..options import device_option, examples, json_option
from ..settings_options import Given, settings_options
from .options import (
    Output,
    bundle_and_data,
    csv_option,
    events_of,
    events_option,
    fail_for,
    intervals_option,
    records_option,
)


@click.command(epilog=examples("earmark evaluate detections bundle recordings --min-score 0.6"))
@bundle_and_data
@events_option
@settings_options(AgreementSettings)
@intervals_option
@csv_option
@records_option
@device_option
@json_option
def detections(
    bundle: Path,
    data: Path,
    table: Path | None,
    given: Given[AgreementSettings],
    device: str,
    **output: Any,
) -> None:
    """Judge what BUNDLE detects in DATA, a folder of recordings, by their true events.

    Windows: how well their scores rank those with events. Detections: which share time with an event of their
    label. Events: which share time with a detection; which agree with one within the collar at their begin,
    and within the collar or a fifth of the event at their end, one to one; and segments of a second. Exits
    with 1 where a recording could not be read.
    """
    from ...evaluation.detections.evaluate import evaluate_detections
    from ...runtime.explainer import load

    path, settings = events_of(table, data), given.settings()
    try:
        report = evaluate_detections(
            load(bundle, device=device), data, settings, events=path, tell=tell, quiet=False
        )
    except (LabelError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    out = Output(**output)
    text = [
        f"{report.bundle}: {len(report.records)} recordings, {duration_text(3600.0 * report.hours)}; "
        f"collar {settings.collar_s:g} s, segments of {settings.segment_s:g} s"
    ]
    tables = report.tables | ({"events by level": report.levels} if report.levels.rows else {})
    for name, part in tables.items():
        text += ["", bold(name), *out.lines(part)]
    out.give(report, report.table, text)
    fail_for(report.skipped)
