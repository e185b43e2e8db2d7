"""From the scores of windows to events: borders, hysteresis, gaps, lengths, thresholds by label."""

import numpy as np
import pytest

import earmark
from earmark.runtime.detections.detection import detection_id
from earmark.runtime.detections.merging import Merger
from earmark.runtime.detections.settings import DetectionSettings

LABELS = ("Turdus merula_Common Blackbird", "Strix aluco_Tawny Owl", "rain")


def events(scores, *, hop=1.0, length=1.0, labels=LABELS, **settings):
    """The events of windows with these scores [W] or [W, K], one of `length` s every `hop` s."""
    rows = np.asarray(scores, np.float32)
    if rows.ndim == 1:
        rows = np.stack([rows, np.zeros_like(rows), np.zeros_like(rows)], axis=1)
    merger = Merger(DetectionSettings(**settings).merging(labels, "bundle"))
    found = []
    for number, row in enumerate(rows):
        found += merger.add(number, number * hop, number * hop + length, row)
    return found + merger.finish()


def spans(found):
    return [(event.start_s, event.end_s) for event in found]


def test_windows_that_follow_each_other_become_one_event():
    [event] = events([0.1, 0.6, 0.9, 0.75, 0.2])
    assert (event.start_s, event.end_s, event.first, event.last) == (1.0, 4.0, 1, 3)
    assert event.peak == pytest.approx(0.9)
    assert event.mean == pytest.approx(0.75)
    assert (event.peak_start_s, event.peak_end_s) == (2.0, 3.0)


def test_a_threshold_is_reached_by_a_score_that_equals_it():
    assert spans(events([0.5, 0.25], min_score=0.5)) == [(0.0, 1.0)]
    assert events([0.5, 0.25], min_score=0.75) == []


def test_borders_of_windows_that_overlap_are_the_middles_of_what_they_share():
    # Windows at 0, 0.5, 1.0 ...; window 2 spans 1.0-2.0, shares 1.0-1.5 with the one before.
    assert spans(events([0, 0, 1, 0, 0], hop=0.5)) == [(1.25, 1.75)]
    assert spans(events([0, 0, 1, 1, 0], hop=0.5)) == [(1.25, 2.25)]
    # The first and the last window answer for the ends.
    assert spans(events([1, 0, 0, 0, 1], hop=0.5)) == [(0.0, 0.75), (2.25, 3.0)]
    assert spans(events([1], hop=0.5)) == [(0.0, 1.0)]


def test_scores_are_means_over_the_windows_whose_middles_are_near():
    scores = [0.0, 0.0, 1.0, 0.0, 0.0, 0.75, 0.75, 0.75, 0.0]
    # Three windows, 1 s apart: a lonely one is no event any more.
    [event] = events(scores, smooth_s=2.0, leave_score=0.5)
    assert (event.start_s, event.end_s, event.first, event.last) == (5.0, 8.0, 5, 7)
    assert event.peak == pytest.approx(0.75)
    assert event.mean == pytest.approx((0.5 + 0.75 + 0.5) / 3)
    # At the ends there are fewer: two, then the mean is over two.
    assert spans(events([1.0, 0.0, 0.0], smooth_s=2.0)) == [(0.0, 1.0)]
    # Less than a hop to either side is none; the same backwards as forwards.
    for smooth_s in (0.0, 1.9):
        assert spans(events(scores, smooth_s=smooth_s)) == spans(events(scores))
    for smooth_s in (2.0, 3.0, 5.0, 60.0):
        there = spans(events(scores, smooth_s=smooth_s, min_score=0.4))
        back = spans(events(scores[::-1], smooth_s=smooth_s, min_score=0.4))
        assert sorted((9.0 - end, 9.0 - start) for start, end in back) == there
    random = np.random.default_rng(0).uniform(size=40).astype(np.float32)
    means = [random[max(0, k - 2) : k + 3].mean() for k in range(40)]
    assert spans(events(random, smooth_s=1.0, hop=0.25)) == spans(events(means, hop=0.25))


def test_windows_with_gaps_between_them_claim_nothing_of_the_gap():
    assert spans(events([0, 1, 1, 0], hop=2.0)) == [(2.0, 5.0)]
    assert spans(events([0, 1, 0], hop=2.0)) == [(2.0, 3.0)]


def test_hysteresis_goes_in_both_directions_and_needs_one_window_that_enters():
    scores = [0.2, 0.4, 0.9, 0.4, 0.2, 0.4, 0.4, 0.1]
    assert spans(events(scores, min_score=0.8, leave_score=0.3)) == [(1.0, 4.0)]
    # Where none is given, down to three quarters.
    assert spans(events([0.5, 0.6, 0.9, 0.61, 0.59], min_score=0.8)) == [(1.0, 4.0)]
    assert spans(events(scores, min_score=0.8, leave_score=0.8)) == [(2.0, 3.0)]
    assert spans(events(scores, min_score=0.8)) == [(2.0, 3.0)]


def test_short_gaps_are_closed_and_what_lies_in_them_does_not_count():
    scores = [1, 0, 1, 0, 0, 1]
    [first, second] = events(scores, merge_gap_s=1.0)
    assert spans([first, second]) == [(0.0, 3.0), (5.0, 6.0)]
    assert (first.first, first.last, first.count, first.mean) == (0, 2, 2, 1.0)
    assert spans(events(scores, merge_gap_s=2.0)) == [(0.0, 6.0)]
    assert spans(events(scores, merge_gap_s=1.9)) == [(0.0, 3.0), (5.0, 6.0)]


def test_an_event_is_given_one_window_after_its_end_without_a_gap_to_wait_for():
    merger = Merger(DetectionSettings().merging(LABELS, "bundle"))
    high, low = np.float32([1, 0, 0]), np.float32([0, 0, 0])
    assert merger.add(0, 0.0, 1.0, high) == []
    assert spans(merger.add(1, 0.5, 1.5, low)) == [(0.0, 0.75)]


def test_a_run_that_never_enters_does_not_hold_an_event_back():
    scores = [0.9, 0.1, 0.4, 0.1, 0.1, 0.9]
    assert spans(events(scores, min_score=0.8, leave_score=0.3, merge_gap_s=1.5)) == [(0.0, 1.0), (5.0, 6.0)]


def test_short_events_are_left_out_after_gaps_were_closed():
    scores = [1, 0, 0, 1, 0, 1]
    assert spans(events(scores, min_s=1.5)) == []
    assert spans(events(scores, min_s=1.5, merge_gap_s=1.0)) == [(3.0, 6.0)]
    assert len(events(scores, min_s=1.0)) == 3


def test_only_the_best_labels_of_a_window_count():
    rows = [[0.9, 0.8, 0.7], [0.6, 0.8, 0.7]]
    assert [(event.label, event.first, event.last) for event in events(rows, top_per_window=1)] == [
        (0, 0, 0),
        (1, 1, 1),
    ]
    assert len(events(rows)) == 3


def test_thresholds_by_label_and_the_rest():
    rows = [[0.3, 0.3, 0.3]]
    assert [one.label for one in events(rows, min_score={"rain": 0.2})] == [2]
    assert [one.label for one in events(rows, min_score={"*": 0.2, "rain": 0.4})] == [0, 1]
    assert [one.label for one in events(rows, min_score=0.2, labels=LABELS)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_score": 1.5}, "min_score is 1.5"),
        ({"min_score": float("nan")}, "min_score is nan"),
        ({"min_score": {"rain": -0.1}}, "min_score of 'rain' is -0.1"),
        ({"min_score": True}, "min_score is True"),
        ({"leave_score": 2}, "leave_score is 2"),
        ({"merge_gap_s": -1}, "merge_gap_s is -1"),
        ({"smooth_s": 61}, "smooth_s is 61: give seconds from 0 to 60"),
        ({"min_s": float("inf")}, "min_s is inf"),
        ({"top_per_window": 0}, "top_per_window is 0"),
        ({"sensitivity": 3.0}, "sensitivity is 3.0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"labels": ()}, "labels is ()"),
        ({"labels": "rain"}, "labels is 'rain'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(earmark.SettingsError) as raised:
        DetectionSettings(**settings)
    assert str(raised.value).startswith(message)


def test_a_label_is_not_left_at_a_higher_score_than_it_is_entered_at():
    with pytest.raises(earmark.SettingsError, match=r"of 'rain' is 0.6, above its min_score of 0.5"):
        events([1], leave_score={"rain": 0.6})


def test_thresholds_are_read_from_csv_and_toml(tmp_path):
    table = tmp_path / "scores.csv"
    table.write_text("label,min_score,leave_score\n*,0.9,\nrain,0.4,0.2\n", encoding="utf-8")
    toml = tmp_path / "scores.toml"
    toml.write_text('[min_score]\n"*" = 0.9\nrain = 0.4\n[leave_score]\nrain = 0.2\n', encoding="utf-8")
    for path in (table, str(toml)):
        read = earmark.read_thresholds(path)
        assert (dict(read.min_score), dict(read.leave_score)) == ({"*": 0.9, "rain": 0.4}, {"rain": 0.2})
        merging = DetectionSettings(min_score=path).merging(LABELS, "bundle")
        assert merging.enter.tolist() == np.float32([0.9, 0.9, 0.4]).tolist()
        np.testing.assert_allclose(merging.leave, [0.675, 0.675, 0.2], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "species,score\n", "its columns are species, score"),
        ("a.csv", "", "its columns are missing"),
        ("a.csv", "label,min_score\nrain,2\n", "line 2: the score is '2'"),
        ("a.csv", "label,min_score\nrain,\n", "line 2: the score is ''"),
        ("a.csv", "label,min_score\nrain,.5\nrain,.6\n", "line 3: names 'rain' a second time"),
        ("a.csv", "label,min_score\n", "names no label"),
        ("a.toml", "[min_score]\nrain = 'x'\n", "'rain': the score is 'x'"),
        ("a.toml", "[scores]\nrain = 1\n", "has 'scores'"),
        ("a.toml", "[min_score\n", "is no TOML"),
        ("a.txt", "rain 1", "read from .csv and .toml"),
    ],
)
def test_a_file_without_thresholds_is_named(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(earmark.SettingsError) as raised:
        earmark.read_thresholds(path)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)


def test_a_species_list_is_one_label_a_line(tmp_path):
    path = tmp_path / "species.txt"
    path.write_text("# garden\nrain\n\n  Strix aluco_Tawny Owl \n", encoding="utf-8")
    assert earmark.read_labels(path) == ["rain", "Strix aluco_Tawny Owl"]
    path.write_text("# none\n", encoding="utf-8")
    with pytest.raises(earmark.SettingsError, match="names no label"):
        earmark.read_labels(path)
    with pytest.raises(earmark.SettingsError, match="No such file"):
        earmark.read_labels(tmp_path / "absent.txt")


def test_an_id_depends_on_recording_label_and_start_alone():
    one = detection_id("a.wav", "rain", 1.25)
    assert one == detection_id("a.wav", "rain", 1.2500001)
    assert len({one, detection_id("b.wav", "rain", 1.25), detection_id("a.wav", "owl", 1.25)}) == 3
    assert one != detection_id("a.wav", "rain", 1.5)
