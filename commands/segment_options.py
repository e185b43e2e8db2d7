"""Options of `earmark explain -m segments`, shared shape and checks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from ..errors import MethodError

_Command = Callable[..., Any]
# Option's name on the command line -> field of SegmentSettings.
_FIELDS = {
    "axis": "axis",
    "calls": "calls",
    "segment": "segment_seconds",
    "surrogate": "surrogate",
    "fill": "fill",
    "bands": "bands",
    "precision": "precision",
    "preset": "preset",
}
_OPTIONS = (
    click.option(
        "--axis",
        type=click.Choice(["time", "frequency", "both"]),
        help="segments: what is masked, time by default.",
    ),
    click.option(
        "--calls",
        type=int,
        metavar="N",
        help="segments: most passes of the model for a window, 200 by default (long sound: 4 times).",
    ),
    click.option(
        "--segment", type=float, metavar="SECONDS", help="segments: length of a segment, 0.1 by default."
    ),
    click.option("--bands", type=int, metavar="N", help="segments: frequency bands, 8 by default."),
    click.option(
        "--surrogate",
        type=click.Choice(["smooth", "ridge", "least_squares", "kernel_shap", "forest"]),
        help="segments: what is fitted to the answers, smooth by default.",
    ),
    click.option(
        "--fill",
        type=click.Choice(["ambience", "noise", "zeros", "mean"]),
        help="segments: what replaces a masked segment, noise by default.",
    ),
    click.option(
        "--precision", type=click.Choice(["fp32", "int8"]), help="segments: which classifier is asked."
    ),
    click.option(
        "--preset", type=click.Choice(["bolanos2025"]), help="segments: the published method, 3007 passes."
    ),
)


def segment_options(command: _Command) -> _Command:
    """The options, on a command that takes them as keyword arguments."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def segment_settings(methods: tuple[str, ...], given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`options` for Explainer.explain out of what was given on the command line.

    Raises click.UsageError for options without -m segments, and for values that do not fit;
    MissingDependencyError where a package is missing.
    """
    named = {_FIELDS[name]: value for name, value in given.items() if value is not None}
    if "segments" not in methods:
        if named:
            first = next(name for name, value in given.items() if value is not None)
            raise click.UsageError(f"--{first} is an option of the method segments: add -m segments")
        return {}
    from ..runtime.methods.segments.settings import SegmentSettings, require

    try:
        require(SegmentSettings.of(named))
    except MethodError as error:
        raise click.UsageError(str(error)) from error
    return {"segments": named}


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
