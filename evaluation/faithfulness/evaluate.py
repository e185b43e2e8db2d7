"""How faithful explanations are: the whole evaluation, from a bundle and a data folder to a report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from ...progress import Progress
from ...runtime.engine import Engine
from ...runtime.explainer import Explainer, engine_of
from ...runtime.methods.components.interpreter import dictionary_of
from ..data.clips import Tell, ignore, judged_clips, require_classes
from ..data.folder import Clip, SoundFolder
from ..report import Cell, Column, Report, Table
from ..rescoring import domains_of
from ..settings import Domain, MaskSettings
from ..statistics import Interval, by_recording
from .components import component_figures, fidelity_table, interpret_clips
from .conditions import Condition, conditions_of, speech_files
from .judge import Faithfulness, MaskRecord, Plan, Silence, judge
from .maskers import Masker, masker_of, usual_maskers
from .metrics import OF_MASK, metrics


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
    conditions = conditions_of(how.conditions or ("clean",), manifest.sample_rate, how.seed, clips, speech)
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


# What is compared pair by pair, and drawn over area.
COMPARED = ("average_increase", "average_drop", "faithfulness", "input_fidelity")

Key = tuple[str, str, str]


def summary(records: Sequence[MaskRecord], *, reference: bool = False, seed: int = 0) -> Table:
    """A row a condition, domain and masker, in order of appearance.

    Every metric is the mean over windows with its interval over source recordings; `area_spread` is the
    standard deviation of the area between windows, `milliseconds` the median that the masker took.
    """
    measures = metrics(reference=reference)
    columns = [*_names(), *(_column(key) for key in measures if key != "area")]
    columns += [
        Column("area", "area", 3),
        Column("area_spread", "+-", 3),
        Column("windows", "windows"),
        Column("milliseconds", "ms", 1),
    ]
    rows: list[dict[str, Cell]] = []
    for names, some in _grouped(records):
        areas = np.array([one.values["area"] for one in some])
        row: dict[str, Cell] = dict(zip(("condition", "domain", "method"), names, strict=True))
        for key in measures:
            row[key] = by_recording([one.values[key] for one in some], some, seed)
        row["area_spread"] = float(areas.std())
        row["windows"] = len(some)
        row["milliseconds"] = float(np.median([one.milliseconds for one in some]))
        rows.append(row)
    return Table(columns, rows)


def differences(records: Sequence[MaskRecord], first: str = "mask", *, seed: int = 0) -> Table:
    """`first` minus every other masker, window by window, with intervals over source recordings.

    Rows are empty where `first` was not judged. `ahead` names the metrics in which `first` is better
    and the interval is clear of zero, `behind` those in which it is worse.
    """
    columns = [*_names("against"), *(_column(key, better=False) for key in COMPARED)]
    columns += [Column("ahead", "ahead"), Column("behind", "behind")]
    rows: list[dict[str, Cell]] = []
    groups = dict(_grouped(records))
    for (condition, domain, masker), others in groups.items():
        own = groups.get((condition, domain, first))
        if own is None or masker == first:
            continue
        row: dict[str, Cell] = {"condition": condition, "domain": domain, "method": masker}
        verdicts: dict[str, list[str]] = {"ahead": [], "behind": []}
        pairs = _pairs(own, others)
        for key in COMPARED:
            gaps = [a.values[key] - b.values[key] for a, b in pairs]
            row[key] = difference = by_recording(gaps, [a for a, _ in pairs], seed)
            if difference.clear_of_zero:
                better = (difference.estimate > 0) == (metrics()[key].better == "higher")
                verdicts["ahead" if better else "behind"].append(metrics()[key].name)
        rows.append(row | {name: " ".join(keys) or "-" for name, keys in verdicts.items()})
    return Table(columns, rows)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A masker cut to `wanted_area`: the mean area of its masks, 0..1, and the compared metrics."""

    condition: str
    domain: str
    method: str
    wanted_area: float
    area: float
    average_increase: Interval
    average_drop: Interval
    faithfulness: Interval
    input_fidelity: Interval


def curves(records: Sequence[MaskRecord], *, seed: int = 0) -> list[CurvePoint]:
    """The points of the curves, in order of condition, domain, masker and area."""
    points = []
    for (condition, domain, masker), some in _grouped(records):
        for wanted in sorted({one.values["wanted_area"] for one in some}):
            here = [one for one in some if one.values["wanted_area"] == wanted]
            area = float(np.mean([one.values["area"] for one in here]))
            metric = {key: by_recording([one.values[key] for one in here], here, seed) for key in COMPARED}
            points.append(CurvePoint(condition, domain, masker, wanted, area, **metric))
    return points


def _grouped(records: Iterable[MaskRecord]) -> Iterator[tuple[Key, list[MaskRecord]]]:
    """Records of one condition, domain and masker, in order of appearance of the first two."""
    groups: dict[Key, list[MaskRecord]] = {}
    for one in records:
        groups.setdefault((one.condition, one.domain, one.masker), []).append(one)
    order = {pair: index for index, pair in enumerate(dict.fromkeys(key[:2] for key in groups))}
    yield from sorted(groups.items(), key=lambda item: order[item[0][:2]])


def _pairs(own: Sequence[MaskRecord], others: Sequence[MaskRecord]) -> list[tuple[MaskRecord, MaskRecord]]:
    """Records of the same window."""
    at = {(one.clip, one.window): one for one in others}
    return [(one, at[place]) for one in own if (place := (one.clip, one.window)) in at]


def _names(method: str = "method") -> list[Column]:
    return [Column("condition", "condition"), Column("domain", "domain"), Column("method", method)]


def _column(key: str, *, better: bool = True) -> Column:
    """The column of a metric: percentages with two digits, shares with three."""
    metric = metrics()[key]
    digits = 2 if metric.high == 100.0 or key in OF_MASK else 3
    return Column(key, metric.name, digits, metric.better if better else None)
