"""How faithful explanations are: the whole evaluation, from a bundle and a data folder to a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ...progress import Progress
from ...runtime.engine import Engine
from ...runtime.explainer import Explainer, engine_of
from ...runtime.methods.components.interpreter import dictionary_of
from ..data.clips import Tell, ignore, judged_clips, require_classes
from ..data.folder import Clip, SoundFolder
from ..report import Report, Table
from ..rescoring import domains_of
from ..settings import Domain, MaskSettings
from ..statistics import Interval
from .components import component_figures, fidelity_table, interpret_clips
from .conditions import Condition, speech_files
from .judge import Faithfulness, MaskRecord, Plan, Silence, judge
from .maskers import Masker, masker_of, usual_maskers
from .table import CurvePoint, curves, differences, summary


@dataclass(frozen=True)
class ConditionReport:
    """The classifier under a condition.

    Attributes:
        text: What is mixed into the clips.
        clips, windows: How many were judged.
        right: Windows whose predicted class is a label of the clip.
        classify_ms: Median time of a window's forward pass, in milliseconds.
        silence: Domain -> the classifier's answer to silence.
        windows_of_silence_class: Windows predicted as the class of silence.
        warnings: One line each.

    """

    text: str
    clips: int
    windows: int
    right: int
    classify_ms: float
    silence: Mapping[Domain, Silence]
    windows_of_silence_class: int
    warnings: Sequence[str]


@dataclass(frozen=True)
class ComponentReport:
    """How components agree with the classifier, and components minus the other methods.

    Attributes:
        count: Components of the dictionary.
        threshold: Relevance from which a component is selected.
        by_design: The components' logits are the classifier.
        fidelity: Condition -> table.
        figures: Condition -> reconstruction errors and numbers of components selected.
        differences: Components minus every other masker, window by window.

    """

    count: int
    threshold: float
    by_design: bool
    fidelity: Mapping[str, Table]
    figures: Mapping[str, Mapping[str, Interval]]
    differences: Table


@dataclass(frozen=True, kw_only=True)
class MaskReport(Report[MaskRecord]):
    """What `evaluate_masks` returns; `to_dict` is the document of `earmark evaluate masks --json`."""

    device: str
    seed: int
    reference: bool
    area: float | None
    settings: MaskSettings
    conditions: Mapping[str, ConditionReport]
    fold: int | None
    table: Table
    differences: Table
    components: ComponentReport | None
    curves: Sequence[CurvePoint]


def evaluate_masks(
    explainer: Explainer,
    sounds: SoundFolder,
    settings: MaskSettings | None = None,
    *,
    more: Sequence[Masker] = (),
    tell: Tell = ignore,
    quiet: bool = True,
) -> MaskReport:
    """Judge masks by what the classifier says of the part kept (AI, AD, AG, Fid-In) and removed (FF).

    Args:
        explainer: The bundle, opened.
        sounds: Labelled clips, as `list_sounds(folder, fewest_classes=1)` lists them.
        settings: Rows, conditions and how they are judged; None: the defaults.
        more: Further maskers, which `settings.methods` may name, such as attributions.
        tell: Takes what a person should know, line by line, as soon as it is known.
        quiet: Show no progress bar.

    Returns:
        Tables, curves and records.

    Raises:
        MethodError: The bundle lacks what a method needs, or there is no such method.
        DataError: No clip can be judged; with `strict` the first that cannot.

    """
    how = settings or MaskSettings()
    engine = engine_of(explainer)
    manifest = engine.manifest
    require_classes(manifest)
    plan = Plan(
        maskers=_maskers(engine, how, more),
        domains=domains_of(engine, how.domain),
        area=how.area,
        areas=how.areas,
        reference=how.reference,
        seed=how.seed,
    )
    plan.check(engine)
    speech, unreadable = speech_files(how.speech) if how.speech else ([], [])
    for reason in unreadable:
        tell(f"left out {reason}")
    clips, skipped = judged_clips(sounds, manifest, how, tell=tell, quiet=quiet)
    conditions = [
        Condition(name, manifest.sample_rate, how.seed, clips, speech)
        for name in dict.fromkeys(how.conditions or ("clean",))
    ]
    for condition in conditions:
        condition.check(clips)
    judged: dict[str, Faithfulness] = {}
    for condition in conditions:
        with Progress(len(clips), f"judging, {condition.name}", quiet=quiet) as bar:
            judged[condition.name] = judge(engine, bar.over(clips), condition, plan)
    records = [record for one in judged.values() for record in one.records]
    return MaskReport(
        bundle=manifest.name,
        bundle_id=manifest.bundle_id,
        device=engine.device,
        seed=how.seed,
        reference=how.reference,
        area=how.area,
        settings=how,
        conditions={one.name: _condition_report(one, judged[one.name]) for one in conditions},
        data=str(sounds.path),
        fold=how.fold,
        skipped=skipped,
        table=summary(records, reference=how.reference, seed=how.seed),
        differences=differences(records, seed=how.seed),
        components=_component_report(engine, clips, conditions, records, how.seed, quiet),
        curves=curves([record for one in judged.values() for record in one.curve], seed=how.seed),
        records=records,
    )


def _maskers(engine: Engine, settings: MaskSettings, more: Sequence[Masker]) -> list[Masker]:
    """The maskers in the order asked for."""
    by_name = {masker.name: masker for masker in more}
    names = dict.fromkeys(settings.methods or (*usual_maskers(engine), *by_name))
    return [
        by_name.get(name) or masker_of(name, threshold=settings.threshold, seed=settings.seed)
        for name in names
    ]


def _condition_report(condition: Condition, judged: Faithfulness) -> ConditionReport:
    return ConditionReport(
        text=condition.text,
        clips=judged.clips,
        windows=judged.windows,
        right=judged.right,
        classify_ms=median(judged.classify_ms),
        silence=judged.silence,
        windows_of_silence_class=judged.silent_class,
        warnings=judged.warnings,
    )


def _component_report(
    engine: Engine,
    clips: Sequence[Clip],
    conditions: Sequence[Condition],
    records: Sequence[MaskRecord],
    seed: int,
    quiet: bool,
) -> ComponentReport | None:
    """The report; None where components were not among the methods judged."""
    if not any(record.masker == "components" for record in records):
        return None
    spec = dictionary_of(engine.graphs).spec
    fidelity: dict[str, Table] = {}
    figures: dict[str, Mapping[str, Interval]] = {}
    for condition in conditions:
        with Progress(len(clips), f"interpreting, {condition.name}", quiet=quiet) as bar:
            windows = interpret_clips(engine, bar.over(clips), condition, seed=seed)
        fidelity[condition.name] = fidelity_table(
            windows, engine.manifest.task, by_design=spec.by_design, seed=seed
        )
        figures[condition.name] = component_figures(windows, seed=seed)
    return ComponentReport(
        spec.count,
        spec.threshold,
        spec.by_design,
        fidelity,
        figures,
        differences(records, "components", seed=seed),
    )
