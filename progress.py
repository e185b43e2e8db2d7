"""The one progress bar: on stderr, on a terminal only."""

from __future__ import annotations

import sys
from typing import Any, Self


class Progress:
    """Counts what is done; writes nothing where nobody looks. A context manager.

    Args:
        total: How many steps there are.
        label: What is being done.
        quiet: Show nothing, on a terminal neither.

    """

    def __init__(self, total: int, label: str, *, quiet: bool = False) -> None:
        self._bar: Any = None
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

    def close(self) -> None:
        """Leave the terminal in order."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
