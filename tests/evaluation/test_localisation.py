"""Localisation: labels of segments, AUC and average precision against scikit-learn, events files."""

import math

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refuses

from earmark.errors import DataError
from earmark.evaluation.data.events import TrueEvent, read_events
from earmark.evaluation.data.folder import list_sounds
from earmark.evaluation.localisation.evaluate import (
    EventRecord,
    Localisation,
    segment_edges,
    segment_labels,
)
from earmark.evaluation.statistics import average_precision, roc_auc
from earmark.runtime.methods.evidence import over_segments

# Few distinct values, so that most draws hold ties.
ITEMS = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=60)


@given(ITEMS)
@settings(deadline=None)
def test_auc_and_ap_agree_with_scikit_learn_with_ties(items):
    metrics = pytest.importorskip("sklearn.metrics")
    truth = np.array([label for label, _ in items])
    scores = np.array([score for _, score in items], float)
    if truth.all() or not truth.any():
        assert math.isnan(roc_auc(truth, scores))
        assert math.isnan(average_precision(truth, scores))
        return
    assert roc_auc(truth, scores) == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-12)
    expected = metrics.average_precision_score(truth, scores)
    assert average_precision(truth, scores) == pytest.approx(expected, abs=1e-12)


@given(ITEMS, st.floats(0.01, 100))
@settings(deadline=None)
def test_auc_depends_on_ranks_alone_and_mirrors_under_negation(items, scale):
    truth = np.array([label for label, _ in items])
    scores = np.array([score for _, score in items], float)
    if truth.all() or not truth.any():
        return
    value = roc_auc(truth, scores)
    assert roc_auc(truth, np.exp(scores) * scale) == pytest.approx(value, abs=1e-12)
    assert roc_auc(truth, -scores) == pytest.approx(1 - value, abs=1e-12)


def test_perfect_inverted_and_constant_localisers():
    truth = np.array([0, 0, 1, 1, 0])
    assert roc_auc(truth, truth) == 1.0
    assert average_precision(truth, truth) == 1.0
    assert roc_auc(truth, -truth) == 0.0
    assert roc_auc(truth, np.ones(5)) == 0.5
    assert average_precision(truth, np.ones(5)) == pytest.approx(0.4)


def test_segments_left_out_do_not_count_and_importances_must_be_finite():
    truth = np.array([1, 0, -1])
    assert roc_auc(truth, [2.0, 1.0, np.nan]) == 1.0
    refuses(DataError, "finite", roc_auc, truth, [np.nan, 1.0, 0.0])
    refuses(DataError, "one of each", roc_auc, truth, [1.0, 0.0])


def test_edges_cover_the_clip_and_the_last_segment_may_be_shorter():
    assert np.allclose(segment_edges(0.35), [0.0, 0.1, 0.2, 0.3, 0.35])
    assert len(segment_edges(5.0)) == 51
    assert len(segment_edges(3.0)) == 31
    refuses(DataError, "two segments", segment_edges, 0.1)


def test_labels_by_half_of_the_segment_and_by_the_references_rule():
    edges = segment_edges(0.6)
    events = [TrueEvent("x", 0.04, 0.25)]
    assert segment_labels(events, edges).tolist() == [1, 1, 1, 0, 0, 0]
    assert segment_labels(events, edges, "overlap90").tolist() == [-1, 1, -1, 0, 0, 0]


def test_labels_take_the_largest_overlap_of_all_events_not_their_sum():
    edges = segment_edges(0.3)
    pieces = [TrueEvent("x", 0.10, 0.14), TrueEvent("x", 0.16, 0.20)]
    assert segment_labels(pieces, edges).tolist() == [0, 0, 0]
    overlapping = [*pieces, TrueEvent("x", 0.12, 0.19)]
    assert segment_labels(overlapping, edges).tolist() == [0, 1, 0]


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.01, 1)), min_size=1, max_size=4), st.randoms())
@settings(deadline=None)
def test_labels_do_not_depend_on_the_events_order(spans, random):
    events = [TrueEvent("x", start, start + length) for start, length in spans]
    shuffled = events.copy()
    random.shuffle(shuffled)
    edges = segment_edges(3.0)
    for rule in ("half", "overlap90"):
        assert np.array_equal(segment_labels(events, edges, rule), segment_labels(shuffled, edges, rule))


def test_over_segments_takes_means_and_shares_what_lies_on_a_border():
    edges = np.array([0.0, 0.1, 0.2, 0.3])
    assert np.allclose(over_segments([1.0, 3.0, 8.0, 4.0], 0.1, edges), [2.0, 5.5, 6.0])
    # Half of a frame of 0.04 s is before 0, the frame at 0.08 s is within, the next reaches 0.02 s into both.
    frames = [1.0, 0.0, 4.0, 10.0, 2.0]
    whole = [0.02 * 1.0 + 0.04 * 0.0 + 0.04 * 4.0, 0.04 * 10.0 + 0.04 * 2.0]
    assert np.allclose(over_segments(frames, 0.04, edges), [whole[0] / 0.1, whole[1] / 0.08, 2.0])
    # Segments shorter than a frame, and none beyond the values' own range.
    assert np.allclose(over_segments([0.0, 5.0], 1.0, np.array([0.0, 0.25, 0.5, 0.75])), [0.0, 0.0, 5.0])


def test_table_means_intervals_and_correct_only():
    def one(clip, auc, correct=True, method="m"):
        return EventRecord(method, clip, "x", f"r{clip}", correct, auc, auc, 10, 0.1)

    judged = [one("a", 1.0), one("b", 0.5), one("c", 0.0, correct=False), one("d", math.nan)]
    judged += [one(clip, 0.4, method="n") for clip in "ab"]
    everything = Localisation(judged).interval("m")
    assert (everything.estimate, everything.count) == (0.5, 3)
    correct = Localisation(judged, correct_only=True)
    assert correct.interval("m").estimate == 0.75
    assert correct.difference("m", "n").estimate == pytest.approx(0.35)
    rows = correct.table().to_dict()["rows"]
    assert [row["method"] for row in rows] == ["m", "n"]
    assert rows[0]["clips"] == 2


@pytest.fixture
def folder(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "data" / label).mkdir(parents=True)
        soundfile.write(tmp_path / "data" / label / "1-7-A.wav", np.zeros(16000), 16000)
    return list_sounds(tmp_path / "data")


def _events(tmp_path, *lines, header="clip,label,start_s,end_s"):
    path = tmp_path / "events.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_events_are_read_grouped_and_overlaps_counted(tmp_path, folder):
    path = _events(
        tmp_path, "dog/1-7-A.wav,dog,0.5,0.7", "cat/1-7-A.wav,cat,0.0,1.005", "dog/1-7-A.wav,dog,0.1,0.6"
    )
    found = read_events(path, folder, ["cat", "dog"])
    assert [(one.clip.name, len(one.events)) for one in found.clips] == [
        ("cat/1-7-A.wav", 1),
        ("dog/1-7-A.wav", 2),
    ]
    # Rounded annotations end with the clip.
    assert found.clips[0].events[0].end_s == 1.0
    assert found.overlapping == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("dog/1-7-A.wav,dog,0.5,1.2", "beyond the clip"),
        ("dog/1-7-A.wav,wolf,0.5,0.7", "no label 'wolf'"),
        ("dog/none.wav,dog,0.5,0.7", "no clip"),
        ("dog/1-7-A.wav,dog,0.7,0.5", "not after its start"),
        ("dog/1-7-A.wav,dog,0.5,0.5", "not after its start"),
        ("dog/1-7-A.wav,dog,-0.1,0.5", "start_s is '-0.1'"),
        ("dog/1-7-A.wav,dog,nan,0.5", "start_s is 'nan'"),
        ("dog/1-7-A.wav,dog,soon,0.5", "start_s is 'soon'"),
        ("dog/1-7-A.wav,dog,0.5", "too few columns"),
    ],
)
def test_bad_lines_are_named_with_their_line(tmp_path, folder, line, says):
    path = _events(tmp_path, "cat/1-7-A.wav,cat,0.1,0.2", line)
    with pytest.raises(DataError, match=says) as error:
        read_events(path, folder, ["cat", "dog"])
    assert f"{path}:3" in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_files_are_refused(tmp_path, folder):
    with pytest.raises(DataError, match="lacks the column end_s"):
        read_events(_events(tmp_path, header="clip,label,start_s"), folder, ["dog"])
    refuses(DataError, "holds no event", read_events, _events(tmp_path), folder, ["dog"])
    refuses(DataError, "cannot be read", read_events, tmp_path / "none.csv", folder, ["dog"])
    binary = tmp_path / "binary.csv"
    binary.write_bytes(bytes(range(256)))
    refuses(DataError, "binary", read_events, binary, folder, ["dog"])
