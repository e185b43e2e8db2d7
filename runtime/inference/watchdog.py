"""Ends runs of graphs whose time is over, by one thread for all of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any


class Watchdog:
    """One thread that asks runs to end; it sleeps until the first of them has had its time.

    To begin and to end a run takes a lock and wakes nobody: a thread for each run would cost more than many
    a graph, above all where other threads wait for the processor.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._ends: dict[int, tuple[float, Any]] = {}
        self._wakes = float("inf")
        self._thread: threading.Thread | None = None
        # Last, as in `Sessions`: a forked child takes nothing of its parent for its own.
        self._pid = os.getpid()

    @contextmanager
    def limiting(self, options: Any, seconds: float | None) -> Iterator[None]:
        """Ask the run of `options` (onnxruntime's `RunOptions`) to end after so many seconds.

        It does so between two operators. None: no limit.
        """
        if seconds is None:
            yield
            return
        if self._pid != os.getpid():
            self._reset()
        end = monotonic() + seconds
        with self._changed:
            self._ends[id(options)] = end, options
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="earmark watchdog", daemon=True)
                self._wakes = end
                self._thread.start()
            elif end < self._wakes:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._ends[id(options)]

    def _watch(self) -> None:
        """End what is late; without a run at the end of a sleep the thread ends itself."""
        with self._changed:
            while self._ends:
                now = monotonic()
                for end, options in self._ends.values():
                    if end <= now:
                        options.terminate = True
                # Runs that were ended and still go on are looked at again.
                self._wakes = min((end for end, _ in self._ends.values() if end > now), default=now + 1.0)
                self._changed.wait(self._wakes - now)
            self._thread, self._wakes = None, float("inf")


watchdog = Watchdog()
