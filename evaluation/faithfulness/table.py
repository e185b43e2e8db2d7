"""From records to what is read: a row a method, paired differences, curves over area."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..report import Cell, Column, Table
from ..statistics import Interval, bootstrap, paired
from .judge import MaskRecord
from .metrics import OF_MASK, metrics

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
            row[key] = _interval([one.values[key] for one in some], some, seed)
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
            difference = paired(
                [a.values[key] for a, _ in pairs],
                [b.values[key] for _, b in pairs],
                [a.recording for a, _ in pairs],
                seed=seed,
            )
            row[key] = difference
            if difference.clear_of_zero:
                better = (difference.estimate > 0) == (metrics()[key].better == "higher")
                verdicts["ahead" if better else "behind"].append(metrics()[key].name)
        rows.append(
            {**row, **{name: " ".join(metric_names) or "-" for name, metric_names in verdicts.items()}}
        )
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
            metric = {key: _interval([one.values[key] for one in here], here, seed) for key in COMPARED}
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


def _interval(values: Sequence[float], records: Sequence[MaskRecord], seed: int) -> Interval:
    return bootstrap(values, [one.recording for one in records], seed=seed)


def _names(method: str = "method") -> list[Column]:
    return [Column("condition", "condition"), Column("domain", "domain"), Column("method", method)]


def _column(key: str, *, better: bool = True) -> Column:
    """The column of a metric: percentages with two digits, shares with three."""
    metric = metrics()[key]
    digits = 2 if metric.high == 100.0 or key in OF_MASK else 3
    return Column(key, metric.name, digits, metric.better if better else None)
