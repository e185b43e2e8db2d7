"""Who watches: observers, the log, names of arrays, tables."""

import logging
import sys

import numpy as np
import pytest
from runtime_sounds import RATE, run_python, tone

import earmark


@pytest.fixture
def seen():
    found = []
    stop = earmark.observe(found.append)
    yield found
    stop()


def test_every_sound_is_told_of_once(explainer, seen):
    result = explainer.explain(tone(), RATE, methods=["mask"], name="one")
    told = seen.pop()
    assert (told.kind, told.input, told.error, told.answers) == ("result", "one", "", 1)
    assert (told.windows, told.duration_s) == (len(result.windows), result.duration_s)
    assert told.timings == result.timings
    assert (told.bundle, told.device) == (result.bundle, "cpu")
    explainer.explain(tone(), RATE, targets=explainer.labels[:2], methods=[])
    assert seen.pop().answers == 2
    found = explainer.detect(tone(), RATE, min_score=0.0, methods=[], name="two")
    told = seen.pop()
    assert (told.kind, told.input, told.answers) == ("detections", "two", len(found))
    assert seen == []


def test_errors_are_told_of(explainer, seen):
    with pytest.raises(earmark.AudioError):
        explainer.explain("nowhere.wav")
    with pytest.raises(earmark.AudioError):
        explainer.detect(tone()[:0], RATE, name="empty")
    list(explainer.explain_many([(tone(), RATE, "good"), "gone.wav"], methods=[]))
    assert [(one.kind, one.input, one.error) for one in seen] == [
        ("result", "nowhere.wav", "AudioError"),
        ("detections", "empty", "AudioError"),
        ("result", "good", ""),
        ("result", "gone.wav", "AudioError"),
    ]


def test_an_observer_that_raises_stops_nothing(explainer, caplog):
    def broken(one):
        raise KeyError("no such metric")

    seen = []
    stops = [earmark.observe(broken), earmark.observe(seen.append), earmark.observe(seen.append)]
    explainer.explain(tone(), RATE, methods=[])
    assert len(seen) == 2
    assert "an observer raised" in caplog.text
    for stop in (*stops, *stops):
        stop()
    explainer.explain(tone(), RATE, methods=[])
    assert len(seen) == 2


def test_the_log_names_sessions_and_errors(tiny_bundle, caplog):
    with caplog.at_level(logging.INFO, "earmark"), earmark.load(tiny_bundle, "cpu") as explainer:
        list(explainer.explain_many([(tone(), RATE), "gone.wav"], methods=[]))
    assert {record.name for record in caplog.records} == {"earmark"}
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.endswith("classifier.onnx runs on cpu") for line in lines)
    assert "gone.wav: AudioError" in lines


def test_nothing_is_logged_by_default(tiny_bundle):
    out = run_python(
        """
        import sys, earmark
        from contextlib import redirect_stderr
        from io import StringIO
        said = StringIO()
        with redirect_stderr(said), earmark.load(sys.argv[1], "cpu") as explainer:
            earmark.observe(lambda one: 1 / 0)
            list(explainer.explain_many(["gone.wav"]))
        print(repr(said.getvalue()))
        """,
        tiny_bundle,
    )
    assert out == "''\n"


def test_arrays_have_names(explainer, tmp_path):
    assert explainer.explain(tone(), RATE, methods=[]).input == "the array"
    assert explainer.explain(tone(), RATE, methods=[], name="mic 3").input == "mic 3"
    assert explainer.explain((tone(), RATE, "mic 4"), methods=[]).input == "mic 4"
    bad, good = explainer.explain_many([(tone()[:0], RATE, "a"), (tone(), RATE, "b")], methods=[])
    assert (bad.input, bad.ok, good.input, good.ok) == ("a", False, "b", True)
    one, other = (explainer.detect(tone(), RATE, min_score=0.0, name=name) for name in "ab")
    assert one.input == "a"
    assert one[0].id != other[0].id


def test_tables(explainer, monkeypatch):
    result = explainer.explain(np.tile(tone(), 3), RATE, methods=[])
    table = result.to_dataframe()
    assert list(table.columns) == ["input", "label", "score"]
    assert list(zip(table["label"], table["score"], strict=True)) == list(result.predictions)
    windows = result.windows.to_dataframe()
    assert list(windows.columns) == ["start_s", "end_s", *explainer.labels]
    np.testing.assert_array_equal(windows[explainer.labels].to_numpy(), result.windows.scores)
    np.testing.assert_array_equal(windows["start_s"], result.windows.start_s)
    monkeypatch.setitem(sys.modules, "pandas", None)
    for table_of in (result.to_dataframe, result.windows.to_dataframe):
        with pytest.raises(earmark.MissingDependencyError, match="needs pandas: pip install pandas"):
            table_of()
