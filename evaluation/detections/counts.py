"""Agreement of detections with true events: event-based, segment-based and of windows; counts and figures.

Mesaros, Heittola, Virtanen, "Metrics for Polyphonic Sound Event Detection", Applied Sciences 6(6), 2016,
sections 3.1 and 3.2; definitions as in the package sed_eval, with whose counts these are compared.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from ...runtime.scores.windows import WindowScores
from ...runtime.values.arrays import FloatArray, Values
from ..statistics import Interval, average_precision, bootstrap, roc_auc

Flags = npt.NDArray[np.bool_]


class Occurrence(NamedTuple):
    """A label over a stretch of a recording, in seconds: a true event, or a detection.

    level_db: how loud a true event is over its background, where that is known
    """

    recording: str
    label: str
    start_s: float
    end_s: float
    level_db: float | None = None


class DetectionAgreement(NamedTuple):
    """Counts of what was detected rightly, wrongly, and not.

    hits: true positives; false: false positives; missed: false negatives
    """

    hits: int = 0
    false: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        """Share of the detections that are right; NaN where there are none."""
        return self.hits / (self.hits + self.false) if self.hits + self.false else math.nan

    @property
    def recall(self) -> float:
        """Share of the events that were detected; NaN where there are none."""
        return self.hits / (self.hits + self.missed) if self.hits + self.missed else math.nan

    @property
    def f1(self) -> float:
        """F1 = 2 hits / (2 hits + false + missed); NaN where there is neither event nor detection."""
        total = 2 * self.hits + self.false + self.missed
        return 2 * self.hits / total if total else math.nan


def event_agreement(
    events: Sequence[Occurrence],
    detections: Sequence[Occurrence],
    *,
    collar_s: float = 0.5,
    end_share: float = 0.2,
) -> DetectionAgreement:
    """Count detections that match true events, of one recording and label.

    A detection matches an event when their begins are at most `collar_s` apart and their ends at most
    max(`collar_s`, `end_share` times the event's length). Each counts once, in the assignment that matches
    most.

    Args:
        events: The true ones.
        detections: What was detected.
        collar_s: Tolerance in seconds.
        end_share: Tolerance of the end, as a share of the event's length.

    Returns:
        The counts.

    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching

    if not events or not detections:
        return DetectionAgreement(0, len(detections), len(events))
    true, found = _times(events), _times(detections)
    apart = np.abs(true[:, None] - found[None, :])
    ends = np.maximum(collar_s, end_share * (true[:, 1] - true[:, 0]))
    fits = (apart[..., 0] <= collar_s) & (apart[..., 1] <= ends[:, None])
    hits = int((maximum_bipartite_matching(csr_matrix(fits), perm_type="column") >= 0).sum())
    return DetectionAgreement(hits, len(detections) - hits, len(events) - hits)


def overlapping(events: Sequence[Occurrence], detections: Sequence[Occurrence]) -> tuple[Flags, Flags]:
    """Whether each event, and each detection, shares any time with one of the others.

    Args:
        events: The true ones, of one recording and label.
        detections: What was detected.

    Returns:
        Of the events [n] and of the detections [m].

    """
    true, found = _times(events), _times(detections)
    shared = (true[:, None, 0] < found[None, :, 1]) & (found[None, :, 0] < true[:, None, 1])
    return np.asarray(shared.any(axis=1)), np.asarray(shared.any(axis=0))


def segment_agreement(
    events: Sequence[Occurrence],
    detections: Sequence[Occurrence],
    seconds: float,
    *,
    segment_s: float = 1.0,
) -> DetectionAgreement:
    """Count segments of a recording in which a label occurs, and in which it was detected.

    Args:
        events: The true ones, of one recording and label.
        detections: What was detected.
        seconds: Length of the recording.
        segment_s: Length of a segment; the last one may be shorter.

    Returns:
        The counts.

    """
    count = max(1, math.ceil(round(seconds / segment_s, 9)))
    true, found = (_active(some, count, segment_s) for some in (events, detections))
    return DetectionAgreement(
        int((true & found).sum()), int((~true & found).sum()), int((true & ~found).sum())
    )


def _times(some: Iterable[Occurrence]) -> Values:
    """Begins and ends [n, 2] in seconds."""
    return np.array([(one.start_s, one.end_s) for one in some], np.float64).reshape(-1, 2)


def _active(some: Iterable[Occurrence], count: int, segment_s: float) -> Flags:
    """Whether any part of a segment is covered, [count]."""
    active = np.zeros(count, bool)
    for one in some:
        first = math.floor(one.start_s / segment_s)
        active[first : max(first + 1, math.ceil(round(one.end_s / segment_s, 9)))] = True
    return active


class Counts(NamedTuple):
    """Of one label, in one recording or in several.

    events: how many there are; found: those that share time with a detection
    detections: how many there are; right: those that share time with an event
    matched: pairs that agree within the collar
    segment_hits, segment_false, segment_missed: segments with the event that are detected, and so on
    """

    events: int = 0
    found: int = 0
    detections: int = 0
    right: int = 0
    matched: int = 0
    segment_hits: int = 0
    segment_false: int = 0
    segment_missed: int = 0

    def figures(self, hours: float) -> dict[str, float]:
        """Shares 0..1, NaN of nothing, and false detections an hour of sound."""
        false = self.detections - self.right
        events = DetectionAgreement(self.matched, self.detections - self.matched, self.events - self.matched)
        segments = DetectionAgreement(self.segment_hits, self.segment_false, self.segment_missed)
        return {
            "right": self.right / self.detections if self.detections else math.nan,
            "false_per_hour": false / hours if hours else math.nan,
            "found": self.found / self.events if self.events else math.nan,
            **{
                f"{kind}_{key}": float(getattr(agreement, key))
                for kind, agreement in (("event", events), ("segment", segments))
                for key in ("precision", "recall", "f1")
            },
        }


class RecordingCounts(NamedTuple):
    """What one recording counts: its name, its length in hours, counts by label."""

    name: str
    hours: float
    counts: dict[str, Counts]


def counts_of(
    events: Sequence[Occurrence],
    detections: Sequence[Occurrence],
    seconds: float,
    *,
    collar_s: float,
    segment_s: float,
) -> dict[str, Counts]:
    """Count one recording, label by label, for the labels that have events or detections.

    Args:
        events: Its true ones.
        detections: What was detected.
        seconds: Its length.
        collar_s: Tolerance of begin and end.
        segment_s: Length of a segment.

    Returns:
        Label -> counts.

    """
    counts = {}
    for label in sorted({one.label for one in (*events, *detections)}):
        true, found = ([one for one in some if one.label == label] for some in (events, detections))
        events_found, detections_right = overlapping(true, found)
        matched = event_agreement(true, found, collar_s=collar_s).hits
        segments = segment_agreement(true, found, seconds, segment_s=segment_s)
        counts[label] = Counts(
            len(true), int(events_found.sum()), len(found), int(detections_right.sum()), matched, *segments
        )
    return counts


def summed(recordings: Sequence[RecordingCounts], label: str | None = None) -> Counts:
    """The counts of all recordings together, of one label or of all."""
    some = [
        counts for one in recordings for name, counts in one.counts.items() if label is None or name == label
    ]
    return Counts(*np.sum(some, axis=0).tolist()) if some else Counts()


def intervals(recordings: Sequence[RecordingCounts], seed: int) -> dict[str, Interval]:
    """Each figure of all labels together, with its bootstrap interval over whole recordings."""
    counts = np.array([summed([one]) for one in recordings]).reshape(len(recordings), -1)
    hours = np.array([one.hours for one in recordings])

    def interval(key: str) -> Interval:
        def figure(drawn: Values) -> float:
            rows = drawn.astype(np.intp)
            return Counts(*counts[rows].sum(axis=0)).figures(float(hours[rows].sum()))[key]

        return bootstrap(np.arange(len(recordings)), statistic=figure, seed=seed)

    with warnings.catch_warnings():
        # Recordings may be drawn that hold nothing: then there is a figure, but no interval.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        return {key: interval(key) for key in Counts().figures(0.0)}


def holds_event(windows: WindowScores, events: Sequence[Occurrence]) -> Flags:
    """Whether each window shares with one of the events half of it, or half of the event if that is shorter.

    Args:
        windows: W windows.
        events: Of one recording and label.

    Returns:
        [W].

    """
    holds = np.zeros(len(windows), bool)
    for event in events:
        shared = np.minimum(windows.end_s, event.end_s) - np.maximum(windows.start_s, event.start_s)
        shorter = np.minimum(windows.end_s - windows.start_s, event.end_s - event.start_s)
        holds |= shared >= 0.5 * shorter - 1e-9
    return holds


@dataclass(frozen=True)
class RankedWindows:
    """The windows of all recordings, for the labels that have events.

    Attributes:
        labels: Those labels.
        truth: [W, labels] of each recording: whether the window holds an event.
        scores: [W, labels] of each recording, 0..1.

    """

    labels: Sequence[str]
    truth: list[Flags] = field(default_factory=list)
    scores: list[FloatArray] = field(default_factory=list)

    def add(self, windows: WindowScores, events: Sequence[Occurrence]) -> None:
        """Take the windows of one more recording with its events."""
        columns = [windows.labels.index(label) for label in self.labels]
        self.scores.append(np.asarray(windows.scores[:, columns], np.float32))
        held = [holds_event(windows, [one for one in events if one.label == name]) for name in self.labels]
        self.truth.append(np.stack(held, axis=1))

    def figures(self) -> dict[str, dict[str, float]]:
        """For each label: windows that hold its events, average precision, area under the ROC curve."""
        if not self.truth:
            return {}
        truth, scores = np.concatenate(self.truth), np.concatenate(self.scores)
        return {
            label: {
                "windows": int(truth[:, k].sum()),
                "window_ap": average_precision(truth[:, k], scores[:, k]),
                "window_auroc": roc_auc(truth[:, k], scores[:, k]),
            }
            for k, label in enumerate(self.labels)
        }
