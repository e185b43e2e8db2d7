"""Arguments and options that several sub-commands of `earmark evaluate` use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..options import Decorator
from ..paths import BundleFolder, DataFolder


def bundle_and_data(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments BUNDLE and DATA."""
    command = click.argument("data", type=DataFolder())(command)
    return click.argument("bundle", type=BundleFolder())(command)


fold_option: Decorator = click.option("--fold", type=int, metavar="N", help="Only clips of the ESC fold N.")

domain_option: Decorator = click.option(
    "--domain",
    type=click.Choice(["spectrogram", "audio", "both"]),
    default="both",
    show_default=True,
    help="Where the masked sound is heard again: as a spectrogram (the paper's) or as sound.",
)

records_option: Decorator = click.option(
    "--records",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="One line of JSON for each judgement.",
)

strict_option: Decorator = click.option(
    "--strict", is_flag=True, help="Fail at the first clip that cannot be judged."
)

seed_option: Decorator = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn."
)

intervals_option: Decorator = click.option(
    "--intervals", is_flag=True, help="Print 95 % intervals and the paired differences too."
)
