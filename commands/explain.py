"""`earmark explain`: what was heard in a sound, and why."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import EarmarkError
from .answer import answer
from .component_options import component_options, component_settings
from .console import say, say_json, tell
from .inputs import Input, collect
from .options import device_option, json_option
from .segment_options import CallsBar, segment_options, segment_settings

if TYPE_CHECKING:
    from ..runtime.explainer import Explainer
    from ..runtime.results import Result

Record = dict[str, Any]


@click.command()
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option(
    "-b",
    "--bundle",
    envvar="EARMARK_BUNDLE",
    metavar="BUNDLE",
    help="The bundle to ask. Without it EARMARK_BUNDLE, else the shipped one.",
)
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD",
    help="mask, prototypes, components: what the bundle has, by default; segments: any bundle, many passes.",
)
@click.option("--target", metavar="LABEL", help="Explain this label instead of the one predicted.")
@click.option("--rescore", is_flag=True, help="Let the classifier hear what was kept and what was removed.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write result.json, and mask.png, kept.wav, removed.wav, components.png and their tracks in "
    "components, segments.csv and segments.png; a folder a sound where there are several.",
)
@json_option
@click.option("--jsonl", "as_jsonl", is_flag=True, help="One line of JSON a sound, as soon as it is ready.")
@click.option("--recursive", "-r", is_flag=True, help="Look for sound in the folders of folders.")
@click.option("--from-file", metavar="LIST", help="Read more INPUTs from a file, one a line.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first sound that fails.")
@click.option(
    "--top", default=3, show_default=True, type=click.IntRange(1), help="Labels and prototypes to print."
)
@device_option
@click.option("--seed", default=0, show_default=True, type=int, help="Seed of methods that draw at random.")
@component_options
@segment_options
def explain(
    inputs: tuple[str, ...],
    bundle: str | None,
    methods: tuple[str, ...],
    target: str | None,
    rescore: bool,
    output: Path | None,
    as_json: bool,
    as_jsonl: bool,
    recursive: bool,
    from_file: str | None,
    fail_fast: bool,
    top: int,
    device: str,
    seed: int,
    **given: Any,
) -> None:
    """Say what was heard in each INPUT, and why.

    INPUT is a sound file, a folder, a pattern, or - for stdin. With neither INPUT nor BUNDLE, the
    clip that is shipped with earmark is explained.
    """
    if as_json and as_jsonl:
        raise click.UsageError("--json and --jsonl exclude each other")
    if not inputs and not from_file and bundle:
        raise click.UsageError("Missing argument INPUT: a sound file, a folder, a pattern, or - for stdin")
    _check_choices(methods, device)
    settings = component_settings(methods, given) | segment_settings(methods, given)
    if seed < 0:
        raise click.BadParameter(f"{seed} is negative", param_hint="--seed")

    from ..runtime.explainer import load

    explainer = load(bundle, device=device)
    arguments = inputs or (() if from_file else (str(_shipped_example()),))
    items = collect(arguments, from_file=from_file, recursive=recursive)
    folders = _folders(output, items)
    bar = CallsBar()
    if "segments" in settings:
        settings["segments"]["progress"] = bar
    options = {
        "target": target,
        "methods": list(methods) or None,
        "rescore": rescore,
        "seed": seed,
        "options": settings,
    }

    records: list[Record] = []
    failed = 0
    for item, folder in zip(_progress(items), folders, strict=True):
        try:
            try:
                result = _explain(explainer, item, options)
            finally:
                bar.clear()
            if folder is not None:
                result.save(folder)
        except EarmarkError as error:
            failed += 1
            record: Record = {"input": item.name, "error": _error(error)}
            tell(f"{item.name}: {error}" if item.name not in str(error) else str(error))
        else:
            record = {**result.to_dict(), "input": item.name}
            if not (as_json or as_jsonl):
                say(*answer(item.name, result, top=top))
                if folder is not None:
                    say(f"  written   {folder}")
        if as_jsonl:
            say_json(record)
        if as_json:
            records.append(record)
        if failed and fail_fast:
            break
    if as_json:
        manifest = explainer.manifest
        document = {
            "bundle": manifest.name,
            "bundle_id": manifest.bundle_id,
            "failed": failed,
            "results": records,
        }
        say_json(document, indent=2)
    if failed:
        raise click.exceptions.Exit(1)


def _check_choices(methods: Iterable[str], device: str) -> None:
    """Words that no bundle and no machine could know are wrong usage."""
    from ..runtime.explainer import METHODS
    from ..runtime.session import DEVICE_PATTERN

    for method in methods:
        if method not in METHODS:
            raise click.BadParameter(f"{method!r} is not one of {', '.join(METHODS)}", param_hint="--method")
    if not DEVICE_PATTERN.fullmatch(device):
        raise click.BadParameter(
            f"{device!r} is not one of auto, cpu, cuda, cuda:N, tensorrt", param_hint="--device"
        )


def _shipped_example() -> Path:
    """The clip that comes with the shipped bundle."""
    return Path(__file__).resolve().parents[1] / "demo" / "example.flac"


def _explain(explainer: Explainer, item: Input, options: dict[str, Any]) -> Result:
    if item.missing is not None:
        from ..errors import AudioError

        raise AudioError(item.missing)
    return explainer.explain(item.sound, **options)


def _error(error: EarmarkError) -> Record:
    return {"type": type(error).__name__, "message": str(error)}


def _progress(items: list[Input]) -> Iterator[Input]:
    """A progress bar on stderr, for several sounds on a terminal."""
    if len(items) < 2 or not sys.stderr.isatty() or sys.stdout.isatty():
        yield from items
        return
    with click.progressbar(items, label="explaining", file=sys.stderr) as bar:
        yield from bar


def _folders(output: Path | None, items: list[Input]) -> list[Path | None]:
    """Where each result is written: the folder itself for one sound, else one a sound, none twice."""
    if output is None:
        return [None] * len(items)
    if len(items) == 1:
        return [output]
    taken: set[str] = set()
    folders: list[Path | None] = []
    for item in items:
        stem = Path(item.name).stem or "sound"
        name, number = stem, 2
        while name in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name)
        folders.append(output / name)
    return folders
