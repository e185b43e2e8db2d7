"""From the scores of windows to events: thresholds, hysteresis, gaps closed, short ones left out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..values.arrays import FloatArray
from .recent import Stretch
from .smoothing import ROUNDING_S, PlacedScores, Smoother


@dataclass(frozen=True, slots=True)
class Merging:
    """How windows become events, for K labels.

    enter, leave: [K] thresholds, `leave` at most `enter`; infinity for labels that are not asked for
    gap_s: events of one label at most so far apart become one
    shortest_s: shorter events are left out
    top: only so many labels of a window count, the best ones; None: all
    smooth_s: scores are means over windows whose middles are at most half of that away
    """

    enter: FloatArray
    leave: FloatArray
    gap_s: float = 0.0
    shortest_s: float = 0.0
    top: int | None = None
    smooth_s: float = 0.0


@dataclass(slots=True)
class Event:
    """A run of windows in which one label scores enough; `end_s` moves on while it is open.

    label: class index
    first, last: numbers of its first and last window, counted over the recording
    start_s, end_s: from the first border of its windows to the last one, see `Merger`
    windows_start_s, windows_end_s: from the begin of its first window to the end of its last
    peak: highest score; peak_number, peak_start_s, peak_end_s: of the first window that has it
    total, count: sum of the scores of its windows, and how many they are
    entered: whether the peak has reached the label's threshold
    stretch: the sound to be explained, held where the event has become too long to wait for its end
    """

    label: int
    first: int
    last: int
    start_s: float
    end_s: float
    windows_start_s: float
    windows_end_s: float
    peak: float
    peak_number: int
    peak_start_s: float
    peak_end_s: float
    total: float
    count: int
    entered: bool
    stretch: Stretch | None = None

    @property
    def mean(self) -> float:
        """Mean score of its windows."""
        return self.total / self.count

    def absorb(self, later: Event) -> None:
        """Take a later event of the same label in, across the gap between them."""
        self.last, self.end_s, self.windows_end_s = later.last, later.end_s, later.windows_end_s
        self.total, self.count = self.total + later.total, self.count + later.count
        if later.peak > self.peak:
            self.peak, self.peak_number = later.peak, later.peak_number
            self.peak_start_s, self.peak_end_s = later.peak_start_s, later.peak_end_s
            self.stretch = later.stretch


class Merger:
    """Sees windows in order and gives every event once its end is known; memory does not grow with time.

    An event is a run of windows in which its label scores at least `leave`, one of them at least `enter`.
    The border between two windows that overlap is the middle of what they share, so that every moment of the
    recording belongs to one window. An event lasts from the first border of its run to the last one.
    """

    def __init__(self, merging: Merging) -> None:
        self._merging = merging
        self._smoother = Smoother(merging.smooth_s)
        self._before: PlacedScores | None = None
        # Label -> the run that goes on; the event that waits for another within the gap.
        self._running: dict[int, Event] = {}
        self._waiting: dict[int, Event] = {}

    def add(self, number: int, start_s: float, end_s: float, scores: FloatArray) -> list[Event]:
        """See one more window with its scores [K]; gives the events that are over."""
        window = PlacedScores(number, start_s, end_s, scores)
        return [event for one in self._smoother.add(window) for event in self._see(one)]

    def _see(self, window: PlacedScores) -> list[Event]:
        """See the next window with the scores that count."""
        begin_s = start_s = window.start_s
        high = self._high(window.scores)
        if self._before is not None:
            middle_s = 0.5 * (self._before.end_s + start_s)
            begin_s = max(start_s, middle_s)
            for label in self._running.keys() - high:
                self._close(self._running.pop(label), min(self._before.end_s, middle_s))
        self._before = window
        for label in high:
            self._extend(label, float(window.scores[label]), window, begin_s)
        return self._over(begin_s)

    def finish(self) -> list[Event]:
        """The sound ends with the last window: gives the events that are left."""
        over = [event for one in self._smoother.finish() for event in self._see(one)]
        if self._before is not None:
            for event in self._running.values():
                self._close(event, self._before.end_s)
        self._before, self._running = None, {}
        return [*over, *self._over(math.inf)]

    def pending(self) -> Iterator[Event]:
        """Events that are not over, and runs that may become one."""
        yield from self._running.values()
        yield from self._waiting.values()

    def _high(self, scores: FloatArray) -> set[int]:
        """Labels of a window that score enough to stay, and are among its best."""
        high = {int(label) for label in np.flatnonzero(scores >= self._merging.leave)}
        top = self._merging.top
        if top is not None and len(high) > 0:
            high &= {int(label) for label in np.argsort(-scores, kind="stable")[:top]}
        return high

    def _extend(self, label: int, score: float, window: PlacedScores, begin_s: float) -> None:
        one = Event(
            label=label,
            first=window.number,
            last=window.number,
            start_s=begin_s,
            end_s=window.end_s,
            windows_start_s=window.start_s,
            windows_end_s=window.end_s,
            peak=score,
            peak_number=window.number,
            peak_start_s=window.start_s,
            peak_end_s=window.end_s,
            total=score,
            count=1,
            entered=score >= float(self._merging.enter[label]),
        )
        if label in self._running:
            self._running[label].absorb(one)
            self._running[label].entered |= one.entered
        else:
            self._running[label] = one

    def _close(self, event: Event, end_s: float) -> None:
        """A run is over: an event if it entered, joined to the one before it where that still waits."""
        event.end_s = end_s
        if not event.entered:
            return
        earlier = self._waiting.get(event.label)
        if earlier is not None:
            earlier.absorb(event)
        else:
            self._waiting[event.label] = event

    def _over(self, begin_s: float) -> list[Event]:
        """Events that nothing can join any more: further runs begin after `begin_s`."""
        gap_s, shortest_s = self._merging.gap_s, self._merging.shortest_s
        over = []
        for label, event in list(self._waiting.items()):
            run = self._running.get(label)
            if run is not None and run.start_s - event.end_s <= gap_s + ROUNDING_S:
                continue
            if run is None and begin_s - event.end_s < gap_s - ROUNDING_S:
                continue
            del self._waiting[label]
            if event.end_s - event.start_s >= shortest_s - ROUNDING_S:
                over.append(event)
        return sorted(over, key=lambda event: (event.start_s, event.label))
