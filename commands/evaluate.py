"""`earmark evaluate`: how faithful a bundle's explanations are, beside what anyone could do without them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import DataError
from .console import say_json, tell
from .evaluate_components import component_report
from .evaluate_events import EVENT_OPTIONS, evaluate_events, events_options, refuse_event_options
from .evaluate_inputs import check_words, chosen_clips, progress, readable_clips, speech_of
from .evaluate_prototypes import evaluate_prototypes
from .evaluate_report import about, print_report, write_records
from .inputs import tell_skipped
from .options import device_option, json_option

if TYPE_CHECKING:
    from ..evaluation.faithfulness import Faithfulness, Plan
    from ..runtime.explainer import Explainer

# Option -> its value's name, of those that mean nothing where places in time are judged.
_FAITHFULNESS_ONLY = {
    "--condition": "conditions",
    "--area": "area",
    "--source": "source",
    "--speech": "speech",
    "--curves": "curves",
    "--reference": "reference",
}
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("bundle", type=_FOLDER)
@click.argument("data", type=_FOLDER)
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD",
    help="A row of the table: mask, thresholded, components, random_components, random_components_area, "
    "random, energy, band_occlusion, time_occlusion, ones (these by default, as far as the bundle has them); "
    "random_theta, components_log, random_components_log, random_components_area_log; with --source also "
    "saliency, integrated_gradients, smoothgrad, gradcam, gradcam_energy, shap.",
)
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="clean (default), noise (0 dB), noise_6db, mixture (another clip, 0.8 / 0.2), speech (0.8 / 0.2).",
)
@click.option(
    "--domain",
    type=click.Choice(["spectrogram", "audio", "both"]),
    default="both",
    show_default=True,
    help="Where the masked sound is heard again: as a spectrogram (the paper's) or as sound.",
)
@click.option("--fold", type=int, metavar="N", help="Only clips of the ESC fold N.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="From which value on the thresholded mask keeps a cell.",
)
@click.option(
    "--area",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="X",
    help="Share of the cells that rankings are cut to. [default: that of the clip's own mask]",
)
@click.option(
    "--source",
    metavar="RUN",
    help="What BUNDLE was exported from: adds gradient methods (PyTorch, captum).",
)
@click.option("--speech", type=_FOLDER, metavar="DIR", help="Sounds of speech; synthesised without.")
@click.option("--intervals", is_flag=True, help="Print 95 % intervals and the paired differences too.")
@click.option(
    "--curves",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Metrics against area as .json, .png, .svg or .pdf (takes several times as long).",
)
@click.option(
    "--records",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="One line of JSON a window, method and domain.",
)
@click.option("--reference", is_flag=True, help="AD as the reference recipe computes it (at most 63.2).")
@click.option(
    "--events",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CSV",
    help="Judge the places in time instead, against what truly sounds: clip, label, start_s, end_s.",
)
@click.option("--prototypes", is_flag=True, help="Judge the nearest prototypes instead, view by view.")
@events_options
@click.option("--strict", is_flag=True, help="Fail at the first clip that cannot be read.")
@device_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn.")
@json_option
def evaluate(bundle: Path, data: Path, events: Path | None, **options: Any) -> None:
    """Judge the explanations of BUNDLE on DATA, a folder of class folders of sound.

    Every row is a method whose mask decides what the classifier hears again: the part kept (AI, AD, AG,
    Fid-In) and the part removed (FF). Rankings are cut to the area that the clip's own mask has. With
    --events every row says when something sounded, and is judged by where it truly did. With --prototypes
    every row is a view: whether its nearest prototypes bear the label, and what their place is worth.
    """
    if options.pop("prototypes"):
        if events is not None:
            raise click.UsageError("--events and --prototypes exclude each other")
        evaluate_prototypes(bundle, data, options)
        return
    if events is None:
        refuse_event_options(options)
        given = {name: value for name, value in options.items() if name not in EVENT_OPTIONS}
        _faithfulness(bundle, data, **given)
        return
    for option, name in _FAITHFULNESS_ONLY.items():
        if options[name]:
            raise click.UsageError(f"{option} does not go with --events")
    evaluate_events(bundle, data, events, **options)


def _faithfulness(
    bundle: Path,
    data: Path,
    *,
    methods: Sequence[str],
    conditions: Sequence[str],
    domain: str,
    fold: int | None,
    threshold: float,
    area: float | None,
    source: str | None,
    speech: Path | None,
    intervals: bool,
    curves: Path | None,
    records: Path | None,
    reference: bool,
    strict: bool,
    device: str,
    seed: int,
    as_json: bool,
) -> None:
    """The table of faithfulness. What can be wrong is found before the first clip is judged."""
    from ..evaluation.faithfulness import AREAS, Plan, judge
    from ..evaluation.faithfulness_table import curves as points_of
    from ..evaluation.faithfulness_table import differences, summary
    from ..evaluation.rescoring import domains_of
    from ..evaluation.sound_folders import list_sounds
    from ..runtime.explainer import load

    check_words(methods, conditions, device, source, curves)
    explainer = load(bundle, device=device)
    folder = list_sounds(data, fewest_classes=1)
    tell_skipped(folder.skipped)
    clips = chosen_clips(folder, explainer.manifest, fold)
    plan = Plan(
        maskers=[],
        domains=domains_of(explainer, domain),
        area=area,
        areas=AREAS if curves else (),
        reference=reference,
        seed=seed,
    )
    plan = _with_maskers(plan, explainer, methods, threshold, source)
    plan.check(explainer)
    if curves is not None:
        from .evaluate_curves import check_curves

        check_curves(curves)
    files = speech_of(speech)
    clips, skipped = readable_clips(clips, explainer.manifest.sample_rate, strict)
    if not clips:
        raise DataError(f"{data}: none of its clips can be read ({skipped[0]['reason']})")
    from ..evaluation.conditions import Condition

    where = [
        Condition(name, explainer.manifest.sample_rate, seed, clips, files)
        for name in dict.fromkeys(conditions or ["clean"])
    ]
    for condition in where:
        condition.check(clips)
    made: dict[str, Faithfulness] = {}
    for condition in where:
        with progress(len(clips), f"judging, {condition.name}") as step:
            made[condition.name] = judge(explainer, clips, condition, plan, on_clip=step)
    judged = [record for one in made.values() for record in one.records]
    tables = {
        "table": summary(judged, reference=reference, seed=seed),
        "differences": differences(judged, seed=seed),
    }
    components = component_report(explainer, clips, where, judged, progress, seed=seed)
    points = points_of([record for one in made.values() for record in one.curve], seed=seed)
    document = {
        **about(explainer, plan, where, made),
        "data": str(data),
        "fold": fold,
        "skipped": skipped,
        **{name: table.to_dict() for name, table in tables.items()},
        "components": components.to_dict() if components else None,
        "curves": points,
    }
    if records is not None:
        write_records(records, made)
    if curves is not None:
        from .evaluate_curves import write_curves

        write_curves(curves, points)
    if as_json:
        say_json(document, indent=2)
    else:
        print_report(document, tables, intervals=intervals)
        if components:
            components.print(intervals=intervals)
    for name, one in made.items():
        for warning in one.warnings:
            tell(f"{name}: {warning}")


def _with_maskers(
    plan: Plan, explainer: Explainer, methods: Sequence[str], threshold: float, source: str | None
) -> Plan:
    """The plan with its maskers, in the order asked for."""
    from dataclasses import replace

    from ..evaluation.baselines import masker_of, usual_maskers
    from .evaluate_source import ATTRIBUTIONS

    names = list(dict.fromkeys(methods)) or [*usual_maskers(explainer), *(ATTRIBUTIONS if source else ())]
    found = {name: masker_of(name, threshold=threshold) for name in names if name not in ATTRIBUTIONS}
    if source is not None:
        from .evaluate_source import attributed

        asked = [name for name in names if name in ATTRIBUTIONS]
        found |= {one.name: one for one in attributed(explainer, source, asked, plan.seed)}
    return replace(plan, maskers=[found[name] for name in names])
