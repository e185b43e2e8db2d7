"""The option of `earmark explain` for the method components."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_Command = Callable[..., Any]


def component_options(command: _Command) -> _Command:
    """The option, on a command that takes it as a keyword argument."""
    return click.option(
        "--relevance-threshold",
        type=click.FloatRange(0, 1, max_open=True),
        metavar="TAU",
        help="components: relevance above which one is selected. [default: the bundle's]",
    )(command)


def component_settings(methods: tuple[str, ...], given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`options` for Explainer.explain; what is used is taken out of `given`.

    Raises click.UsageError where other methods alone were asked for.
    """
    threshold = given.pop("relevance_threshold")
    if threshold is None:
        return {}
    if methods and "components" not in methods:
        raise click.UsageError("--relevance-threshold goes with the method components: add -m components")
    return {"components": {"threshold": threshold}}
