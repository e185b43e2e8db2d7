"""The one progress bar: on stderr, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, Self, TypeVar

Item = TypeVar("Item")


class Progress:
    """Counts what is done; writes nothing where nobody looks. A context manager.

    Args:
        total: How many steps there are.
        label: What is being done.
        quiet: Show nothing, on a terminal neither.
        passing: Take the line away at the end.

    """

    def __init__(self, total: int, label: str, *, quiet: bool = False, passing: bool = False) -> None:
        self._bar: Any = None
        self._passing = passing
        if not quiet and sys.stderr.isatty():
            import click

            bar = click.progressbar(length=total, label=label, file=sys.stderr, item_show_func=str)
            self._bar = bar.__enter__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, note: str = "") -> None:
        """One step further; `note` stands behind the bar."""
        self.forward(1, note)

    def forward(self, steps: int, note: str = "") -> None:
        """Several steps further, such as those of an earlier run."""
        if self._bar is not None and steps:
            self._bar.update(steps, note)

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items one by one; an item is a step when the next one is asked for."""
        for item in items:
            yield item
            self.step()

    def close(self) -> None:
        """Leave the terminal in order."""
        if self._bar is None:
            return
        if self._passing:
            # Back to the line's start, clear it, show the cursor.
            sys.stderr.write("\r\033[K\033[?25h")
            sys.stderr.flush()
        else:
            self._bar.__exit__(None, None, None)
        self._bar = None


class CallsProgress:
    """The progress of work that tells how far it is: called with (done, most).

    Args:
        label: What is being done, as that of a method that calls the model many times for one sound.
        passing: Take the line away at the end.

    """

    def __init__(self, label: str = "calling the model", *, passing: bool = True) -> None:
        self._label, self._passing = label, passing
        self._bar: Progress | None = None
        self._done = 0

    def __call__(self, done: int, most: int, note: str = "") -> None:
        """Show that `done` of at most `most` steps were made."""
        if self._bar is None:
            self._bar, self._done = Progress(most, self._label, passing=self._passing), 0
        self._bar.forward(done - self._done, note)
        self._done = done

    def clear(self) -> None:
        """End the bar; the next call starts another."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
