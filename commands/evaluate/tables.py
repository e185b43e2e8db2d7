"""The sub-commands of `earmark evaluate` that print a table: all but masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ...errors import LabelError, MethodError, SettingsError
from ...evaluation.settings import (
    AgreementSettings,
    ClipSettings,
    LocalisationSettings,
    PrototypeSettings,
    SanitySettings,
    TrustSettings,
)
from ...runtime.methods.segments.settings import SegmentSettings
from ...times import duration_text
from ..console import bold, tell
from ..options import examples
from ..paths import BundleFolder
from ..settings_options import Given, settings_options
from .options import (
    ReportOutput,
    below,
    bundle_and_data,
    events_of,
    events_option,
    intervals_option,
    preset_option,
    report_options,
    settled,
)

Answer = TypeVar("Answer")


@click.command(
    short_help="How well explanations find the true event in time.",
    epilog=examples("earmark evaluate events bundle data --events events.csv"),
)
@bundle_and_data
@events_option
@settings_options(LocalisationSettings)
@preset_option
@settings_options(SegmentSettings, "of_segments", only=("calls", "surrogate", "fill"))
@report_options
def events(
    bundle: Path,
    data: Path,
    table: Path | None,
    given: Given[LocalisationSettings],
    preset: str | None,
    of_segments: Given[SegmentSettings],
    device: str,
    **output: Any,
) -> None:
    """Judge where in time the explanations of BUNDLE lie, by the true events of the clips of DATA.

    Every row says when something sounded: AUC and average precision over the segments of a clip. Exits with 1
    where a clip could not be judged and was left out.
    """
    from ...evaluation.data.folder import list_sounds
    from ...evaluation.localisation.evaluate import evaluate_events
    from ...evaluation.localisation.localisers import check_methods
    from ...runtime.explainer import load

    settings, paper = settled(given, preset, "events")
    try:
        check_methods(settings.methods)
    except MethodError as error:
        raise click.BadParameter(str(error), param_hint="'--method'") from error
    segments = below(of_segments, paper.segments).settings()
    path = events_of(table, data)
    if of_segments and settings.methods and not any(one.startswith("segments") for one in settings.methods):
        raise click.UsageError(f"{of_segments.first} is an option of segments: add -m segments")
    report = evaluate_events(
        load(bundle, device=device),
        list_sounds(data, fewest_classes=1),
        settings,
        events=path,
        segments=segments,
        tell=tell,
        quiet=False,
    )
    ReportOutput(**output, intervals=True, preset=preset).give(
        report,
        report.table,
        [
            f"{report.bundle}: {report.judged} clips with events, {report.correct} of them classified as "
            f"labelled; segments of {report.segment_seconds:g} s, rule {report.rule}",
            "",
            *report.table.text(intervals=True).split("\n"),
        ],
    )


@click.command(
    short_help="How many events of recordings are detected.",
    epilog=examples("earmark evaluate detections bundle recordings --min-score 0.6"),
)
@bundle_and_data
@events_option
@settings_options(AgreementSettings)
@intervals_option
@report_options
def detections(
    bundle: Path,
    data: Path,
    table: Path | None,
    given: Given[AgreementSettings],
    device: str,
    **output: Any,
) -> None:
    """Judge what BUNDLE detects in DATA, a folder of recordings, by their true events.

    Windows: how well their scores rank those with events. Detections: which share time with an event of their
    label. Events: which share time with a detection; which agree with one within the collar at their begin,
    and within the collar or a fifth of the event at their end, one to one; and segments of a second. Exits
    with 1 where a recording could not be read.
    """
    from ...evaluation.detections.evaluate import evaluate_detections
    from ...runtime.explainer import load

    path, settings = events_of(table, data), given.settings()
    try:
        report = evaluate_detections(
            load(bundle, device=device), data, settings, events=path, tell=tell, quiet=False
        )
    except (LabelError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    out = ReportOutput(**output)
    text = [
        f"{report.bundle}: {len(report.records)} recordings, {duration_text(3600.0 * report.hours)}; "
        f"collar {settings.collar_s:g} s, segments of {settings.segment_s:g} s"
    ]
    tables = report.tables | ({"events by level": report.levels} if report.levels.rows else {})
    for name, part in tables.items():
        text += ["", bold(name), *out.lines(part)]
    out.give(report, report.table, text)


@click.command(
    short_help="Whether the nearest prototypes are the evidence.",
    epilog=examples("earmark evaluate prototypes bundle data"),
)
@bundle_and_data
@settings_options(PrototypeSettings)
@preset_option
@intervals_option
@report_options
def prototypes(
    bundle: Path,
    data: Path,
    given: Given[PrototypeSettings],
    preset: str | None,
    device: str,
    **output: Any,
) -> None:
    """Judge the nearest prototypes of BUNDLE on DATA, a folder of class folders of sound.

    Every row is a view: how often its nearest prototypes bear the clip's label, and what the logit loses
    where the matched place is removed. Exits with 1 where a clip or a folder could not be read and was left
    out.
    """
    from ...evaluation.prototypes.evaluate import evaluate_prototypes

    settings, _ = settled(given, preset, "prototypes")
    report = _judged(evaluate_prototypes, bundle, data, settings, device)
    out = ReportOutput(**output, preset=preset)
    right = "" if settings.any_label else f"{report.right / report.clips:.1%} classified as labelled; "
    out.give(
        report,
        report.prototypes,
        [
            f"{report.bundle}: {report.clips} clips, {right}removed from the {report.domain}",
            "",
            *out.lines(report.prototypes),
        ],
    )


@click.command(
    short_help="What changes the masks, and what does not.",
    epilog=examples("earmark evaluate sanity bundle data --fold 4 --other bundle1"),
)
@bundle_and_data
@settings_options(SanitySettings)
@click.option(
    "--other",
    "others",
    multiple=True,
    type=BundleFolder(),
    metavar="BUNDLE",
    help="Of the same classes, trained with another seed.",
)
@click.option(
    "--shuffled",
    multiple=True,
    type=BundleFolder(),
    metavar="BUNDLE",
    help="Of the same classes, trained on shuffled labels.",
)
@intervals_option
@report_options
def sanity(
    bundle: Path,
    data: Path,
    given: Given[SanitySettings],
    others: tuple[Path, ...],
    shuffled: tuple[Path, ...],
    device: str,
    **output: Any,
) -> None:
    """Check what changes the masks of BUNDLE on DATA, a folder of class folders of sound.

    Random weights, layer by layer, and shuffled labels must change them; level, a shift, faint noise, another
    rate and codecs must not. Rows say how alike masks are to those of BUNDLE itself; compare with the masks
    of unrelated clips. Exits with 1 where a clip or a folder could not be read and was left out.
    """
    from ...evaluation.sanity.evaluate import evaluate_sanity

    settings = given.settings()
    report = _judged(evaluate_sanity, bundle, data, settings, device, others=others, shuffled=shuffled)
    out = ReportOutput(**output)
    head = f"{report.bundle}: {report.method} of {report.clips} clips"
    out.give(report, report.table, [head, "", *out.lines(report.table)], report.warnings)


@click.command(
    short_help="How far a single mask is to be believed.",
    epilog=examples("earmark evaluate trust bundle data --fold 4 --store"),
)
@bundle_and_data
@settings_options(TrustSettings)
@click.option("--store", is_flag=True, help="Keep it in BUNDLE: every result then says it of its mask.")
@report_options
def trust(
    bundle: Path, data: Path, given: Given[TrustSettings], store: bool, device: str, **output: Any
) -> None:
    """Measure how far the masks of BUNDLE are to be believed, on DATA that nothing was trained on.

    Whether the kept part alone is of the class and the removed part is not, and how well that is foretold
    from what is known without classifying the parts. Exits with 1 where a clip or a folder could not be read
    and was left out.
    """
    from ...evaluation.trust.evaluate import evaluate_trust

    report = _judged(evaluate_trust, bundle, data, given.settings(), device)
    if store:
        from ...export.bundle.trust import store_trust

        store_trust(bundle, report.spec, report.bundle_id)
    out = ReportOutput(**output)
    text = [
        f"{report.bundle}: {report.windows} windows of {report.recordings} recordings "
        f"({', '.join(report.conditions)})",
        "",
        *out.lines(report.table),
    ]
    if report.known.rows:
        text += ["", "by what the bundle held before", *out.lines(report.known)]
    kept = [f"{bundle}: every result now says how far its mask is to be believed"] if store else []
    out.give(report, report.table, text, kept)


def _judged(
    evaluate: Callable[..., Answer],
    bundle: Path,
    data: Path,
    settings: ClipSettings,
    device: str,
    **more: Any,
) -> Answer:
    """The report of an evaluation over the clips of DATA."""
    from ...evaluation.data.clips import listed_clips
    from ...runtime.explainer import load

    explainer, sounds = load(bundle, device=device), listed_clips(data, settings)
    return evaluate(explainer, sounds, settings, tell=tell, quiet=False, **more)
