"""Does an explanation point at the event: importances of segments against where the event truly lies.

Bolanos et al. (arXiv 2506.04391), section on evaluation: each segment of a clip is an item, labelled by its
overlap with the annotated event and ranked by its importance; ROC AUC a clip and label, their mean over clips
in which both kinds of segments occur. Here with ties counted as half, with average precision, and with
intervals over source recordings.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from ...errors import DataError, EarmarkError
from ...runtime.explainer import Explainer
from ...runtime.values.arrays import Values
from ..data.folder import LeftOut
from ..ranking import average_precision, roc_auc
from ..settings import LocalisationSettings, Rule
from ..statistics import Interval, bootstrap, paired
from ..table import Cell, Column, Table
from .events import AnnotatedClip, Event
from .localisers import Localiser, task_of

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


def segment_labels(events: Sequence[Event], edges: npt.ArrayLike, rule: Rule = "half") -> Labels:
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
        return bootstrap(
            [getattr(one, what) for one in some], [one.recording for one in some], seed=self.seed
        )

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
