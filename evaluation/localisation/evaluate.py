"""Does an explanation point at the event: the evaluation, from a bundle and true events to a report.

Bolanos et al. (arXiv 2506.04391), section on evaluation: each segment of a clip is an item, labelled by its
overlap with the annotated event and ranked by its importance; ROC AUC a clip and label, their mean over clips
in which both kinds of segments occur. Here with ties counted as half, with average precision, and with
intervals over source recordings.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ...errors import DataError, EarmarkError, MethodError
from ...progress import Progress
from ...runtime.audio.listing import skipped_lines
from ...runtime.explainer import Explainer, engine_of
from ...runtime.methods.segments.settings import SegmentSettings
from ...runtime.values.arrays import Values
from ..data.clips import Tell, ignore, require_classes
from ..data.events import AnnotatedClip, TrueEvent, read_events
from ..data.folder import LeftOut, SoundFolder
from ..questions import function_at, is_reference
from ..report import Cell, Column, Report, Table
from ..settings import LocalisationSettings, Rule
from ..statistics import Interval, average_precision, by_recording, paired, roc_auc
from .localisers import Localiser, available, by_function, check_methods, task_of

Labels = npt.NDArray[np.int8]


def segment_edges(seconds: float, segment_seconds: float = 0.1) -> Values:
    """Edges [M + 1] in seconds of M = ceil(seconds / segment_seconds) segments; the last may be shorter.

    Raises DataError where fewer than two segments fit: there is nothing to rank.
    """
    # A few samples too many are no segment of their own.
    count = int(np.ceil(seconds / segment_seconds - 1e-6))
    if count < 2:
        raise DataError(
            f"a clip of {seconds:g} s is shorter than two segments of {segment_seconds:g} s; "
            "shorten the segments"
        )
    edges: Values = np.arange(count + 1, dtype=np.float64) * segment_seconds
    edges[-1] = seconds
    return edges


def segment_labels(events: Sequence[TrueEvent], edges: npt.ArrayLike, rule: Rule = "half") -> Labels:
    """Label the segments between `edges` [M + 1]: 1 event, 0 none, -1 neither (to be left out); [M].

    What counts is the largest overlap with any one event. rule "half": 1 where that is at least half of the
    segment, else 0. "overlap90", the reference's: 1 where it is above 90 ms (of segments of 100 ms; else nine
    tenths of the usual length), 0 where there is none, -1 between.
    """
    bounds = np.asarray(edges, np.float64)
    starts, ends = bounds[:-1], bounds[1:]
    overlap = np.zeros(len(starts))
    for event in events:
        shared = np.minimum(ends, event.end_s) - np.maximum(starts, event.start_s)
        overlap = np.maximum(overlap, shared)
    lengths = ends - starts
    if rule == "half":
        return (overlap >= 0.5 * lengths - 1e-9).astype(np.int8)
    if rule != "overlap90":
        raise DataError(f"there is no rule {rule!r}; the rules are {', '.join(get_args(Rule))}")
    # The annotation's own rounding is no overlap.
    return np.where(overlap > 0.9 * lengths.max(), 1, np.where(overlap <= 1e-4, 0, -1)).astype(np.int8)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One explanation of one clip, judged.

    clip, label, recording: which; correct: whether the model puts the label first
    auc, precision: NaN where the clip has not both kinds of segments; calls: of the model; seconds: in all
    """

    method: str
    clip: str
    label: str
    recording: str
    correct: bool
    auc: float
    precision: float
    calls: int
    seconds: float


@dataclass(frozen=True)
class Localisation:
    """Every explanation judged, and what the table says of a method."""

    judged: Sequence[EventRecord]
    correct_only: bool = False
    seed: int = 0
    # (clip, why) of clips, and of methods on clips, that could not be judged.
    left_out: tuple[LeftOut, ...] = ()

    def of(self, method: str) -> list[EventRecord]:
        """Those of a method that count."""
        return [one for one in self.judged if one.method == method and (one.correct or not self.correct_only)]

    def methods(self) -> list[str]:
        """In order of appearance."""
        return list(dict.fromkeys(one.method for one in self.judged))

    def interval(self, method: str, what: Literal["auc", "precision"] = "auc") -> Interval:
        """The mean over clips and its bootstrap interval over source recordings."""
        some = self.of(method)
        return by_recording([getattr(one, what) for one in some], some, self.seed)

    def difference(self, method: str, other: str) -> Interval:
        """The mean paired difference in AUC between two methods, over the clips that both explained."""
        first = {(one.clip, one.label): one for one in self.of(method)}
        second = {(one.clip, one.label): one for one in self.of(other)}
        both = [key for key in first if key in second]
        return paired(
            [first[key].auc for key in both],
            [second[key].auc for key in both],
            [first[key].recording for key in both],
            seed=self.seed,
        )

    def table(self) -> Table:
        """Methods as rows, the best AUC first."""
        rows: list[tuple[float, dict[str, Cell]]] = []
        for method in self.methods():
            some = self.of(method)
            auc = self.interval(method)
            row: dict[str, Cell] = {
                "method": method,
                "auc": auc,
                "precision": self.interval(method, "precision"),
                "clips": auc.count,
                "calls": float(np.mean([one.calls for one in some])) if some else None,
                "seconds": float(np.mean([one.seconds for one in some])) if some else None,
            }
            rows.append((float(np.nan_to_num(auc.estimate, nan=-1.0)), row))
        rows.sort(key=lambda ranked: -ranked[0])
        columns = (
            Column("method", "method"),
            Column("auc", "AUC", 3, "higher"),
            Column("precision", "AP", 3, "higher"),
            Column("clips", "clips"),
            Column("calls", "calls", 0, "lower"),
            Column("seconds", "s", 2, "lower"),
        )
        return Table(columns, [row for _, row in rows])


def judge_localisation(
    explainer: Explainer,
    clips: Iterable[AnnotatedClip],
    localisers: Mapping[str, Localiser],
    settings: LocalisationSettings | None = None,
) -> Localisation:
    """Let every localiser find each clip's label, and judge it by the clip's events.

    A clip or localiser that fails is left out and named in `left_out`.
    Raises DataError where nothing could be judged.
    """
    how = settings or LocalisationSettings()
    judged: list[EventRecord] = []
    left_out: list[LeftOut] = []
    for clip in clips:
        try:
            edges = segment_edges(clip.seconds, how.segment_seconds)
            target = explainer.labels.index(clip.label)
            task, predicted = task_of(explainer, clip.clip.path, None, target, edges, how.seed)
        except EarmarkError as error:
            if how.strict:
                raise
            left_out.append(LeftOut(clip.clip.name, str(error)))
            continue
        truth = segment_labels(clip.events, edges, how.rule)
        if how.correct_only and predicted != target:
            continue
        for name, localiser in localisers.items():
            started = time.perf_counter()
            try:
                answer = localiser(task)
            except EarmarkError as error:
                if how.strict:
                    raise
                left_out.append(LeftOut(clip.clip.name, f"{name}: {error}"))
                continue
            judged.append(
                EventRecord(
                    method=name,
                    clip=clip.clip.name,
                    label=clip.label,
                    recording=clip.clip.recording,
                    correct=predicted == target,
                    auc=roc_auc(truth, answer.importance),
                    precision=average_precision(truth, answer.importance),
                    calls=answer.calls,
                    seconds=time.perf_counter() - started,
                )
            )
    if not judged:
        reason = ": ".join(left_out[0]) if left_out else "the model puts another label first in every clip"
        raise DataError(f"no clip could be judged: {reason}")
    return Localisation(judged, how.correct_only, how.seed, tuple(left_out))


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
            chosen[name] = partial(by_function, name=name, function=function_at(name))
        else:
            raise MethodError(f"this bundle has no {name!r}; it has {', '.join(there)}")
    return chosen
