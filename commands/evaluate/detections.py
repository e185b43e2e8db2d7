"""`earmark evaluate detections`: how well the true events of recordings are detected."""

from __future__ import annotations

from pathlib import Path

import click

from ...errors import LabelError, SettingsError
from ..console import say, say_json, tell
from ..options import device_option, json_option
from .options import bundle_and_data, fail_for


@click.command()
@bundle_and_data
@click.option(
    "--events",
    "table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CSV",
    help="True events: clip, label, start_s, end_s. [default: DATA/events.csv]",
)
@click.option("--min-score", default=0.5, show_default=True, type=click.FloatRange(0.0, 1.0), metavar="S")
@click.option("--merge-gap", default=0.0, show_default=True, type=click.FloatRange(0.0), metavar="S")
@click.option("--min-length", default=0.0, show_default=True, type=click.FloatRange(0.0), metavar="S")
@click.option("--hop", type=click.FloatRange(0.0, min_open=True), metavar="S", help="As of earmark detect.")
@click.option(
    "--collar",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0.0, min_open=True),
    metavar="S",
    help="How far begin and end may be from the event's.",
)
@device_option
@json_option
def detections(
    bundle: Path,
    data: Path,
    table: Path | None,
    min_score: float,
    merge_gap: float,
    min_length: float,
    hop: float | None,
    collar: float,
    device: str,
    as_json: bool,
) -> None:
    """Judge what BUNDLE detects in DATA, a folder of recordings, by their true events.

    A detection is right when it begins within the collar of an event's begin, and ends within the collar or
    a fifth of the event of its end; each counts once. Beside it, each second counts by the labels that it
    holds. Exits with 1 where a recording could not be read.
    """
    from ...evaluation.detections.evaluate import evaluate_detections
    from ...runtime.explainer import load

    path = table or data / "events.csv"
    if not path.is_file():
        raise click.UsageError(f"{path} is not there: name the table of events by --events CSV")
    options = {"min_score": min_score, "merge_gap_s": merge_gap, "min_s": min_length, "hop_s": hop}
    try:
        report = evaluate_detections(
            load(bundle, device=device), data, path, collar_s=collar, options=options, tell=tell, quiet=False
        )
    except (LabelError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        say_json(report.to_dict(), indent=2)
    else:
        say(
            f"{report.bundle}: {report.recordings} recordings, {report.hours:.2f} h; collar {collar:g} s",
            "",
            *report.table.text().split("\n"),
        )
    fail_for(report.skipped)
