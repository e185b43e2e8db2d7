"""`earmark evaluate --events`: does each explanation point at the event, beside what knows nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import say, say_json, tell
from .inputs import tell_skipped

if TYPE_CHECKING:
    from ..evaluation.localisation import Localisation
    from ..runtime.explainer import Explainer

# The options that hold with --events alone, as `evaluate` receives them; None where not given.
EVENT_OPTIONS = ("calls", "surrogate", "fill", "segment_seconds", "rule", "correct_only", "limit")
# Options of the other table that serve here as well.
_SHARED = ("methods", "fold", "intervals", "records", "device", "seed", "as_json")


def events_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of `EVENT_OPTIONS`."""
    options = [
        click.option("--calls", type=click.IntRange(1), metavar="N", help="--events: budget of segments."),
        click.option("--surrogate", metavar="NAME", help="--events: surrogate of segments."),
        click.option("--fill", metavar="NAME", help="--events: what segments masks with."),
        click.option(
            "--segment-seconds",
            type=click.FloatRange(0, min_open=True),
            metavar="S",
            help="--events: length of a segment. [default: 0.1]",
        ),
        click.option(
            "--rule",
            type=click.Choice(["half", "overlap90"]),
            help="--events: a segment is the event's from half of it on (default), or above 90 ms, the "
            "reference's rule, which leaves out those between.",
        ),
        click.option(
            "--correct-only", is_flag=True, default=None, help="--events: only clips classified as labelled."
        ),
        click.option(
            "--limit", type=click.IntRange(1), metavar="N", help="--events: the first N clips only."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def refuse_event_options(options: Mapping[str, Any]) -> None:
    """Raise click.UsageError where one of them is given without --events."""
    for name in EVENT_OPTIONS:
        if options.get(name) is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --events")


def evaluate_events(bundle: Path, data: Path, events: Path, **options: Any) -> None:
    """Print the table of localisation: methods as rows, AUC, average precision, clips, calls, seconds.

    options: those of `earmark evaluate`; what belongs to the other table is passed over.
    """
    from ..evaluation.events import read_events
    from ..evaluation.localisation import judge_localisation
    from ..evaluation.localisers import available
    from ..evaluation.sound_folders import list_sounds
    from ..runtime.explainer import load
    from ..runtime.segments import SegmentSettings

    given: dict[str, Any] = {
        name: options[name] for name in (*EVENT_OPTIONS, *_SHARED) if options.get(name) is not None
    }
    settings: dict[str, Any] = {name: given[name] for name in ("calls", "surrogate", "fill") if name in given}
    SegmentSettings.of(settings)
    explainer = load(bundle, device=given.get("device", "auto"))
    localisers = available(explainer, settings)
    asked: Sequence[str] = given.get("methods") or ()
    for name in asked:
        if name not in localisers:
            raise click.BadParameter(
                f"{name!r} is not one of {', '.join(localisers)} (with --events)", param_hint="--method"
            )
    sounds = list_sounds(data, fewest_classes=1)
    tell_skipped(sounds.skipped)
    annotations = read_events(events, sounds, explainer.labels)
    if annotations.overlapping:
        tell(
            f"{events}: {annotations.overlapping} events overlap another of their label and clip; a segment "
            "takes its largest overlap with any one"
        )
    clips = [one for one in annotations.clips if given.get("fold") in {None, one.clip.fold}]
    if not clips:
        raise click.BadParameter(f"no clip of fold {given['fold']} has events", param_hint="--fold")
    clips = clips[: given.get("limit", len(clips))]
    bar = click.progressbar(length=len(clips), label="locating", file=sys.stderr)
    with bar if sys.stderr.isatty() else _Silent() as progress:
        found = judge_localisation(
            explainer,
            clips,
            {name: localisers[name] for name in asked or localisers},
            segment_seconds=given.get("segment_seconds", 0.1),
            rule=given.get("rule", "half"),
            correct_only=bool(given.get("correct_only")),
            seed=given.get("seed", 0),
            on_clip=lambda: progress.update(1),
        )
    for note in found.notes:
        tell(note)
    if "records" in given:
        _write_records(given["records"], found)
    _print(explainer, found, given, {"data": str(data), "events": str(events), "clips": len(clips)})


def _print(
    explainer: Explainer, found: Localisation, given: Mapping[str, Any], about: dict[str, Any]
) -> None:
    """The table on stdout."""
    right = {(one.clip, one.label): one.correct for one in found.judged}
    about |= {
        "bundle": explainer.manifest.name,
        "bundle_id": explainer.manifest.bundle_id,
        "rule": given.get("rule", "half"),
        "segment_seconds": given.get("segment_seconds", 0.1),
        "correct_only": found.correct_only,
        "correct": sum(right.values()),
        "judged": len(right),
        "seed": found.seed,
    }
    table = found.table()
    if given.get("as_json"):
        document = {**about, "table": table.to_dict(), "notes": list(found.notes)}
        say_json(document, indent=2)
        return
    say(
        f"{about['bundle']}: {about['judged']} clips with events, {about['correct']} of them classified as "
        f"labelled; segments of {about['segment_seconds']:g} s, rule {about['rule']}",
        "",
    )
    say(*table.text(intervals=True).split("\n"))


def _write_records(path: Path, found: Localisation) -> None:
    """One line of JSON an explanation."""
    from dataclasses import asdict

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for one in found.judged:
            record = {k: None if v != v else v for k, v in asdict(one).items()}  # noqa: PLR0124 (NaN)
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")


class _Silent:
    """A progress bar that nobody sees."""

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def update(self, _count: int) -> None:
        """Nothing."""
