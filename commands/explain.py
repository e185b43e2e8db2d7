"""`earmark explain`: what a sound is classified as, and why."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import EarmarkError, as_earmark_error
from ..progress import CallsProgress, Progress
from ..runtime.methods.loading import all_methods
from ..runtime.registry import METHODS
from ..runtime.scores.labels import SHOWN
from .answer import Display, ResultOutput, about_demo
from .console import require_stdout
from .inputs import Input, collect, tell_skipped
from .options import (
    bundle_option,
    device_option,
    examples,
    html_option,
    json_option,
    listed_words,
    refuse_given,
    require_sound,
)
from .request_options import (
    MethodCommand,
    method_settings,
    refuse_options,
    saving_options,
    saving_settings,
    takes_progress,
    window_options,
    window_settings,
)
from .result_folders import label_folders, result_folders

if TYPE_CHECKING:
    from ..runtime.bundle.manifest import Manifest
    from ..runtime.document import Origin
    from ..runtime.engine import Engine
    from ..runtime.explainer import Explainer
    from ..runtime.explaining.request import ExplainOptions
    from ..runtime.results.result import Result, SaveOptions
    from .explained import Explained
    from .report_pages import ExplanationPage

_ON_REQUEST = [method.name for method in all_methods() if method.on_request]
# In place of a method.
NONE = "none"
# Labels and prototypes in text.
_PRINTED = 3


@click.command(
    cls=MethodCommand,
    epilog=examples(
        "earmark explain clip.wav",
        "earmark explain clip.wav -b bundle -m mask -m segments --rescore -v",
        "earmark explain -r sounds -b bundle -o out --html report.html",
    ),
)
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@bundle_option("The bundle to ask. Without it EARMARK_BUNDLE, else the shipped one.")
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD",
    shell_complete=lambda _context, _parameter, begun: [
        name for name in (*METHODS, NONE) if name.startswith(begun)
    ],
    help=f"{', '.join(METHODS)}. By default what the bundle has; when named, in any bundle: "
    f"{', '.join(_ON_REQUEST)}. {NONE}: scores alone.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="LABEL",
    help="Explain this label instead of the one predicted; of several each, from one forward pass.",
)
@click.option("--rescore", is_flag=True, help="Classify what was kept and what was removed, too.")
@window_options
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write result.json, and each method's pictures, tables and sound. For several sounds, a folder or a "
    "pattern: a folder per sound, as they lie in the folder; for several labels a folder per label in it.",
)
@html_option
@saving_options
@json_option
@click.option("--jsonl", "as_jsonl", is_flag=True, help="One line of JSON per sound, as soon as it is ready.")
@click.option("--recursive", "-r", is_flag=True, help="Look for sound in the folders of folders.")
@click.option("--from-file", metavar="LIST", help="Read more INPUTs from a file, one per line.")
@click.option(
    "--resume", is_flag=True, help="Of several sounds, explain those that DIR lacks: continue a run."
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first sound that fails.")
@click.option(
    "--top",
    type=click.IntRange(1),
    metavar="N",
    help=f"Labels and prototypes to print; labels in JSON.  [default: {_PRINTED}; {SHOWN} in JSON]",
)
@click.option(
    "--min-score",
    default=0.0,
    type=click.FloatRange(0.0, 1.0),
    metavar="P",
    help="Leave labels with a lower score out.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print all that the methods give, not a summary.")
@click.option(
    "--labels",
    callback=listed_words,
    metavar="A,B",
    help="Show only these labels, or halves of Scientific_Common.",
)
@click.option("--windows", is_flag=True, help="Give the best labels of every window, too.")
@device_option
@click.option("--seed", default=0, show_default=True, type=int, help="Seed of methods that draw at random.")
def explain(
    inputs: tuple[str, ...],
    bundle: Path | None,
    methods: tuple[str, ...],
    targets: tuple[str, ...],
    rescore: bool,
    output: Path | None,
    html: Path | None,
    as_json: bool,
    as_jsonl: bool,
    recursive: bool,
    from_file: str | None,
    resume: bool,
    fail_fast: bool,
    top: int | None,
    min_score: float,
    verbose: bool,
    labels: tuple[str, ...] | None,
    windows: bool,
    device: str,
    seed: int,
    **given: Any,
) -> None:
    """Say what each INPUT is classified as, and why.

    INPUT is a sound file, a folder, a pattern, or - for stdin. With neither INPUT nor BUNDLE, the
    clip that is shipped with earmark is explained.
    """
    require_sound(inputs, needed=bundle is not None and not from_file)
    _check_methods(methods)
    _refuse_pairs(methods, output, as_json=as_json, as_jsonl=as_jsonl)
    facts = {"target": targets, "method": methods, "rescore": rescore, "seed": seed, "top": top, **given}
    facts |= {"min_score": min_score, "windows": windows, "labels": labels}
    how, written = window_settings(given), saving_settings(given)
    settings = method_settings(methods or None, given)
    if seed < 0:
        raise click.BadParameter(f"{seed} is negative", param_hint="--seed")

    require_stdout()
    from ..runtime.explainer import SHIPPED, engine_of, load
    from ..runtime.scores.labels import label_index

    # Its own clip is what the shipped demo is for; of other sound it has to say what it is.
    forgotten = bundle is None and bool(inputs or from_file)
    explainer = load(SHIPPED if forgotten else bundle, device=device)
    manifest = engine_of(explainer).manifest
    refuse_options(settings, given, manifest)
    warned = (about_demo(explainer.labels),) if forgotten else ()
    arguments = inputs or (() if from_file else (str(SHIPPED.with_name("example.flac")),))
    asked = collect(arguments, from_file=from_file, recursive=recursive)
    items = list(asked.items)
    tell_skipped(asked.skipped)
    alone = len(items) == len(arguments) == 1 and items[0].within is None and not from_file
    folders = [output] * len(items) if output is None or alone else _folders(output, items)
    targets = tuple(dict.fromkeys(targets))
    bar = CallsProgress()
    for name in settings:
        if takes_progress(name):
            settings[name]["progress"] = bar
    how["rescore"], how["seed"], how["options"] = rescore, seed, settings
    how["methods"] = [] if NONE in methods else list(methods) or None

    most = (_PRINTED, SHOWN) if top is None else (top, top)
    shown = Display(*most, min_score, windows, verbose, labels)
    for label in labels or ():
        label_index(label, explainer.labels, manifest.name)
    report = ResultOutput(
        _origin(engine_of(explainer), targets, how), as_json=as_json, as_jsonl=as_jsonl, shown=shown
    )
    with ExitStack() as stack:
        kept, below = None, _below(targets, manifest.labels)
        if output is not None and not alone:
            from .explained import explained

            kept = stack.enter_context(explained(output, manifest, facts, below, resume=resume))
        page = None if html is None else _page(items, manifest, None if kept is None else output)
        if page is not None:
            stack.enter_context(page)
        run = _Run(explainer, targets, below, how, warned, bar, shown, report, kept, page, written)
        run.explain_all(items, folders, resume=resume, fail_fast=fail_fast)
        failed = report.failed + (0 if kept is None else kept.close())
        if page is not None and html is not None:
            page.write(html)
    report.close(asked.skipped)
    if failed:
        raise click.exceptions.Exit(3 if report.device_failed else 1)


@dataclass(frozen=True)
class _Run:
    """What is done with each sound; `kept` notes it where the run can be continued, `page` shows it.

    below: the folder of each target's result in that of its sound
    written: which sound and arrays lie in its folder
    """

    explainer: Explainer
    targets: Sequence[str]
    below: Sequence[str]
    how: ExplainOptions
    warned: tuple[str, ...]
    bar: CallsProgress
    shown: Display
    report: ResultOutput
    kept: Explained | None
    page: ExplanationPage | None
    written: SaveOptions

    def explain_all(
        self, items: list[Input], folders: Sequence[Path | None], *, resume: bool, fail_fast: bool
    ) -> None:
        """Explain all sounds but, with `resume`, those that are done. Raises WriteError of `kept`."""
        # Where the answers go elsewhere.
        quiet = len(items) < 2 or sys.stdout.isatty()
        with Progress(len(items), "explaining", quiet=quiet) as bar:
            for item, folder in zip(bar.over(items), folders, strict=True):
                if not (resume and self.kept is not None and self.kept.skip(item, self.page)):
                    self.explain(item, folder)
                if self.report.device_failed or (self.report.failed and fail_fast):
                    break

    def explain(self, item: Input, folder: Path | None) -> None:
        """Explain one sound and write it; report what goes wrong with it. Raises WriteError of `kept`."""
        try:
            try:
                results = _explain(self.explainer, item, self.targets, self.how)
            finally:
                self.bar.clear()
            told = [replace(one, warnings=(*self.warned, *one.warnings)) for one in results]
            places = [folder and folder / name for name in self.below]
            for result, place in zip(told, places, strict=True):
                if place is not None:
                    result.save(place, top=self.shown.in_json, **self.shown.chosen, **self.written)
            if self.page is not None:
                self.page.add(item.name, told)
            for result, place in zip(told, places, strict=True):
                self.report.answer(item.name, result, place)
            if self.kept is not None and folder is not None:
                self.kept.done(item, folder, results[0].duration_s)
        except (click.ClickException, click.exceptions.Exit):
            # stdout is full, or its reader has gone: no fault of this sound.
            raise
        except Exception as raised:
            self.report.failure(item.name, raised)
            if self.kept is not None:
                self.kept.failed(item, as_earmark_error(raised))
            if self.page is not None:
                self.page.add_failure(item.name, str(as_earmark_error(raised)))


def _folders(output: Path, items: Sequence[Input]) -> Sequence[Path | None]:
    """The folder of each of several sounds."""
    from .long_run.ledger import LEDGER
    from .report_pages import PARTS

    return result_folders(output, items, taken=(LEDGER, PARTS))


def _below(targets: Sequence[str], labels: Sequence[str]) -> list[str]:
    """The folder of each result in that of its sound: of several for one sound each has its own."""
    if len(targets) < 2:
        return [""]
    folders = label_folders(labels)
    # What is no label has no result.
    return [folders.get(target, "") for target in targets]


def _page(items: Sequence[Input], manifest: Manifest, output: Path | None) -> ExplanationPage:
    """The page of what is explained. Raises MissingDependencyError."""
    from .report_pages import ExplanationPage

    values = manifest.task == "regression"
    return ExplanationPage([item.name for item in items], manifest.labels, values=values, output=output)


def _refuse_pairs(methods: Sequence[str], output: Path | None, *, as_json: bool, as_jsonl: bool) -> None:
    """Raise click.UsageError for options that exclude each other."""
    if as_json and as_jsonl:
        raise click.UsageError("--json and --jsonl exclude each other")
    if output is None:
        refuse_given("goes with -o DIR", "resume", "audio", "audio_format", "arrays")
    rescoring = [method.name for method in all_methods() if method.rescores]
    if methods and not set(rescoring) & set(methods):
        refuse_given(f"goes with the methods {' and '.join(rescoring)}", "rescore")


def _check_methods(methods: Sequence[str]) -> None:
    """Methods that no bundle could have are wrong usage."""
    for method in methods:
        if method not in METHODS and method != NONE:
            raise click.BadParameter(f"{method!r} is not one of {', '.join(METHODS)}", param_hint="--method")
        if method == NONE and len(methods) > 1:
            raise click.BadParameter(f"{NONE} goes with no other method", param_hint="--method")


def _origin(engine: Engine, targets: Sequence[str], how: ExplainOptions) -> Origin:
    """What is asked, for the records of failures; what cannot be asked is the failure of each sound."""
    from ..runtime.document import Origin
    from ..runtime.explaining.request import request_of

    try:
        return request_of(engine, targets, how).origin(engine)
    except EarmarkError:
        manifest = engine.manifest
        return Origin(bundle=manifest.name, bundle_id=manifest.bundle_id, device=engine.device)


def _explain(
    explainer: Explainer, item: Input, targets: Sequence[str], how: ExplainOptions
) -> Sequence[Result]:
    """One result for each target, or the one for what is predicted."""
    if item.missing is not None:
        from ..errors import AudioError

        raise AudioError(item.missing)
    if targets:
        return explainer.explain(item.sound, targets=targets, **how)
    return [explainer.explain(item.sound, **how)]
