"""Event-based and segment-based agreement of detections with true events.

Mesaros, Heittola, Virtanen, "Metrics for Polyphonic Sound Event Detection", Applied Sciences 6(6), 2016,
sections 3.1 and 3.2; definitions as in the package sed_eval, with whose counts these are compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...runtime.values.arrays import Values

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


class Agreement(NamedTuple):
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
) -> Agreement:
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
        return Agreement(0, len(detections), len(events))
    true, found = _times(events), _times(detections)
    apart = np.abs(true[:, None] - found[None, :])
    ends = np.maximum(collar_s, end_share * (true[:, 1] - true[:, 0]))
    fits = (apart[..., 0] <= collar_s) & (apart[..., 1] <= ends[:, None])
    hits = int((maximum_bipartite_matching(csr_matrix(fits), perm_type="column") >= 0).sum())
    return Agreement(hits, len(detections) - hits, len(events) - hits)


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
) -> Agreement:
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
    return Agreement(int((true & found).sum()), int((~true & found).sum()), int((true & ~found).sum()))


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
