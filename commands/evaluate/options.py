"""Arguments and options that several sub-commands of `earmark evaluate` use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from ..options import Decorator
from ..paths import BundleFolder, DataFolder


def bundle_and_data(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments BUNDLE and DATA."""
    command = click.argument("data", type=DataFolder())(command)
    return click.argument("bundle", type=BundleFolder())(command)


events_option: Decorator = click.option(
    "--events",
    "table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CSV",
    help="True events: clip, label, start_s, end_s. [default: DATA/events.csv]",
)

records_option: Decorator = click.option(
    "--records",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="One line of JSON for each judgement.",
)

intervals_option: Decorator = click.option(
    "--intervals", is_flag=True, help="Print 95 % intervals and the paired differences too."
)


def fail_for(skipped: Sequence[object]) -> None:
    """End with exit code 1, after the report was printed, where something was left out."""
    if skipped:
        raise click.exceptions.Exit(1)
