"""Scores of every window: where windows lie, at which level they are classified, how they are joined."""

import json

import numpy as np
import pytest
from refusals import refuses

import earmark
from earmark.runtime.audio.sound import open_sound
from earmark.runtime.explainer import engine_of
from earmark.runtime.inference.window import Windowing

RATE = 16000
LENGTH = 2 * RATE


@pytest.fixture(scope="module")
def sound():
    """5.3 s of noise that grows louder: no two windows have one level."""
    random = np.random.default_rng(3)
    length = int(5.3 * RATE)
    return (random.normal(size=length) * np.geomspace(0.001, 0.2, length)).astype(np.float32)


def scores_by_hand(shipped, waveforms):
    """Softmax of the classifier's own logits."""
    logits = engine_of(shipped).logits_of(np.stack(waveforms)).astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def cut(sound, starts):
    return [sound[start : start + LENGTH] for start in starts]


@pytest.mark.parametrize("hop_s", [2.0, 1.2345, 0.7, 1 / 3])
def test_windows_lie_where_the_hop_says_to_the_sample(shipped, sound, hop_s):
    windows = shipped.explain(sound, RATE, methods=[], hop_s=hop_s).windows
    hop, last = round(hop_s * RATE), len(sound) - LENGTH
    starts = [*range(0, last, hop), last]
    assert np.array_equal(windows.start_s, np.array(starts) / RATE)
    assert np.array_equal(windows.end_s, (np.array(starts) + LENGTH) / RATE)
    expected = scores_by_hand(shipped, [one / np.abs(one).max() for one in cut(sound, starts)])
    np.testing.assert_allclose(windows.scores, expected, atol=1e-5)
    assert windows.labels == tuple(shipped.labels)


@pytest.mark.parametrize(
    ("aggregate", "joined"),
    [
        ("mean", lambda p: p.mean(axis=0)),
        ("max", lambda p: p.max(axis=0)),
        ("lme", lambda p: np.log(np.exp(5 * p).mean(axis=0)) / 5),
    ],
)
def test_scores_are_joined_as_asked(shipped, sound, aggregate, joined):
    result = shipped.explain(sound, RATE, methods=["segments"], aggregate=aggregate, **FEW)
    expected = joined(result.windows.scores.astype(np.float64))
    assert [dict(result.predictions)[label] for label in shipped.labels] == pytest.approx(expected, abs=1e-6)
    # What the windows share out is the whole's score.
    assert result.segments.score == pytest.approx(result.score, abs=1e-6)


FEW = {"options": {"segments": {"calls": 32, "fine_windows": 1}}}


@pytest.mark.parametrize("channels", [1, 2])
def test_the_level_of_a_recording_leaves_quiet_windows_quiet(shipped, sound, channels):
    whole = np.stack([sound, 0.5 * sound[::-1]])[:channels]
    mono = whole.mean(axis=0)
    windows = shipped.explain(whole, RATE, methods=[], level="recording").windows
    starts = [*range(0, len(sound) - LENGTH, RATE), len(sound) - LENGTH]
    expected = scores_by_hand(shipped, cut(mono / np.abs(mono).max(), starts))
    np.testing.assert_allclose(windows.scores, expected, atol=1e-5)
    bare = shipped.explain(whole, RATE, methods=[], level="none").windows
    np.testing.assert_allclose(bare.scores, scores_by_hand(shipped, cut(mono, starts)), atol=1e-5)
    opened = open_sound((whole, RATE), None, RATE)
    loudest = float(np.abs(mono).max())
    for window in engine_of(shipped).windows(opened, Windowing(level="recording")):
        assert window.level == pytest.approx(loudest, rel=1e-6)


def test_integers_as_floats_are_warned_of_where_their_level_counts(shipped):
    loud = 3e4 * np.random.default_rng(0).uniform(-1, 1, RATE).astype(np.float32)
    assert not shipped.explain(loud, RATE, methods=[]).warnings
    asked = {"methods": [], "level": "none"}
    stream = shipped.stream(RATE, **asked)
    for _ in range(2):
        stream.push(loud)
    for one in (shipped.explain(loud, RATE, **asked), shipped.detect(loud, RATE, **asked), stream):
        (line,) = one.warnings
        assert line.startswith("the sound's peak is 3e+04, and the model gets it as loud as it is")


def test_kept_and_removed_sound_sum_to_the_input_at_any_hop_and_level(shipped, sound):
    named = {"target": None, "methods": ["mask"]}
    for how in ({"hop_s": 2.0}, {"hop_s": 0.3001}, {"level": "recording"}, {"level": "none"}):
        mask = shipped.explain(sound, RATE, **named, **how).mask
        np.testing.assert_allclose(mask.audio + mask.residual, sound, atol=1e-6)


def test_a_bound_holds_for_the_sound_and_its_windows(shipped, sound):
    result = shipped.explain(sound, RATE, methods=[])
    record = result.to_dict(2, windows=True)
    assert len(record["predictions"]) == 2
    assert record["label_count"] == len(shipped.labels)
    assert record["target_score"] == result.predictions[0][1]
    assert [len(one["predictions"]) for one in record["window_scores"]] == [2] * len(result.windows)
    assert json.loads(json.dumps(record)) == record
    assert len(result.to_dict(None)["predictions"]) == len(shipped.labels)
    assert result.to_dict()["window_scores"] is None
    likely = result.windows.top(min_score=0.5)
    assert all(score >= 0.5 for row in likely for _, score in row)
    assert [row[0][0] for row in result.windows.top(1)] == [
        shipped.labels[best] for best in result.windows.scores.argmax(axis=1)
    ]
    (only,) = {tuple(sorted(label for label, _ in row)) for row in result.windows.top(labels=["tom", "bell"])}
    assert only == ("bell", "tom")
    refuses(earmark.LabelError, "did you mean 'kick'", result.windows.top, labels=["kik"])
    refuses(earmark.MethodError, "top is -1", result.to_dict, -1)
    refuses(earmark.MethodError, "min_score is 2", result.windows.to_dict, min_score=2)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"hop_s": 0}, "hop_s is 0: give a number above 0"),
        ({"hop_s": float("nan")}, "hop_s is nan: give a number above 0"),
        ({"hop_s": 2.5}, "windows of 2 s would leave gaps"),
        ({"hop_s": 1.7e308}, r"hop_s is 1.7e\+308: windows of 2 s would leave gaps"),
        ({"aggregate": "median"}, "aggregate is 'median': give one of mean, max, lme"),
        ({"level": "loud"}, "level is 'loud': give one of window, recording, none"),
        ({"timeout_s": 0}, "timeout_s is 0: give seconds above 0"),
        ({"cancel": True}, "cancel is True: give a function"),
    ],
)
def test_what_is_out_of_range_is_refused_before_any_sound(shipped, how, said):
    refuses(earmark.MethodError, said, shipped.explain, "no such file.wav", **how)
    refuses(earmark.MethodError, said, shipped.explain_many, ["no such file.wav"], **how)


def test_equal_results_have_one_hash(shipped, sound):
    one, other = (shipped.explain(sound, RATE) for _ in range(2))
    assert one == other
    assert {one, other} == {one}
    assert hash(one.windows) == hash(other.windows)
    assert {one.mask, one.prototypes["time"][0]}
