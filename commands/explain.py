"""`earmark explain`: what a sound is classified as, and why."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import as_earmark_error
from ..progress import CallsProgress, Progress
from ..runtime.methods.loading import all_methods
from ..runtime.registry import METHODS
from .answer import answer
from .console import require_stdout, say, say_json, tell_failure, tell_traceback
from .inputs import Input, collect, tell_skipped
from .method_options import MethodCommand, method_settings, refuse_options, takes_progress
from .options import device_option, json_option, refuse_given
from .paths import BundleFolder, no_sound
from .result_folders import result_folders

if TYPE_CHECKING:
    from ..runtime.audio.listing import Skipped
    from ..runtime.bundle.manifest import Manifest
    from ..runtime.explainer import Explainer
    from ..runtime.results import Result

Record = dict[str, Any]
_ON_REQUEST = [method.name for method in all_methods() if method.on_request]


@click.command(cls=MethodCommand)
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option(
    "-b",
    "--bundle",
    envvar="EARMARK_BUNDLE",
    type=BundleFolder(),
    metavar="BUNDLE",
    help="The bundle to ask. Without it EARMARK_BUNDLE, else the shipped one.",
)
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD",
    help=f"{', '.join(METHODS)}. By default what the bundle has; when named, in any bundle: "
    f"{', '.join(_ON_REQUEST)}.",
)
@click.option("--target", metavar="LABEL", help="Explain this label instead of the one predicted.")
@click.option("--rescore", is_flag=True, help="Classify what was kept and what was removed.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write result.json, and each method's pictures, tables and sound. For several sounds, a folder or a "
    "pattern: a folder a sound, as they lie in the folder.",
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
def explain(
    inputs: tuple[str, ...],
    bundle: Path | None,
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
    """Say what each INPUT is classified as, and why.

    INPUT is a sound file, a folder, a pattern, or - for stdin. With neither INPUT nor BUNDLE, the
    clip that is shipped with earmark is explained.
    """
    for argument in inputs:
        if (mistaken := no_sound(argument)) is not None:
            raise click.UsageError(mistaken)
    if as_json and as_jsonl:
        raise click.UsageError("--json and --jsonl exclude each other")
    if not inputs and not from_file and bundle:
        raise click.UsageError("Missing argument INPUT: a sound file, a folder, a pattern, or - for stdin")
    _check_methods(methods)
    rescoring = [method.name for method in all_methods() if method.rescores]
    if methods and not set(rescoring) & set(methods):
        refuse_given(f"goes with the methods {' and '.join(rescoring)}", "rescore")
    settings = method_settings(methods, given)
    if seed < 0:
        raise click.BadParameter(f"{seed} is negative", param_hint="--seed")

    require_stdout()
    from ..runtime.explainer import SHIPPED, engine_of, load

    # Its own clip is what the shipped demo is for; of other sound it has to say what it is.
    forgotten = bundle is None and bool(inputs or from_file)
    explainer = load(SHIPPED if forgotten else bundle, device=device)
    manifest = engine_of(explainer).manifest
    refuse_options(settings, given, manifest)
    warned = (_about_demo(explainer.labels),) if forgotten else ()
    arguments = inputs or (() if from_file else (str(_shipped_example()),))
    asked = collect(arguments, from_file=from_file, recursive=recursive)
    items = list(asked.items)
    tell_skipped(asked.skipped)
    alone = len(items) == len(arguments) == 1 and items[0].within is None and not from_file
    folders = [output] * len(items) if output is None or alone else result_folders(output, items)
    bar = CallsProgress()
    for name in settings:
        if takes_progress(name):
            settings[name]["progress"] = bar
    options = {
        "target": target,
        "methods": list(methods) or None,
        "rescore": rescore,
        "seed": seed,
        "options": settings,
    }

    report = _Report(manifest, as_json=as_json, as_jsonl=as_jsonl, top=top)
    for item, folder in zip(_progress(items), folders, strict=True):
        try:
            try:
                result = _explain(explainer, item, options)
            finally:
                bar.clear()
            result = replace(result, warnings=(*warned, *result.warnings))
            if folder is not None:
                result.save(folder)
        except Exception as raised:
            report.failure(item.name, raised)
        else:
            report.answer(item.name, result, folder)
        if report.failed and fail_fast:
            break
    report.close(asked.skipped)
    if report.failed:
        raise click.exceptions.Exit(1)


class _Report:
    """What is said of each sound: text or a line of JSON at once, or one JSON document at the end."""

    def __init__(self, manifest: Manifest, *, as_json: bool, as_jsonl: bool, top: int) -> None:
        self._manifest, self._as_json, self._as_jsonl, self._top = manifest, as_json, as_jsonl, top
        self._records: list[Record] = []
        self.failed = 0

    def answer(self, name: str, result: Result, folder: Path | None) -> None:
        """A sound that was explained, and where its files lie."""
        if not (self._as_json or self._as_jsonl):
            say(*answer(name, result, top=self._top))
            if folder is not None:
                say(f"  written   {folder}")
        self._record({**result.to_dict(), "input": name})

    def failure(self, name: str, raised: Exception) -> None:
        """A sound that could not be explained, and why."""
        self.failed += 1
        error = as_earmark_error(raised)
        tell_failure(name, error)
        if os.environ.get("EARMARK_DEBUG"):
            tell_traceback(raised)
        self._record({"input": name, "error": {"type": type(error).__name__, "message": str(error)}})

    def _record(self, record: Record) -> None:
        if self._as_jsonl:
            say_json(record)
        if self._as_json:
            self._records.append(record)

    def close(self, skipped: Sequence[Skipped]) -> None:
        """The document, where one was asked for."""
        if not self._as_json:
            return
        manifest = self._manifest
        document = {
            "bundle": manifest.name,
            "bundle_id": manifest.bundle_id,
            "failed": self.failed,
            "results": self._records,
            "skipped": [{"input": str(one.path), "reason": one.reason} for one in skipped],
        }
        say_json(document, indent=2)


def _check_methods(methods: Iterable[str]) -> None:
    """Methods that no bundle could have are wrong usage."""
    for method in methods:
        if method not in METHODS:
            raise click.BadParameter(f"{method!r} is not one of {', '.join(METHODS)}", param_hint="--method")


def _shipped_example() -> Path:
    """The clip that comes with the shipped bundle."""
    from ..runtime.explainer import SHIPPED

    return SHIPPED.with_name("example.flac")


def _about_demo(labels: Sequence[str]) -> str:
    """What has to be said of an answer by a bundle that nobody asked."""
    return (
        f"no bundle was named, so the shipped demo answered: it knows {', '.join(labels)}, "
        "and calls any sound one of them; name your bundle: -b BUNDLE, EARMARK_BUNDLE, earmark.load(path)"
    )


def _explain(explainer: Explainer, item: Input, options: dict[str, Any]) -> Result:
    if item.missing is not None:
        from ..errors import AudioError

        raise AudioError(item.missing)
    result: Result = explainer.explain(item.sound, **options)
    return result


def _progress(items: list[Input]) -> Iterator[Input]:
    """The inputs, with a progress bar for several of them where the answers go elsewhere."""
    with Progress(len(items), "explaining", quiet=len(items) < 2 or sys.stdout.isatty()) as bar:
        for item in items:
            yield item
            bar.step()
