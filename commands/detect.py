"""`earmark detect`: where labels occur in recordings, however many and long; tables that other tools open."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from ..errors import LabelError, MethodError, SettingsError
from ..runtime.methods.loading import all_methods
from ..runtime.registry import METHODS
from .answer import about_demo
from .console import require_stdout, tell
from .inputs import Input, collect, tell_skipped
from .options import (
    Decorator,
    bundle_option,
    device_option,
    examples,
    file_option,
    html_option,
    json_option,
    listed_words,
    refuse_given,
    require_sound,
    was_given,
)
from .paths import OutputFolder
from .request_options import MethodCommand, method_settings, window_options, window_settings

if TYPE_CHECKING:
    from ..runtime.audio.writing import SoundFormat
    from ..runtime.bundle.manifest import Manifest
    from ..runtime.engine import Engine

_FORMATS = ("csv", "raven", "audacity", "birdnet", "jsonl", "parquet")
ENGINES = ("local", "ray", "spark")
_score = click.FloatRange(0.0, 1.0)
_positive = click.FloatRange(0.0, min_open=True)


def _one_of(known: Iterable[str]) -> Callable[..., tuple[str, ...] | None]:
    """Names parted by commas, out of these."""
    words = tuple(known)

    def checked(
        context: click.Context, parameter: click.Parameter, value: str | None
    ) -> tuple[str, ...] | None:
        names = listed_words(context, parameter, value)
        for name in names or ():
            if name not in words:
                raise click.BadParameter(f"{name!r} is not one of {', '.join(words)}", context, parameter)
        return names

    return checked


def _seconds(name: str, text: str) -> Decorator:
    return click.option(name, default=0.0, type=click.FloatRange(0.0), metavar="S", help=text)


@click.command(
    cls=MethodCommand,
    epilog=examples(
        "earmark detect field.wav -b bundle --min-score 0.7",
        "earmark detect -r field -b bundle -o out --clips --html report.html --resume",
    ),
)
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@bundle_option("The bundle to ask. Without it EARMARK_BUNDLE, else the shipped demo.")
@click.option("--min-score", type=_score, metavar="S", help="Score that a detection reaches.  [default: 0.5]")
@click.option(
    "--leave-score",
    type=_score,
    metavar="S",
    help="Score that all its windows reach.  [default: 3/4 of that]",
)
@file_option("--scores", "Scores by label in place of these: CSV label,min_score[,leave_score], or TOML.")
@click.option("--labels", callback=listed_words, metavar="A,B", help="Only these labels.")
@file_option("--labels-from", "Only the labels in a file, one per line, such as a species list.")
@window_options
@_seconds("--smooth", "Average scores over so long.")
@_seconds("--merge-gap", "Close gaps up to this, seconds.")
@_seconds("--min-length", "Leave out what is shorter.")
@click.option(
    "--top-per-window", type=click.IntRange(1), metavar="N", help="Count only the N best labels of a window."
)
@click.option("--sensitivity", default=1.0, metavar="X", help="Of multi-label models, 0.5 to 1.5.")
@click.option("--temperature", default=1.0, metavar="X", help="What logits are divided by.")
@click.option("--int8", is_flag=True, help="Detect by the bundle's 8-bit classifier; explain in fp32.")
@click.option(
    "--explain",
    "methods",
    callback=_one_of([*METHODS, "none"]),
    metavar="M,M",
    help=f"What explains each detection: {', '.join(METHODS)}, or none.  [default: mask where there is one]",
)
@click.option(
    "-o",
    "--output",
    type=OutputFolder(),
    metavar="DIR",
    help="Write the tables, and what is done of which recording, into this folder.",
)
@click.option(
    "--format",
    "formats",
    default="csv",
    show_default=True,
    callback=_one_of(_FORMATS),
    metavar="F,F",
    help=f"Tables to write: {', '.join(_FORMATS)}.",
)
@click.option(
    "--clips", is_flag=True, help="Write the sound of each detection, what the mask keeps, a picture."
)
@click.option(
    "--clip-format",
    default="flac",
    show_default=True,
    type=click.Choice(["flac", "wav16", "wav"]),
    help="How clips are written; wav is 32-bit float.",
)
@click.option("--resume", is_flag=True, help="Continue the run that DIR holds.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 256), help="Processes.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    help="Write tables in parts, by processes here (local), by Ray or by Spark.",
)
@click.option(
    "--manifest",
    metavar="FILE",
    help="With --engine: the recordings are in a column of this CSV or Parquet file, as paths or URLs.",
)
@click.option(
    "--column", default="file", show_default=True, metavar="NAME", help="That column of the manifest."
)
@click.option(
    "--windows",
    "top",
    default=0,
    type=click.IntRange(0),
    metavar="N",
    help="With --engine: a table of all windows, too, with the N best labels of each.",
)
@click.option(
    "--stuck-after",
    default=600.0,
    show_default=True,
    type=_positive,
    metavar="S",
    help="Give a recording up when nothing of it was done for so many seconds.",
)
@html_option
@json_option
@click.option("--jsonl", "as_jsonl", is_flag=True, help="One line of JSON per recording, as it is ready.")
@click.option("--recursive", "-r", is_flag=True, help="Look for sound in the folders of folders.")
@click.option("--from-file", metavar="LIST", help="Read more INPUTs from a file, one per line.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first recording that fails.")
@device_option
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of methods that draw.")
def detect(
    inputs: tuple[str, ...],
    bundle: Path | None,
    output: Path | str | None,
    formats: tuple[str, ...],
    clips: bool,
    clip_format: str,
    resume: bool,
    jobs: int,
    engine: str | None,
    manifest: str | None,
    column: str,
    top: int,
    stuck_after: float,
    html: Path | None,
    as_json: bool,
    as_jsonl: bool,
    recursive: bool,
    from_file: str | None,
    fail_fast: bool,
    device: str,
    **asked: Any,
) -> None:
    """Find where labels occur in each INPUT, and why.

    INPUT is a sound file, a folder, a pattern, or - for stdin. With -o DIR everything goes into files,
    and a run that was stopped goes on with --resume. With --engine it is done by processes, Ray or Spark,
    and the tables are folders of Parquet files.
    """
    engine = engine or ("local" if manifest else None)
    require_sound(inputs, needed=not from_file and not manifest)
    _refuse_pairs(output, engine, as_json=as_json, as_jsonl=as_jsonl)
    require_stdout()
    from ..runtime.explainer import bundle_path, engine_of, load

    opened = engine_of(load(bundle_path(bundle), device=device))
    options = _options(opened, asked)
    if bundle is None:
        tell(about_demo(opened.manifest.labels))
    found = collect(inputs, from_file=from_file, recursive=recursive)
    tell_skipped(found.skipped)
    if engine is not None:
        from ..integrations.parts import PartWork
        from ..integrations.searching import RecordingSearch
        from .engine_run import EngineRun, folders_of, recordings_of

        # Ray and Spark count a CPU for each process.
        threads = None if engine == "local" else 1
        folders = folders_of(found.items, manifest)
        search = RecordingSearch(opened.bundle.path.absolute(), device, options, top, threads, folders)
        where = output if isinstance(output, str) else str(Path(output or "").absolute())
        parts = PartWork(search, where, counts_tries=engine != "local")
        workers = jobs if engine == "local" or was_given("jobs") else None
        on_engine = EngineRun(engine, parts, opened.manifest, workers, stuck_after, fail_fast)
        failed = on_engine.over(recordings_of(found.items, manifest, column), resume=resume)
    else:
        from ..runtime.detections.settings import parted, settled
        from .detection_run import Run, into_folder, onto_stdout
        from .detection_work import DetectionWork

        kind = cast("SoundFormat", clip_format) if clips else None
        folder = None if output is None else Path(output)
        settings, request = settled(opened, *parted(options))
        with ExitStack() as stack:
            work = DetectionWork(
                opened.bundle.path,
                device,
                options,
                settings.origin(opened, request),
                folder,
                kind,
                documents=as_json or as_jsonl,
                parts=None if html is None else _parts(folder, stack),
            )
            run = Run(work, opened.manifest, jobs, stuck_after, fail_fast, html)
            items = [_as_file(item, stack) for item in found.items]
            if folder is None:
                failed = onto_stdout(run, items, found.skipped, as_json=as_json, as_jsonl=as_jsonl)
            else:
                failed = into_folder(run, items, folder, formats, resume=resume)
    if failed:
        raise click.exceptions.Exit(1)


def _parts(output: Path | None, stack: ExitStack) -> Path:
    """Where what a page shows of each detection waits for it. Raises MissingDependencyError."""
    from ..runtime.report.page import check_installed
    from .report_pages import PARTS

    check_installed()
    if output is not None:
        return output / PARTS
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="earmark-")))


def _refuse_pairs(output: Path | str | None, engine: str | None, *, as_json: bool, as_jsonl: bool) -> None:
    """Raise click.UsageError for options that exclude each other."""
    if as_json and as_jsonl:
        raise click.UsageError("--json and --jsonl exclude each other")
    if engine is None:
        refuse_given("goes with --engine", "top")
        if isinstance(output, str):
            raise click.UsageError(f"-o {output}: a URL goes with --engine")
    else:
        refuse_given("goes without --engine, which writes tables in parts", "formats", "clips", "html")
        if output is None:
            raise click.UsageError("--engine and --manifest go with -o DIR")
    if engine == "spark":
        refuse_given("goes without --engine spark: its executors say how many", "jobs")
    if not click.get_current_context().params["manifest"]:
        refuse_given("goes with --manifest", "column")
    if output is None:
        refuse_given("goes with -o DIR", "formats", "clips", "resume")
    else:
        refuse_given("goes without -o: in a folder, --format jsonl writes JSON", "as_json", "as_jsonl")
    if not click.get_current_context().params["clips"]:
        refuse_given("goes with --clips", "clip_format")


def _options(engine: Engine, asked: dict[str, Any]) -> dict[str, Any]:
    """Options of `Explainer.detect`. Raises click.UsageError for what does not fit, the bundle among it."""
    from ..runtime.detections.settings import DetectionSettings
    from ..runtime.detections.thresholds import read_labels, read_thresholds
    from ..runtime.explaining.request import request_of

    manifest = engine.manifest
    if asked["scores"]:
        refuse_given("goes without --scores, which holds it", "min_score", "leave_score")
    if asked["labels_from"]:
        refuse_given("goes without --labels-from", "labels")
    try:
        scores = read_thresholds(asked["scores"]) if asked["scores"] else None
        labels = read_labels(asked["labels_from"]) if asked["labels_from"] else asked["labels"]
        settings = {
            "min_score": scores.min_score if scores else asked["min_score"],
            "leave_score": (scores.leave_score or None) if scores else asked["leave_score"],
            "labels": labels,
            "smooth_s": asked["smooth"],
            "merge_gap_s": asked["merge_gap"],
            "min_s": asked["min_length"],
            "top_per_window": asked["top_per_window"],
            "sensitivity": asked["sensitivity"],
            "temperature": asked["temperature"],
            "precision": "int8" if asked["int8"] else "fp32",
        }
        if settings["min_score"] is None:
            del settings["min_score"]
        DetectionSettings(**settings).check_bundle(manifest)
        how = window_settings(asked)
        how["methods"], how["seed"] = _methods(manifest, asked["methods"]), asked["seed"]
        of_methods = method_settings(how["methods"], asked, "--explain")
        if given := {name: values for name, values in of_methods.items() if values}:
            how["options"] = given
        request_of(engine, (), how)
    except (SettingsError, LabelError, MethodError) as error:
        raise click.UsageError(str(error)) from error
    return {**settings, **how}


def _methods(manifest: Manifest, named: Sequence[str] | None) -> list[str]:
    """What explains a detection: the mask alone where nothing is named, since tables hold no more."""
    if named is None:
        return [name for name in ("mask",) if name in manifest.explainers]
    if "none" in named:
        if len(named) > 1:
            raise click.UsageError("--explain none goes alone")
        return []
    able = [method.name for method in all_methods() if method.available(manifest) or method.on_request]
    for name in named:
        if name not in able:
            raise click.UsageError(
                f"--explain {name}: this bundle does not have it; it has {', '.join(able)}"
            )
    return list(named)


def _as_file(item: Input, stack: ExitStack) -> Input:
    """The input with a path in place of an open file, for other processes to open."""
    if isinstance(item.sound, str):
        return item
    spooled = stack.enter_context(tempfile.NamedTemporaryFile(prefix="earmark-"))  # noqa: SIM115
    shutil.copyfileobj(item.sound, spooled)
    spooled.flush()
    return replace(item, sound=spooled.name)
