"""`earmark evaluate masks`: how faithful explanations are, beside what anyone could do without them.

With --curves, metrics against the area kept, as JSON or as a picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import MissingDependencyError
from ...evaluation.settings import MaskSettings
from ...prototypes_index.atomic import open_whole
from ..console import bold, tell
from ..options import examples, file_option, refuse_given
from ..settings_options import Given, settings_options
from .options import (
    ReportOutput,
    bundle_and_data,
    intervals_option,
    make_folder_of,
    preset_option,
    report_options,
    settled,
    write_file,
)
from .source import ATTRIBUTIONS, attributed

if TYPE_CHECKING:
    from ...evaluation.faithfulness.evaluate import ComponentReport, CurvePoint, MaskReport


_FIGURES = {
    "relative_error": "reconstruction error |X - W H| / |X| {:.3f}",
    "squared_error": "(mean square {:.4f})",
    "selected": "{:.1f} components selected",
    "none_selected": "none in {:.1%} of the windows",
}


@click.command(
    short_help="How faithful masks and components are, beside baselines.",
    epilog=examples(
        "earmark evaluate masks bundle data --fold 4",
        "earmark evaluate masks bundle data -m mask -m random --domain audio --json",
    ),
)
@bundle_and_data
@settings_options(MaskSettings)
@preset_option
@click.option(
    "--source",
    metavar="RUN",
    help="What BUNDLE was exported from: adds gradient methods (PyTorch, captum).",
)
@intervals_option
@file_option("--curves", "Metrics against area as .json, .png, .svg or .pdf (takes several times as long).")
@report_options
def masks(
    bundle: Path,
    data: Path,
    given: Given[MaskSettings],
    preset: str | None,
    source: str | None,
    curves: Path | None,
    device: str,
    **output: Any,
) -> None:
    """Judge the masks of BUNDLE on DATA, a folder of class folders of sound.

    Every row is a method whose mask decides what the classifier is given: the part kept (AI, AD, AG, Fid-In)
    and the part removed (FF). Rankings are cut to the area that the clip's own mask has. Exits with 1 where a
    clip or a folder could not be read and was left out.
    """
    from ...evaluation.data.clips import listed_clips
    from ...evaluation.faithfulness.evaluate import evaluate_masks
    from ...evaluation.faithfulness.judge import AREAS
    from ...runtime.explainer import engine_of, load

    # What can be wrong is reported before the first clip is judged.
    settings, _ = settled(given, preset, "masks", areas=AREAS if curves else ())
    _check_methods(settings.methods, source)
    _refuse_unused(settings)
    if curves is not None:
        check_curves(curves)
    explainer = load(bundle, device=device)
    sounds = listed_clips(data, settings)
    asked = [name for name in settings.methods or ATTRIBUTIONS if name in ATTRIBUTIONS]
    report = evaluate_masks(
        explainer,
        sounds,
        settings,
        more=attributed(engine_of(explainer), source, asked, settings.seed) if source else (),
        tell=tell,
        quiet=False,
    )
    if curves is not None:
        write_curves(curves, report.curves)
    out = ReportOutput(**output, preset=preset)
    notes = [f"{name}: {note}" for name, one in report.conditions.items() for note in one.warnings]
    out.give(report, report.table, _lines(report, out), notes)


def _check_methods(methods: Sequence[str], source: str | None) -> None:
    """Raise click.BadParameter for methods that no bundle could have, or that need --source."""
    from ...evaluation.faithfulness.maskers import known_maskers
    from ...evaluation.questions import is_reference

    known = (*known_maskers(), *ATTRIBUTIONS)
    for method in methods:
        if method not in known and not is_reference(method):
            raise click.BadParameter(f"{method!r} is not one of {', '.join(known)}", param_hint="--method")
        if method in ATTRIBUTIONS and source is None:
            raise click.BadParameter(
                f"{method!r} needs --source: what the bundle was exported from", param_hint="--method"
            )


def _refuse_unused(settings: MaskSettings) -> None:
    """Raise click.UsageError for an option that no row and no condition would use."""
    from ...evaluation.faithfulness.maskers import COMPONENTS

    methods = set(settings.methods)
    if methods and "thresholded" not in methods:
        refuse_given("is for the row thresholded: add -m thresholded", "threshold")
    if "speech" not in settings.conditions:
        refuse_given("goes with --condition speech", "speech")
    if methods and not methods & set(ATTRIBUTIONS):
        refuse_given(f"adds gradient methods: name one of {', '.join(ATTRIBUTIONS)} by -m", "source")
    if methods and methods <= {"mask", "thresholded", "ones", *COMPONENTS}:
        refuse_given("is for rankings, which the methods named are not", "area")


def _lines(report: MaskReport, out: ReportOutput) -> Iterator[str]:
    """The report for people: the conditions and the tables."""
    yield bold(report.bundle)
    for name, one in report.conditions.items():
        silence = "; ".join(
            f"silence ({domain}) is classified as {answer.label} {answer.score:.0%}"
            for domain, answer in one.silence.items()
        )
        classified = "classified"
        if not report.settings.any_label:
            classified = f"{one.right / one.windows:.1%} classified as labelled"
        yield (
            f"{name}: {one.text}. {one.clips} clips, {one.windows} windows, "
            f"{classified} in {one.classify_ms:.1f} ms each; {silence}"
        )
    yield from ("", *out.lines(report.table))
    if out.intervals and report.differences.rows:
        yield from ("", "mask minus the others, window by window", *out.lines(report.differences))
    if report.components is not None:
        yield from _component_lines(report.components, out)


def _component_lines(report: ComponentReport, out: ReportOutput) -> Iterator[str]:
    kind = "by design" if report.by_design else "beside the classifier"
    yield from ("", f"{report.count} components, relevant above {report.threshold:g}; {kind}")
    for name, table in report.fidelity.items():
        figures = [text.format(report.figures[name][key].estimate) for key, text in _FIGURES.items()]
        yield f"{name}: {figures[0]} {figures[1]}, {figures[2]}, {figures[3]}"
        yield from out.lines(table)
    if out.intervals and report.differences.rows:
        yield from ("", "components minus the others, window by window", *out.lines(report.differences))


# What is drawn, from left to right.
_DRAWN = ("faithfulness", "average_drop", "input_fidelity")
_SUFFIXES = (".json", ".png", ".svg", ".pdf")


def check_curves(path: Path) -> None:
    """Raise what would otherwise stop the work after it is done.

    Raises:
        click.BadParameter: The file's ending is none of .json, .png, .svg, .pdf.
        MissingDependencyError: A picture needs matplotlib, which is not installed.

    """
    if path.suffix.lower() not in _SUFFIXES:
        raise click.BadParameter(f"{path}: end it with {', '.join(_SUFFIXES)}", param_hint="--curves")
    if path.suffix.lower() != ".json":
        _pyplot()


def write_curves(path: Path, points: Sequence[CurvePoint]) -> None:
    """Write the points to `path`, .json or a picture, whole or not at all. Raises WriteError."""
    from ...evaluation.report import json_ready

    if path.suffix.lower() == ".json":
        write_file(path, json.dumps({"points": json_ready(points)}, indent=2) + "\n")
        return
    make_folder_of(path)
    figure = _drawn(points)
    with open_whole(path) as file:
        figure.savefig(file, dpi=120, format=path.suffix[1:].lower())
    _pyplot().close(figure)


def _drawn(points: Sequence[CurvePoint]) -> Any:
    """A row of panels for each condition and domain."""
    from ...evaluation.faithfulness.metrics import METRICS

    rows = list(dict.fromkeys((point.condition, point.domain) for point in points))
    figure, panels = _pyplot().subplots(
        len(rows), len(_DRAWN), figsize=(4.2 * len(_DRAWN), 3.4 * len(rows)), squeeze=False, sharex=True
    )
    for (condition, domain), line in zip(rows, panels, strict=True):
        here = [point for point in points if (point.condition, point.domain) == (condition, domain)]
        for key, panel in zip(_DRAWN, line, strict=True):
            for method in dict.fromkeys(point.method for point in here):
                curve = [(one.area, getattr(one, key)) for one in here if one.method == method]
                areas = [area for area, _ in curve]
                panel.plot(areas, [value.estimate for _, value in curve], marker=".", label=method)
                low, high = [value.low for _, value in curve], [value.high for _, value in curve]
                panel.fill_between(areas, low, high, alpha=0.12)
            panel.set_title(f"{METRICS[key].name}, {condition}, {domain}", fontsize=10)
            panel.set_xlabel("area kept")
            panel.grid(alpha=0.3)
    panels[0, 0].legend(fontsize=8)
    figure.tight_layout()
    return figure


def _pyplot() -> Any:
    """Matplotlib without a screen. Raises MissingDependencyError naming the extra."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingDependencyError(
            "a picture of the curves needs matplotlib, which is not installed; "
            'pip install "earmark[evaluation]", or write them as .json'
        ) from error
    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot
