"""Event-based and segment-based agreement: by hand, by trying every assignment, and over a folder."""

import csv
import json
from itertools import permutations

import numpy as np
import pytest
import sed_eval_originals as originals
from command_line import invoke
from detect_field import plant

from earmark.evaluation.detections.counts import (
    DetectionAgreement,
    Occurrence,
    event_agreement,
    holds_event,
    overlapping,
    segment_agreement,
)
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.scores.windows import WindowScores

RATE = 16000


def spans(*times):
    return [Occurrence("a", "x", start, end) for start, end in times]


def test_collar_and_length_by_hand():
    events = spans((10, 12), (20, 40))
    assert event_agreement(events, spans((10.5, 12.5), (20.4, 44.0))) == DetectionAgreement(2, 0, 0)
    assert event_agreement(events, spans((10.51, 12), (20, 44.1))) == DetectionAgreement(0, 2, 2)
    # Two detections of one event: one is right.
    assert event_agreement(events, spans((9.9, 12), (10.1, 12))) == DetectionAgreement(1, 1, 1)
    assert event_agreement([], spans((1, 2))) == DetectionAgreement(0, 1, 0)
    assert event_agreement(spans((1, 2)), []) == DetectionAgreement(0, 0, 1)
    agreement = DetectionAgreement(3, 1, 2)
    assert (agreement.precision, agreement.recall, agreement.f1) == (0.75, 0.6, 6 / 9)
    assert np.isnan(DetectionAgreement().f1)
    found, right = overlapping(events, spans((11.9, 15), (19, 20), (30, 31), (39, 50)))
    assert (found.tolist(), right.tolist()) == ([True, True], [True, False, True, True])
    assert [len(some) for some in overlapping(events, [])] == [2, 0]


@pytest.mark.parametrize("recording", json.loads(originals.VALUES.read_text()))
def test_counts_are_those_of_sed_eval(recording):
    """Of its EventBasedMetrics (optimal matching) and SegmentBasedMetrics, kept in a file."""
    assert set(recording["counts"]) == set(originals.LABELS)
    for label, counts in recording["counts"].items():
        events, detections = (
            [Occurrence("a", *one) for one in recording[name] if one[0] == label]
            for name in ("events", "detections")
        )
        by_event = event_agreement(events, detections, collar_s=originals.COLLAR_S)
        by_segment = segment_agreement(events, detections, originals.SECONDS, segment_s=originals.SEGMENT_S)
        assert [*by_event] == counts["by_event"]
        assert [*by_segment] == counts["by_segment"]
        assert 0 < by_event.hits < len(events)


def test_the_assignment_matches_most():
    """As found by trying all of them; a greedy one would match fewer."""
    random = np.random.default_rng(4)
    for _ in range(50):
        events = spans(*((start, start + 1) for start in random.uniform(0, 4, 4)))
        detections = spans(*((start, start + 1) for start in random.uniform(0, 4, 4)))

        def fits(one, other):
            return abs(one.start_s - other.start_s) <= 0.5

        best = max(sum(map(fits, events, order)) for order in permutations(detections))
        assert event_agreement(events, detections).hits == best


def test_segments_by_hand():
    counts = segment_agreement(spans((0.5, 2.0)), spans((1.5, 3.1)), 10.0)
    # True: seconds 0 and 1. Detected: 1, 2 and 3.
    assert counts == DetectionAgreement(1, 2, 1)
    assert segment_agreement([], [], 10.0) == DetectionAgreement()


def test_windows_with_events_by_hand():
    """Half of a window of 2 s, or half of what is shorter."""
    starts = np.arange(6.0)
    windows = WindowScores(("x",), starts, starts + 2.0, np.zeros((6, 1), np.float32))
    assert np.flatnonzero(holds_event(windows, spans((2.0, 5.0)))).tolist() == [1, 2, 3, 4]
    assert np.flatnonzero(holds_event(windows, spans((2.9, 3.3)))).tolist() == [2, 3]
    assert not holds_event(windows, []).any()


@pytest.fixture
def field(tmp_path):
    """Two recordings: one with two events, one in which a detection is false."""
    for name, events in {"one": [("bell", 3), ("kick", 10)], "two": [("clap", 6)]}.items():
        plant(tmp_path / "field" / "north" / f"{name}.wav", events)
    return tmp_path / "field"


def evaluate(folder, *words, **more):
    asked = ("evaluate", "detections", SHIPPED, folder, "--min-score", 0.8, "--device", "cpu")
    return invoke(*asked, *words, **more)


def write_truth(path, *rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("clip", "label", "start_s", "end_s", "level_db"), *rows])


def test_a_folder(field):
    write_truth(
        field / "events.csv", ("north/one.wav", "bell", 3, 5, 30), ("north/one.wav", "kick", 10, 12),
        ("north/one.wav", "tom", 1, 2, 0),
    )  # fmt: skip
    report = json.loads(evaluate(field, "--collar", 2, "--json", code=0).stdout)
    assert (report["recordings"], report["settings"]["collar_s"]) == (2, 2.0)
    rows = {row["label"]: row for row in report["table"]["rows"]}
    assert list(rows) == ["bell", "clap", "kick", "tom", "all", "mean"]
    assert (rows["all"]["events"], rows["all"]["detections"]) == (3, 3)
    assert rows["bell"]["event_f1"] == rows["kick"]["event_f1"] == 1.0
    assert rows["clap"]["event_precision"] == 0.0
    assert rows["tom"]["event_recall"] == 0.0
    total = rows["all"]["event_f1"]
    assert total["estimate"] == pytest.approx(4 / 6)
    # Over two recordings: of the one alone 2 of 3 events and no false detection, of the other one false.
    assert (total["low"], total["high"], total["groups"]) == (0.0, pytest.approx(4 / 5), 2)
    assert rows["all"]["found"]["estimate"] == pytest.approx(2 / 3)
    assert rows["all"]["right"]["estimate"] == pytest.approx(2 / 3)
    assert rows["all"]["false_per_hour"]["estimate"] == pytest.approx(1 / (30 / 3600))
    assert rows["bell"]["window_ap"] == 1.0
    assert rows["bell"]["windows"] == 3
    assert [(row["level_db"], row["found"]) for row in report["levels"]["rows"]] == [(30, 1), (0, 0)]
    # A window of 2 s every second is no sharper than that.
    text = evaluate(field, "--collar", 0.01, "--csv", field / "t.csv", "--records", field / "r.jsonl").stdout
    assert "2 recordings, 30.0 s; collar 0.01 s, segments of 1 s" in text
    assert [line for line in text.splitlines() if line.isalpha()] == ["windows", "detections", "events"]
    with (field / "t.csv").open() as file:
        strict = {row["label"]: row for row in csv.DictReader(file)}
    assert list(strict) == list(rows)
    assert float(strict["all"]["event_f1"]) < 0.5
    assert [float(strict["all"][f"right{end}"]) for end in ("_low", "", "_high")] == [
        0,
        pytest.approx(2 / 3),
        1,
    ]
    # Some draws hold no event.
    assert strict["all"]["found_high"] == ""
    assert strict["clap"]["window_ap"] == ""
    records = [json.loads(line) for line in (field / "r.jsonl").read_text().splitlines()]
    assert [record["name"] for record in records] == ["north/one.wav", "north/two.wav"]
    assert records[0]["counts"]["tom"]["events"] == 1


def test_what_cannot_be_read(field):
    write_truth(field / "events.csv", ("north/one.wav", "bell", 3, 5, ""))
    (field / "broken.wav").write_bytes(b"RIFF")
    done = evaluate(field, "--json", code=1)
    assert [one["clip"] for one in json.loads(done.stdout)["skipped"]] == ["broken.wav"]
    evaluate(field, "--strict", code=1, says="broken.wav")
    evaluate(field, "--leave-score", 0.9, code=1, says="above its min_score")


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (("north/three.wav", "bell", 0, 1), "there is no recording 'north/three.wav'"),
        (("north/one.wav", "bel", 0, 1), "did you mean 'bell'"),
        (("north/one.wav", "bell", 1, 1), "events.csv:2: the event ends at 1 s, not after"),
        (("north/one.wav", "bell", "x", 1), "start_s is 'x'"),
    ],
)
def test_bad_tables_are_one_line(field, row, line):
    write_truth(field / "events.csv", row)
    assert evaluate(field, code=1, says=line).stderr.count("\n") <= 2
