"""Where in time explanations lie: the whole evaluation, from a bundle and true events to a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import DataError, MethodError
from ...progress import Progress
from ...runtime.audio.listing import skipped_lines
from ...runtime.explainer import Explainer, engine_of
from ...runtime.methods.segments.settings import SegmentSettings
from ..data.clips import Tell, ignore, require_classes
from ..data.folder import SoundFolder
from ..document import Report
from ..questions import function_at, is_reference
from ..settings import LocalisationSettings, Rule
from ..table import Table
from .events import read_events
from .judge import EventRecord, judge_localisation
from .localisers import Localiser, available, by_function, check_methods


@dataclass(frozen=True, kw_only=True)
class EventReport(Report[EventRecord]):
    """What `evaluate_events` returns; `to_dict` is the document of `earmark evaluate events --json`.

    Attributes:
        clips: Pairs of clip and label that have events and were to be judged.
        judged, correct: Pairs that were judged, and those of them that are classified as labelled.
        settings, segments: How they were judged, and how the method segments asked.

    """

    events: str
    clips: int
    rule: Rule
    segment_seconds: float
    correct_only: bool
    correct: int
    judged: int
    seed: int
    settings: LocalisationSettings
    segments: Mapping[str, Any]
    table: Table


def evaluate_events(
    explainer: Explainer,
    sounds: SoundFolder,
    settings: LocalisationSettings | None = None,
    *,
    events: Path | None = None,
    segments: SegmentSettings | None = None,
    more: Mapping[str, Localiser] | None = None,
    tell: Tell = ignore,
    quiet: bool = True,
) -> EventReport:
    """Judge where explanations lie: AUC and average precision over the segments of each clip.

    Args:
        explainer: The bundle, opened.
        sounds: Labelled clips, as `list_sounds(folder, fewest_classes=1)` lists them.
        settings: Rows, segments and the rule; None: the defaults.
        events: Table of the true events (clip, label, start_s, end_s); None: events.csv in the data folder.
        segments: Of the method segments; its length of a segment is that of `settings`.
        more: Further localisers by name, which are rows of the table as well.
        tell: Takes what a person should know, line by line, as soon as it is known.
        quiet: Show no progress bar.

    Returns:
        The table, best AUC first, and records.

    Raises:
        MethodError: The bundle does not have a method.
        MissingDependencyError: A surrogate's package is missing.
        DataError: The events cannot be read, or nothing can be judged; with `strict` the first clip that
            cannot.

    """
    how = settings or LocalisationSettings()
    require_classes(engine_of(explainer).manifest)
    path = events or sounds.path / "events.csv"
    chosen = _chosen(how.methods, available(explainer, segments) | dict(more or {}))
    if segments is not None and any(name.startswith("segments") for name in chosen):
        segments.require()
    annotations = read_events(path, sounds, explainer.labels, strict=how.strict)
    for line in skipped_lines(sounds.skipped):
        tell(line)
    if annotations.overlapping:
        tell(
            f"{path}: {annotations.overlapping} events overlap another of their label and clip; a segment "
            "takes its largest overlap with any one"
        )
    clips = [one for one in annotations.clips if how.fold in {None, one.clip.fold}][: how.limit]
    if not clips:
        raise DataError(f"{path}: no clip of fold {how.fold} has events")
    with Progress(len(clips), "locating", quiet=quiet) as bar:
        located = judge_localisation(explainer, bar.over(clips), chosen, how)
    skipped = [*annotations.left_out, *located.left_out]
    for name, reason in skipped:
        tell(f"left out {name}: {reason}")
    manifest = engine_of(explainer).manifest
    correct = {(one.clip, one.label): one.correct for one in located.judged}
    return EventReport(
        data=str(sounds.path),
        events=str(path),
        clips=len(clips),
        rule=how.rule,
        segment_seconds=how.segment_seconds,
        skipped=skipped,
        bundle=manifest.name,
        bundle_id=manifest.bundle_id,
        correct_only=how.correct_only,
        correct=sum(correct.values()),
        judged=len(correct),
        seed=how.seed,
        settings=how,
        segments=(segments or SegmentSettings()).to_dict(),
        table=located.table(),
        records=located.judged,
    )


def _chosen(names: Sequence[str], there: Mapping[str, Localiser]) -> dict[str, Localiser]:
    """The rows in the order asked for; none: all. Raises MethodError."""
    check_methods(names)
    chosen: dict[str, Localiser] = {}
    for name in names or there:
        if name in there:
            chosen[name] = there[name]
        elif is_reference(name):
            function: Any = function_at(name)
            chosen[name] = partial(by_function, name=name, function=function)
        else:
            raise MethodError(f"this bundle has no {name!r}; it has {', '.join(there)}")
    return chosen
