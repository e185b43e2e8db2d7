"""`earmark index`: build or extend the prototypes of a bundle, remove clips from them, merge them."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..printable import printable
from ..progress import CallsProgress
from .console import say, say_json, tell
from .inputs import tell_passed_over
from .options import device_option, examples, json_option, refuse_given
from .paths import BundleFolder, DataFolder

if TYPE_CHECKING:
    from ..export.prototypes.build import IndexReport


@click.command(
    epilog=examples("earmark index bundle data --audio", "earmark index bundle --remove dog/1.wav")
)
@click.argument("bundle", type=BundleFolder())
@click.argument("data", type=DataFolder(), nargs=-1)
@click.option(
    "--remove",
    metavar="CLIP",
    multiple=True,
    help="Remove a training sound: its path below its DATA as results name it, a pattern, or its sha256.",
)
@click.option(
    "--merge",
    metavar="OTHER",
    type=BundleFolder(),
    multiple=True,
    help="Add the prototypes of another bundle of the same model.",
)
@click.option(
    "--audio/--no-audio",
    default=None,
    help="Keep the sounds in the bundle as FLAC. Default: as before, else no.",
)
@click.option("--rebuild", is_flag=True, help="Start anew instead of adding to the clips that are there.")
@click.option("--prune", is_flag=True, help="Remove generations older than the one before.")
@click.option(
    "--purge",
    is_flag=True,
    help="With --remove: keep nothing of the removed sounds on the disk, older generations included.",
)
@click.option(
    "--per-channel",
    type=click.IntRange(1, 100),
    help="Prototypes kept for each channel. Default: as before, else 8.",
)
@click.option("--any-label", is_flag=True, help="Allow class folders that are none of the model's labels.")
@click.option("--strict", is_flag=True, help="Stop at the first sound that cannot be read.")
@click.option(
    "--attribution",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with a header: the file's path in DATA, then who and under which licence.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the samples drawn."
)
@device_option
@json_option
def index(
    bundle: Path,
    data: tuple[Path, ...],
    remove: tuple[str, ...],
    merge: tuple[Path, ...],
    audio: bool | None,
    rebuild: bool,
    prune: bool,
    purge: bool,
    per_channel: int | None,
    any_label: bool,
    strict: bool,
    attribution: Path | None,
    device: str,
    seed: int,
    as_json: bool,
) -> None:
    """Build or extend the prototypes of BUNDLE from DATA, folders of class folders of sound.

    The clips become a new generation beside the old one, which stays in force until the new one is
    complete. A sound that is there already is skipped. Exits with 1 where a sound or a folder
    could not be read and was left out.
    Instead of DATA: --remove takes sounds out, --merge takes over another bundle's prototypes.
    """
    if sum(map(bool, (data, remove, merge))) != 1:
        raise click.UsageError("give either folders of sound, or --remove, or --merge")
    if purge and not remove:
        raise click.UsageError("--purge goes with --remove")
    if not data:
        of_data = ("audio", "rebuild", "per_channel", "any_label", "strict", "attribution", "device")
        refuse_given("goes with DATA", *of_data)
    if remove:
        refuse_given("does not go with --remove, which draws nothing", "seed")
        from ..export.prototypes.growth import remove_clips

        report = remove_clips(bundle, remove, purge=purge, prune=prune)
        tell(f"{len(report.taken_out)} sounds removed")
    elif merge:
        from ..export.prototypes.growth import merge_bundles

        report = merge_bundles(bundle, merge, prune=prune, seed=seed)
    else:
        from ..export.prototypes.build import index_bundle

        tell_passed_over(*data)
        bar = CallsProgress("indexing", passing=False)
        report = index_bundle(
            bundle,
            data,
            audio=audio,
            extend=not rebuild,
            prune=prune,
            any_label=any_label,
            strict=strict,
            device=device,
            seed=seed,
            attributions=_attributions(attribution) if attribution else None,
            progress=lambda done, total, name: bar(done, total, printable(name[:60])),
            per_channel=per_channel,
        )
        bar.clear()
    for note in report.notes:
        tell(note)
    for repeated in () if merge else report.repeated:
        tell(f"skipped {repeated.name}: {repeated.reason}")
    for one in (*report.unreadable, *report.unfit):
        tell(f"left out: {one.reason}")
    if not remove:
        tell(
            f"{report.added} sounds added, {len(report.repeated)} there already, "
            f"{len(report.unreadable) + len(report.unfit)} left out"
        )
    if as_json:
        say_json(asdict(report), indent=2)
    else:
        say(*_lines(report))
    if report.unreadable:
        raise click.exceptions.Exit(1)


def _lines(report: IndexReport) -> list[str]:
    """The report for people."""
    lines = [f"{report.generation}: {report.clips} clips of {report.sources} sounds"]
    if report.hidden:
        lines.append(f"{report.hidden} removed clips are hidden, and leave the files with the next rebuild")
    for view, entries in report.entries.items():
        lines.append(f"{view:<15} {entries} entries, recall@10 {report.recall_at_10[view]:.3f}")
    if report.removed:
        lines.append(f"removed {', '.join(report.removed)}")
    return lines


def _attributions(path: Path) -> dict[str, str]:
    """Path in the data folder -> the other columns, joined."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise click.UsageError(f"{path}: not a CSV file ({error})") from error
    return {row[0]: ", ".join(filter(None, row[1:])) for row in rows[1:]}
