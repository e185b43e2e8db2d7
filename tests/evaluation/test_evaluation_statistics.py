"""Intervals that hold what they promise, groups that stay together, tables that align."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.evaluation.faithfulness.metrics import METRICS
from earmark.evaluation.report import Column, Table, json_ready
from earmark.evaluation.statistics import Interval, bootstrap, paired


def coverage(draw, truth, *, grouped=True, trials=300):
    held = 0
    for trial in range(trials):
        values, groups = draw(np.random.default_rng(trial))
        found = bootstrap(values, groups if grouped else None, repeats=400, seed=trial)
        held += found.low <= truth <= found.high
    return held / trials


def clustered(rng):
    """40 recordings of 1 to 5 clips that share most of their value; the mean is 2."""
    sizes = rng.integers(1, 6, 40)
    groups = np.repeat(np.arange(40), sizes)
    return 2.0 + rng.normal(0, 1, 40)[groups] + rng.normal(0, 0.3, groups.size), groups


def test_intervals_cover_as_often_as_they_say():
    """95 % within what 300 trials can tell, and a little less, as percentile intervals of 40 groups do."""
    assert 0.90 <= coverage(clustered, 2.0) <= 0.98
    assert 0.90 <= coverage(lambda rng: (rng.exponential(3.0, 80), np.arange(80)), 3.0) <= 0.98


def test_clips_of_one_recording_are_not_independent():
    """Without the groups the interval is too narrow, which is why they are drawn whole."""
    assert coverage(clustered, 2.0, grouped=False) < 0.88


def test_whole_groups_are_drawn():
    """Two recordings: every mean is one of three."""
    values, groups = [0.0] * 7 + [1.0] * 3, ["a"] * 7 + ["b"] * 3
    found = bootstrap(values, groups, statistic=lambda drawn: {0.0, 0.3, 1.0} >= {round(drawn.mean(), 6)})
    assert (found.low, found.high) == (1.0, 1.0)
    mean = bootstrap(values, groups)
    assert (mean.estimate, mean.low, mean.high) == (0.3, 0.0, 1.0)
    assert (mean.count, mean.groups) == (10, 2)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_the_quick_way_for_means_is_the_slow_way(values, seed):
    groups = [index // 2 for index in range(len(values))]
    quick = bootstrap(values, groups, repeats=50, seed=seed)
    slow = bootstrap(values, groups, repeats=50, seed=seed, statistic=lambda drawn: drawn.sum() / drawn.size)
    assert quick.estimate == pytest.approx(slow.estimate)
    if quick.groups > 1:
        assert (quick.low, quick.high) == pytest.approx((slow.low, slow.high), abs=1e-6)


def test_order_and_names_of_groups_do_not_matter_to_the_seeded_answer():
    values, groups = np.arange(12.0), np.repeat(["x", "y", "z"], 4)
    again = bootstrap(values, groups, seed=4)
    assert bootstrap(values, groups, seed=4) == again
    assert bootstrap(values[::-1], groups[::-1], seed=4) == again
    assert bootstrap(values, np.repeat([10, 20, 30], 4), seed=4) == again


def test_pairs_see_what_means_apart_cannot():
    rng = np.random.default_rng(5)
    clip = rng.normal(0, 10, 80)
    a, b = clip + 0.5 + rng.normal(0, 0.2, 80), clip + rng.normal(0, 0.2, 80)
    found = paired(a, b)
    assert found.clear_of_zero
    assert found.low < 0.5 < found.high
    assert not paired(a, rng.permutation(a)).clear_of_zero
    assert not paired(a, a).clear_of_zero


def test_what_is_missing_is_left_out_and_counted():
    found = bootstrap([1.0, np.nan, 3.0], ["a", "b", "c"])
    assert (found.estimate, found.count, found.groups) == (2.0, 2, 2)
    assert paired([1.0, 2.0], [np.nan, 1.0]).count == 1
    nothing = bootstrap([np.nan])
    assert np.isnan(nothing.estimate)
    assert not nothing.clear_of_zero
    one = bootstrap([1.0, 2.0], ["a", "a"])
    assert one.estimate == 1.5
    assert np.isnan(one.low)
    assert json.loads(json.dumps(json_ready(one), allow_nan=False))["low"] is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"values": [1.0], "groups": ["a", "b"]},
        {"values": [1.0, 2.0], "repeats": 0},
    ],
)
def test_what_makes_no_sense_is_refused(arguments):
    with pytest.raises(ValueError, match=r"groups|repeats"):
        bootstrap(**arguments)
    with pytest.raises(ValueError, match="pairs"):
        paired([1.0], [1.0, 2.0])


def test_a_table_aligns_and_tells_directions():
    table = Table(
        [Column("name", "method"), Column("ai", "AI", 1, "higher"), Column("ad", "AD", 2, "lower")],
        [
            {"name": "mask", "ai": Interval(12.34, 10.0, 15.0, 5, 3), "ad": -0.0001},
            {"name": "a longer name", "ai": 3, "ad": None},
        ],
    )
    lines = table.text().splitlines()
    assert lines[0].split() == ["method", "AI", "↑", "AD", "↓"]
    assert lines[1].split() == ["mask", "12.3", "0.00"]
    assert lines[2].split() == ["a", "longer", "name", "3", "-"]
    assert len({len(line) for line in lines}) == 1
    assert "12.3 [10.0, 15.0]" in table.text(intervals=True)
    document = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert document["columns"][1] == {"key": "ai", "title": "AI", "better": "higher"}
    assert document["rows"][0]["ai"]["high"] == 15.0
    assert document["rows"][1]["ad"] is None
    assert table.markdown(intervals=True).splitlines() == [
        "| method | AI | AD |",
        "| --- | --- | --- |",
        "| mask | 12.3 [10.0, 15.0] | 0.00 |",
        "| a longer name | 3 | - |",
    ]


def test_a_table_over_seeds_has_every_metric_in_its_own_column(monkeypatch):
    """What docs/results.md is made of: benchmarks/faithfulness.py."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    benchmark = importlib.import_module("faithfulness")
    values = {key: float(index) for index, key in enumerate(METRICS, start=1)} | {"area": 0.25}
    line = json.dumps(
        {
            **dict.fromkeys(("clip", "recording", "label", "condition", "domain", "masker", "target"), "x"),
            "window": 0,
            "p": 0.9,
            "q": 0.8,
            "o": 0.1,
            "agrees": True,
            "milliseconds": 2.0,
            "values": values,
        }
    )
    header, _, row = benchmark.over_seeds([("compact", 0, benchmark.record_of(line))]).markdown().splitlines()
    shown = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    for key, metric in METRICS.items():
        assert float(shown[metric.name]) == values[key], metric.name
