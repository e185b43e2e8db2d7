"""`earmark evaluate masks`: how faithful explanations are, beside what anyone could do without them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import DataError
from ...progress import Progress
from ..console import say_json, tell
from ..inputs import tell_skipped
from ..options import device_option, json_option, refuse_given
from .components import component_report
from .inputs import check_words, chosen_clips, fail_for, readable_clips, speech_of
from .options import (
    bundle_and_data,
    domain_option,
    fold_option,
    intervals_option,
    records_option,
    seed_option,
    strict_option,
)
from .report import about, print_report, write_records
from .source import ATTRIBUTIONS

if TYPE_CHECKING:
    from ...evaluation.faithfulness.judge import Faithfulness, Plan
    from ...runtime.engine import Engine


@click.command()
@bundle_and_data
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
@domain_option
@fold_option
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="From which value on the row thresholded keeps a cell.",
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
@click.option(
    "--speech",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Sounds of speech for --condition speech; synthesised without.",
)
@intervals_option
@click.option(
    "--curves",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Metrics against area as .json, .png, .svg or .pdf (takes several times as long).",
)
@records_option
@click.option("--reference", is_flag=True, help="AD as the reference recipe computes it (at most 63.2).")
@strict_option
@device_option
@seed_option
@json_option
def masks(
    bundle: Path,
    data: Path,
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
    """Judge the masks of BUNDLE on DATA, a folder of class folders of sound.

    Every row is a method whose mask decides what the classifier hears again: the part kept (AI, AD, AG,
    Fid-In) and the part removed (FF). Rankings are cut to the area that the clip's own mask has. Exits with 1
    where a clip or a folder could not be read and was left out.
    """
    from ...evaluation.data.folder import list_sounds
    from ...evaluation.faithfulness.judge import AREAS, Plan, judge
    from ...evaluation.faithfulness.table import curves as points_of
    from ...evaluation.faithfulness.table import differences, summary
    from ...evaluation.rescoring import domains_of
    from ...runtime.engine import Engine
    from ...runtime.explainer import bundle_path

    # What can be wrong is found before the first clip is judged.
    check_words(methods, conditions, device, source, curves)
    _refuse_unused(methods, conditions)
    engine = Engine(bundle_path(bundle), device)
    folder = list_sounds(data, fewest_classes=1)
    tell_skipped(folder.skipped)
    clips = chosen_clips(folder, engine.manifest, fold)
    plan = Plan(
        maskers=[],
        domains=domains_of(engine, domain),
        area=area,
        areas=AREAS if curves else (),
        reference=reference,
        seed=seed,
    )
    plan = _with_maskers(plan, engine, methods, threshold, source)
    plan.check(engine)
    if curves is not None:
        from .curves import check_curves

        check_curves(curves)
    files = speech_of(speech)
    clips, skipped = readable_clips(folder, clips, engine.manifest.sample_rate, strict)
    if not clips:
        raise DataError(f"{data}: none of its clips can be read ({skipped[0]['reason']})")
    from ...evaluation.faithfulness.conditions import Condition

    where = [
        Condition(name, engine.manifest.sample_rate, seed, clips, files)
        for name in dict.fromkeys(conditions or ["clean"])
    ]
    for condition in where:
        condition.check(clips)
    made: dict[str, Faithfulness] = {}
    for condition in where:
        with Progress(len(clips), f"judging, {condition.name}") as bar:
            made[condition.name] = judge(engine, clips, condition, plan, on_clip=bar.step)
    judged = [record for one in made.values() for record in one.records]
    tables = {
        "table": summary(judged, reference=reference, seed=seed),
        "differences": differences(judged, seed=seed),
    }
    components = component_report(engine, clips, where, judged, seed=seed)
    points = points_of([record for one in made.values() for record in one.curve], seed=seed)
    document = {
        **about(engine, plan, where, made),
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
        from .curves import write_curves

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
    fail_for(skipped)


def _refuse_unused(methods: Sequence[str], conditions: Sequence[str]) -> None:
    """Raise click.UsageError for an option that no row and no condition would use."""
    from ...evaluation.faithfulness.component_maskers import COMPONENTS

    if methods and "thresholded" not in methods:
        refuse_given("is for the row thresholded: add -m thresholded", "threshold")
    if "speech" not in conditions:
        refuse_given("goes with --condition speech", "speech")
    if methods and not set(methods) & set(ATTRIBUTIONS):
        refuse_given(f"adds gradient methods: name one of {', '.join(ATTRIBUTIONS)} by -m", "source")
    if methods and set(methods) <= {"mask", "thresholded", "ones", *COMPONENTS}:
        refuse_given("is for rankings, which the methods named are not", "area")


def _with_maskers(
    plan: Plan, engine: Engine, methods: Sequence[str], threshold: float, source: str | None
) -> Plan:
    """The plan with its maskers, in the order asked for."""
    from dataclasses import replace

    from ...evaluation.faithfulness.maskers import masker_of, usual_maskers

    names = list(dict.fromkeys(methods)) or [*usual_maskers(engine), *(ATTRIBUTIONS if source else ())]
    found = {
        name: masker_of(name, threshold=threshold, seed=plan.seed)
        for name in names
        if name not in ATTRIBUTIONS
    }
    if source is not None:
        from .source import attributed

        asked = [name for name in names if name in ATTRIBUTIONS]
        found |= {one.name: one for one in attributed(engine, source, asked, plan.seed)}
    return replace(plan, maskers=[found[name] for name in names])
