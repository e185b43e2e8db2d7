"""`earmark evaluate events`: does each explanation point at the event, beside what knows nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...evaluation.localisation.settings import LocalisationSettings
from ...progress import Progress
from ..console import say, say_json, tell
from ..inputs import tell_skipped
from ..options import device_option, json_option
from ..settings_options import Given, settings_options
from ..written import write_lines
from .inputs import fail_for
from .options import bundle_and_data, fold_option, records_option

if TYPE_CHECKING:
    from ...evaluation.localisation.judge import Localisation
    from ...runtime.bundle.manifest import Manifest


@click.command()
@bundle_and_data
@click.option(
    "--events",
    "table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CSV",
    help="What truly sounds: clip, label, start_s, end_s. [default: DATA/events.csv]",
)
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD",
    help="A row of the table; all that the bundle has by default.",
)
@click.option("--calls", type=click.IntRange(1), metavar="N", help="Budget of segments.")
@click.option("--surrogate", metavar="NAME", help="Surrogate of segments.")
@click.option("--fill", metavar="NAME", help="What segments masks with.")
@settings_options(LocalisationSettings)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="The first N clips only.")
@fold_option
@records_option
@device_option
@json_option
def events(
    bundle: Path,
    data: Path,
    table: Path | None,
    methods: Sequence[str],
    calls: int | None,
    surrogate: str | None,
    fill: str | None,
    given: Given[LocalisationSettings],
    limit: int | None,
    fold: int | None,
    records: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Judge where in time the explanations of BUNDLE lie, by the true events of the clips of DATA.

    Every row says when something sounded: AUC and average precision over the segments of a clip. Exits with 1
    where a clip could not be judged and was left out.
    """
    from ...evaluation.data.folder import list_sounds
    from ...evaluation.localisation.events import read_events
    from ...evaluation.localisation.judge import judge_localisation
    from ...evaluation.localisation.localisers import available
    from ...runtime.explainer import engine_of, load
    from ...runtime.methods.segments.settings import SegmentSettings

    how = given.settings()
    path = table or data / "events.csv"
    if not path.is_file():
        raise click.UsageError(f"{path} is not there: name the table of events by --events CSV")
    named = {"calls": calls, "surrogate": surrogate, "fill": fill}
    settings = {name: value for name, value in named.items() if value is not None}
    made = SegmentSettings.of(settings)
    explainer = load(bundle, device=device)
    localisers = available(explainer, settings)
    for name in methods:
        if name not in localisers:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(localisers)}", param_hint="--method")
    chosen = {name: localisers[name] for name in methods or localisers}
    if any(name.startswith("segments") for name in chosen):
        made.require()
    elif settings:
        raise click.UsageError(f"--{next(iter(settings))} is an option of segments: add -m segments")
    sounds = list_sounds(data, fewest_classes=1)
    tell_skipped(sounds.skipped)
    annotations = read_events(path, sounds, explainer.labels, strict=how.strict)
    if annotations.overlapping:
        tell(
            f"{path}: {annotations.overlapping} events overlap another of their label and clip; a segment "
            "takes its largest overlap with any one"
        )
    clips = [one for one in annotations.clips if fold in {None, one.clip.fold}]
    if not clips:
        raise click.BadParameter(f"no clip of fold {fold} has events", param_hint="--fold")
    clips = clips[:limit]
    with Progress(len(clips), "locating") as bar:
        found = judge_localisation(
            explainer,
            clips,
            chosen,
            how,
            on_clip=bar.step,
        )
    skipped = [*annotations.left_out, *found.left_out]
    for name, reason in skipped:
        tell(f"left out {name}: {reason}")
    if records is not None:
        _write_records(records, found)
    about: dict[str, Any] = {"data": str(data), "events": str(path), "clips": len(clips)}
    about |= {"rule": how.rule, "segment_seconds": how.segment_seconds}
    about["skipped"] = [{"clip": name, "reason": reason} for name, reason in skipped]
    _print(engine_of(explainer).manifest, found, about, as_json=as_json)
    fail_for(skipped)


def _print(manifest: Manifest, found: Localisation, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """The table on stdout."""
    right = {(one.clip, one.label): one.correct for one in found.judged}
    about = {
        **facts,
        "bundle": manifest.name,
        "bundle_id": manifest.bundle_id,
        "correct_only": found.correct_only,
        "correct": sum(right.values()),
        "judged": len(right),
        "seed": found.seed,
    }
    table = found.table()
    if as_json:
        say_json({**about, "table": table.to_dict()}, indent=2)
        return
    say(
        f"{about['bundle']}: {about['judged']} clips with events, {about['correct']} of them classified as "
        f"labelled; segments of {about['segment_seconds']:g} s, rule {about['rule']}",
        "",
        *table.text(intervals=True).split("\n"),
    )


def _write_records(path: Path, found: Localisation) -> None:
    """One line of JSON an explanation."""
    from dataclasses import asdict

    # What is not a number is null.
    rows = [{k: None if v != v else v for k, v in asdict(one).items()} for one in found.judged]  # noqa: PLR0124
    write_lines(path, rows)
