"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

bundle_argument: Decorator = click.argument(
    "bundle", type=click.Path(file_okay=False), required=False, default=None
)

device_option: Decorator = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="D",
    help="auto, cpu, cuda, cuda:N or tensorrt. Only auto falls back; an absent device exits with 3.",
)

json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
