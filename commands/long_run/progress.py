"""How far a run is: recordings, hours of sound, and how much faster than the sound it goes.

On a terminal one line that is written over; elsewhere a line a minute, so that a log of a night can be read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence

import click

from ...errors import EarmarkError
from ...times import duration_text
from ..console import say, tell_failure

_EVERY_S = {True: 0.5, False: 60.0}


class RunProgress:
    """Counts what is done and says so on stderr. A context manager.

    Args:
        total: How many recordings there are in all.
        before: How many of them an earlier run has done.

    """

    def __init__(self, total: int, before: int = 0) -> None:
        self._total, self._done, self._failed, self._found = total, before, 0, 0
        self._seconds = self._open_s = 0.0
        self._terminal = sys.stderr.isatty()
        self._began = self._told = time.monotonic()
        self._width = 0

    def __enter__(self) -> RunProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def done(self, seconds: float, found: int, failed: tuple[str, str] | None = None) -> None:
        """One more recording is done: how long it is, and what was detected in it.

        failed: its name and what is wrong with it, where it could not be searched; that is said
        """
        self._done += 1
        self._failed += failed is not None
        self._seconds += seconds
        self._found += found
        self._tell()
        if failed is not None:
            self.clear()
            tell_failure(failed[0], EarmarkError(failed[1]))

    def tick(self, open_s: Sequence[float]) -> None:
        """Note how far the recordings are that are being worked on, in seconds of their sound."""
        self._open_s = sum(open_s)
        self._tell()

    @property
    def line(self) -> str:
        """What is said."""
        seconds = self._seconds + self._open_s
        taken = max(time.monotonic() - self._began, 1e-3)
        failed = f", {self._failed} failed" if self._failed else ""
        return (
            f"{self._done} of {self._total} recordings, {duration_text(seconds)} of sound, "
            f"{seconds / taken:.0f} times real time, {self._found} detections{failed}"
        )

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told < _EVERY_S[self._terminal]:
            return
        self._told = now
        if self._terminal:
            line = self.line
            click.echo("\r" + line.ljust(self._width), nl=False, err=True)
            self._width = len(line)
        else:
            click.echo(self.line, err=True)

    def clear(self) -> None:
        """Take the line on the terminal away, for another to be written."""
        if self._width:
            click.echo("\r" + " " * self._width + "\r", nl=False, err=True)
            self._width = 0


def say_summary(
    done: int, seconds: float, found: str, failed: int, place: str, written: Iterable[object]
) -> None:
    """Say what a run has done: recordings and their length, what was detected, and the files.

    failed: how many recordings could not be searched; place: where it says which
    """
    many = "recording" if done == 1 else "recordings"
    lost = f", {failed} failed (see {place})" if failed else ""
    say(f"{done} {many}, {duration_text(seconds)} of sound, {found}{lost}")
    say(f"written   {', '.join(map(str, written))}")
