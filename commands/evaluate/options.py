"""Arguments and options that several sub-commands of `earmark evaluate` use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ...errors import EarmarkError
from ..console import tell
from ..options import Decorator, file_option, with_options
from ..paths import BundleFolder, DataFolder
from ..settings_options import Given

if TYPE_CHECKING:
    from ...evaluation.presets import Preset, Table

Settings = TypeVar("Settings")


def bundle_and_data(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments BUNDLE and DATA."""
    arguments = click.argument("bundle", type=BundleFolder()), click.argument("data", type=DataFolder())
    return with_options(command, arguments)


events_option: Decorator = click.option(
    "--events",
    "table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CSV",
    help="True events: clip, label, start_s, end_s. [default: DATA/events.csv]",
)

records_option = file_option("--records", "One line of JSON for each judgement.")

preset_option: Decorator = click.option(
    "--preset",
    metavar="PAPER",
    help="A paper's protocol, which other options go before: lmac2024, lmac2024_ood, l2i2022 (masks); "
    "bolanos2025 (events); apex2026 (prototypes).",
)

csv_option = file_option("--csv", "The table as CSV.", "csv_file")

intervals_option: Decorator = click.option(
    "--intervals", is_flag=True, help="Print 95 % intervals and the paired differences too."
)


def paper_of(name: str | None, table: Table) -> Preset | None:
    """The preset of `--preset`. Raises click.BadParameter for one that the table does not have."""
    from ...evaluation.presets import preset_of

    try:
        return None if name is None else preset_of(name, table)
    except EarmarkError as error:
        raise click.BadParameter(str(error), param_hint="--preset") from error


def below(given: Given[Settings], values: Mapping[str, Any]) -> Given[Settings]:
    """What was given, above other values by name."""
    return Given(given.kind, {**values, **given.values})


def tell_paper(preset: Preset | None) -> None:
    """The paper whose protocol is followed, and how far."""
    if preset is not None:
        tell(f"after {preset.citation}; {preset.differs}")


def fail_for(skipped: Sequence[object]) -> None:
    """End with exit code 1, after the report was printed, where something was left out."""
    if skipped:
        raise click.exceptions.Exit(1)
