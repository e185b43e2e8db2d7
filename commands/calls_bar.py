"""How far the calls of a model are that a method makes for one sound."""

from __future__ import annotations

import sys

import click


class CallsBar:
    """How far the calls of one sound are, on a terminal's stderr; nothing elsewhere."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._width = 0

    def __call__(self, done: int, budget: int) -> None:
        """Show `done` of at most `budget` calls, on one line."""
        if self._shown:
            text = f"asked {done} of at most {budget}"
            click.echo("\r" + text.ljust(self._width), nl=False, err=True)
            self._width = len(text)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown and self._width:
            click.echo("\r" + " " * self._width + "\r", nl=False, err=True)
            self._width = 0
