"""What sub-commands of `earmark evaluate` share: arguments, options, and where a report goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ...errors import EarmarkError
from ...prototypes_index.atomic import write_whole
from ...prototypes_index.durability import naming
from ..console import say, say_json, tell
from ..options import Decorator, device_option, file_option, json_option, with_options
from ..paths import BundleFolder, DataFolder
from ..settings_options import Given

if TYPE_CHECKING:
    from ...evaluation.presets import Preset
    from ...evaluation.presets import Table as TableName
    from ...evaluation.report import Report, Table

Settings = TypeVar("Settings")
# Options that name a file to be written.
_WRITTEN = {"csv_file", "records", "curves"}


def bundle_and_data(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments BUNDLE and DATA."""
    data = click.argument("data", type=DataFolder(), callback=_data)
    return with_options(command, (click.argument("bundle", type=BundleFolder()), data))


def _data(context: click.Context, _parameter: click.Parameter, data: Path) -> Path:
    """DATA, of which no file may be replaced: --csv DATA/events.csv is meant for --events.

    Options are there before arguments.
    """
    for option in context.command.params:
        path = context.params.get(option.name or "")
        if option.name in _WRITTEN and path is not None and path.is_file():
            table = context.params.get("table")
            if path.resolve().is_relative_to(data.resolve()) or (table is not None and path.samefile(table)):
                reason = f"{path} is part of the data, and would be replaced; choose another file"
                raise click.BadParameter(reason, context, option)
    return data


events_option: Decorator = click.option(
    "--events",
    "table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CSV",
    help="True events: clip, label, start_s, end_s. [default: DATA/events.csv]",
)

preset_option: Decorator = click.option(
    "--preset",
    metavar="PAPER",
    help="A paper's protocol, which other options go before: lmac2024, lmac2024_ood, l2i2022 (masks); "
    "bolanos2025 (events); apex2026 (prototypes).",
)

intervals_option: Decorator = click.option(
    "--intervals", is_flag=True, help="Print 95 % intervals and the paired differences too."
)


def report_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every question has: --csv, --records, --json, which are of `ReportOutput`, and --device."""
    options = (
        file_option("--csv", "The table as CSV.", "csv_file"),
        file_option("--records", "One line of JSON for each judgement."),
        device_option,
        json_option,
    )
    return with_options(command, options)


@dataclass(frozen=True, kw_only=True)
class ReportOutput:
    """What was given of the options that say where a report goes.

    as_json: print it as JSON; intervals: print them, too; csv_file, records: files to be written
    preset: the paper that is cited in the JSON
    """

    as_json: bool
    records: Path | None
    csv_file: Path | None
    intervals: bool = False
    preset: str | None = None

    def give(self, report: Report[Any], table: Table, text: Iterable[str], notes: Iterable[str] = ()) -> None:
        """Write the files, print the text or the document, then what else to know, on stderr.

        Raises click's Exit with code 1 where something could not be judged and was left out.
        """
        from ...evaluation.benchmark import document_of

        if self.csv_file is not None:
            write_file(self.csv_file, table.csv())
        if self.records is not None:
            write_lines(self.records, report.records)
        if self.as_json:
            say_json(document_of(report.to_dict(), self.preset), indent=2)
        else:
            say(*text)
        for note in notes:
            tell(note)
        if report.skipped:
            raise click.exceptions.Exit(1)

    def lines(self, table: Table) -> list[str]:
        """A table as it is to be printed."""
        return table.text(intervals=self.intervals).split("\n")


def write_file(path: Path, content: str) -> None:
    """Write a text, and make its folder where there is none. Raises WriteError that names `path`."""
    make_folder_of(path)
    write_whole(path, content)


def write_lines(path: Path, records: Iterable[object]) -> None:
    """Write records (dataclasses), a line of JSON each. Raises WriteError that names `path`."""
    from ...evaluation.report import json_ready

    lines = (json.dumps(json_ready(one), ensure_ascii=False, allow_nan=False) + "\n" for one in records)
    write_file(path, "".join(lines))


def make_folder_of(path: Path) -> None:
    """Make the folder that a file is to lie in, and say so. Raises WriteError that names `path`."""
    if path.parent.is_dir():
        return
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    tell(f"made the folder {path.parent}")


def events_of(table: Path | None, data: Path) -> Path:
    """The table of true events. Raises click.UsageError where it is not there."""
    path = table or data / "events.csv"
    if not path.is_file():
        raise click.UsageError(f"{path} is not there: name the table of events by --events CSV")
    return path


def settled(
    given: Given[Settings], preset: str | None, table: TableName, **more: Any
) -> tuple[Settings, Preset]:
    """The settings: what was given, else those of a paper, which is told, else the defaults; and the paper.

    Without a preset the paper is an empty one. Raises click.BadParameter for one of another table.
    """
    from ...evaluation.presets import Preset, preset_of

    try:
        paper = Preset(table, "", "") if preset is None else preset_of(preset, table)
    except EarmarkError as error:
        raise click.BadParameter(str(error), param_hint="--preset") from error
    if preset is not None:
        tell(f"after {paper.citation}; {paper.differs}")
    return below(given, paper.settings).settings(**more), paper


def below(given: Given[Settings], values: Mapping[str, Any]) -> Given[Settings]:
    """What was given, above other values by name."""
    return Given(given.kind, {**values, **given.values})
