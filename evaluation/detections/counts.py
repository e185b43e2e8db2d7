"""Counts of events and detections, recording by recording, and figures: of their sums, and of windows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from ...runtime.scores.windows import WindowScores
from ...runtime.values.arrays import Values
from ..statistics import Interval, average_precision, bootstrap, roc_auc
from .matching import Agreement, Flags, Occurrence, event_agreement, overlapping, segment_agreement


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
        events = Agreement(self.matched, self.detections - self.matched, self.events - self.matched)
        segments = Agreement(self.segment_hits, self.segment_false, self.segment_missed)
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


class Recording(NamedTuple):
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


def summed(recordings: Sequence[Recording], label: str | None = None) -> Counts:
    """The counts of all recordings together, of one label or of all."""
    some = [
        counts for one in recordings for name, counts in one.counts.items() if label is None or name == label
    ]
    return Counts(*np.sum(some, axis=0).tolist()) if some else Counts()


def intervals(recordings: Sequence[Recording], seed: int) -> dict[str, Interval]:
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


Scores = npt.NDArray[np.float32]


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
    scores: list[Scores] = field(default_factory=list)

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
