"""`Explainer.stream`: what `detect` gives, however the sound is cut into pieces; gaps, clocks, rates."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies
from refusals import refuses
from runtime_sounds import RATE, tone

import earmark

# Scores of random weights lie close together: all but the thresholds is the model's own.
ASKED = {"min_score": 0.34, "leave_score": 0.33, "methods": []}


def sound(seconds=3.3, rate=RATE, channels=None, seed=2):
    """A sound that changes, so that windows differ."""
    wave = tone(seconds, rate, channels, seed)
    return wave * (1.0 + np.sin(np.arange(wave.shape[-1]) * 5.0 / rate)).astype(np.float32) * 0.4


def split(items):
    windows = [one for one in items if isinstance(one, earmark.ScoredWindow)]
    return windows, [one for one in items if isinstance(one, earmark.Detection)]


def pushed(stream, wave, sizes):
    """What a stream gives of a sound in pieces of these sizes, over and over."""
    items, start, number = [], 0, 0
    while start < wave.shape[-1]:
        size = sizes[number % len(sizes)]
        items += stream.push(wave[..., start : start + size])
        start, number = start + size, number + 1
    return items + stream.finish()


def same(items, detections, recording=None):
    """The stream's windows and detections are those of `detect`, bounds and all."""
    windows, found = split(items)
    assert [one.number for one in windows] == list(range(len(detections.windows)))
    assert [(one.start_s, one.end_s) for one in windows] == list(
        zip(detections.windows.start_s.tolist(), detections.windows.end_s.tolist(), strict=True)
    )
    scores = np.stack([one.scores for one in windows])
    np.testing.assert_allclose(scores, detections.windows.scores, rtol=0, atol=1e-6)
    found.sort(key=lambda one: (one.start_s, one.label))
    assert [(one.label, one.start_s, one.end_s, one.windows) for one in found] == [
        (one.label, one.start_s, one.end_s, one.windows) for one in detections
    ]
    np.testing.assert_allclose(
        [(one.score, one.mean_score) for one in found] or np.zeros((0, 2)),
        [(one.score, one.mean_score) for one in detections] or np.zeros((0, 2)),
        rtol=0,
        atol=1e-6,
    )


def halfway(explainer, wave, rate=RATE):
    """A threshold no score of this sound is near, so that rounding decides nothing."""
    scores = np.unique(explainer.detect(wave, rate, methods=[], hop_s=0.25).windows.scores.round(5))
    gaps = np.diff(scores)
    near = np.argsort(np.abs(scores[:-1] - np.median(scores)))[:9]
    best = near[gaps[near].argmax()]
    return float(scores[best] + gaps[best] / 2.0)


@pytest.mark.parametrize(
    ("rate", "channels", "seconds"),
    [
        (16000, None, 3.3),
        (44100, None, 2.6),
        (8000, 2, 2.5),
        (22051, 3, 2.2),
        (16000, 2, 1.0),
        (16000, None, 1.005),
        (48000, None, 0.3),
        (16000, None, 0.0001),
    ],
)
def test_a_stream_gives_what_detect_gives(explainer, rate, channels, seconds):
    wave = sound(seconds, rate, channels)
    asked = (
        {"min_score": halfway(explainer, wave, rate), "hop_s": 0.25, "methods": []} if seconds > 2 else ASKED
    )
    detections = explainer.detect(wave, rate, **asked)
    for sizes in ([137, 1, 4999], [rate * 10], [1600]):
        stream = explainer.stream(rate, channels or 1, name="the array", **asked)
        same(pushed(stream, wave, sizes), detections)
        assert stream.seconds == wave.shape[-1] / rate


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=strategies.lists(strategies.integers(1, 20_000), min_size=1, max_size=30),
    samples=strategies.integers(1, 60_000),
    hop_s=strategies.sampled_from([0.1, 0.37, 0.5, 1.0]),
    merging=strategies.fixed_dictionaries(
        {
            "merge_gap_s": strategies.sampled_from([0.0, 0.4, 2.0]),
            "min_s": strategies.sampled_from([0.0, 0.6]),
            "smooth_s": strategies.sampled_from([0.0, 1.0]),
        }
    ),
    rate=strategies.sampled_from([16000, 11025]),
)
def test_no_cutting_of_the_sound_changes_what_is_given(explainer, sizes, samples, hop_s, merging, rate):
    wave = sound(4.0)[:samples]
    asked = {**merging, "hop_s": hop_s, "methods": []}
    asked["min_score"] = halfway(explainer, wave, rate) if samples > 2 * RATE else 0.9
    sizes = [max(size, samples // 40) for size in sizes]
    stream = explainer.stream(rate, name="the array", **asked)
    same(pushed(stream, wave, sizes), explainer.detect(wave, rate, **asked))


def test_explanations_are_those_of_detect(explainer):
    wave = sound(3.0, 44100)
    asked = {"min_score": halfway(explainer, wave, 44100), "methods": ["segments"], "seed": 4}
    asked["options"] = {"segments": {"calls": 30}}
    detections = explainer.detect(wave, 44100, **asked)
    assert len(detections) > 0
    _, found = split(pushed(explainer.stream(44100, name="the array", **asked), wave, [1111]))
    found.sort(key=lambda one: (one.start_s, one.label))
    assert [one.id for one in found] == [one.id for one in detections]
    for one, other in zip(found, detections, strict=True):
        answers = (result.explanation.segments.to_dict() for result in (one, other))
        assert len({str(answer["rows"]) for answer in answers}) == 1
        np.testing.assert_array_equal(one.explanation.logits, other.explanation.logits)
        assert one.explanation.input == "the array"


def test_a_window_is_given_with_its_last_sample_and_a_detection_a_window_later(explainer):
    wave = sound(4.0)
    threshold = halfway(explainer, wave)
    stream = explainer.stream(RATE, min_score=threshold, leave_score=threshold, hop_s=0.25, methods=[])
    reached = 0
    late = []
    for start in range(0, len(wave), 100):
        items = stream.push(wave[start : start + 100])
        reached = start + 100
        for one in items:
            if isinstance(one, earmark.ScoredWindow):
                # The first window waits for 1 % more, which could be a sound of one window.
                slack = 0.01 * RATE if one.number == 0 else 0.0
                assert reached - 100 < one.end_s * RATE + slack + 100
                assert one.end_s * RATE <= reached
            else:
                late.append(reached / RATE - one.clip_end_s)
    assert late
    assert max(late) <= 0.25 + 100 / RATE
    stream.finish()


def test_a_gap_ends_the_sound_before_it(explainer):
    first, second = sound(2.3), sound(1.7, seed=9)
    asked = ASKED | {"hop_s": 0.5}
    stream = explainer.stream(RATE, **asked)
    items = stream.push(first, at=100.0)
    items += stream.push(second, at=110.0) + stream.finish()
    windows, found = split(items)
    alone = [explainer.detect(wave, RATE, **asked) for wave in (first, second)]
    starts = np.concatenate([alone[0].windows.start_s + 100.0, alone[1].windows.start_s + 110.0])
    assert [one.start_s for one in windows] == starts.tolist()
    assert [one.number for one in windows] == list(range(len(starts)))
    expected = [(one.label, one.start_s + 100.0) for one in alone[0]]
    expected += [(one.label, one.start_s + 110.0) for one in alone[1]]
    assert sorted((one.label, one.start_s) for one in found) == sorted(expected)
    assert list(stream.warnings) == ["7.700 s are missing after 102.300 s"]
    assert stream.seconds == pytest.approx(111.7)


def test_timestamps_that_jitter_are_no_gaps(explainer):
    wave = sound(3.0)
    stream = explainer.stream(RATE, name="the array", **ASKED)
    items = []
    for number, start in enumerate(range(0, len(wave), 1600)):
        jitter = 0.04 * (-1) ** number if number else 0.0
        items += stream.push(wave[start : start + 1600], at=start / RATE + jitter)
    same(items + stream.finish(), explainer.detect(wave, RATE, **ASKED))
    assert not stream.warnings


def test_a_clock_that_goes_back_is_told_and_begins_anew(explainer):
    stream = explainer.stream(RATE, **ASKED)
    stream.push(sound(1.5), at=50.0)
    items = stream.push(sound(1.5), at=20.0) + stream.finish()
    assert list(stream.warnings) == ["the clock went back by 31.500 s at 51.500 s"]
    assert [one.start_s for one in split(items)[0]][-1] == 20.5


def test_what_a_stream_cannot_take_is_refused_and_what_came_before_is_kept(explainer):
    wave = sound(2.0)
    stream = explainer.stream(RATE, name="the array", **ASKED)
    items = stream.push(wave[:20_000])
    for samples, how, message in [
        (wave, {"sample_rate": 48000}, r"rate is 16000 Hz, that of these samples 48000 Hz: finish\(\) gives"),
        (np.stack([wave, wave]), {}, r"has 1 channels and these samples \[2, 32000\]"),
        (np.full(10, np.nan, np.float32), {}, "NaN or infinite"),
        (np.array(["a"]), {}, "not sound"),
        (wave, {"at": float("nan")}, "at is nan"),
        (wave, {"at": "now"}, "at is 'now'"),
    ]:
        refuses(earmark.AudioError, message, stream.push, samples, **how)
    assert stream.push(np.zeros(0, np.float32)) == []
    items += stream.push(wave[20_000:]) + stream.finish()
    same(items, explainer.detect(wave, RATE, **ASKED))
    assert stream.finish() == []
    refuses(earmark.AudioError, "the stream is finished", stream.push, wave)


def test_a_stream_that_got_nothing_gives_nothing(explainer):
    stream = explainer.stream(RATE, **ASKED)
    assert stream.push(np.zeros(0, np.float32)) == []
    assert stream.finish() == []


def test_integers_are_scaled_and_the_pushed_buffer_may_be_used_again(explainer):
    wave = sound(2.5)
    whole = np.round(wave * 32767).astype(np.int16)
    stream = explainer.stream(RATE, name="the array", **ASKED)
    buffer, items = np.zeros(500, np.int16), []
    for start in range(0, len(whole), 500):
        part = whole[start : start + 500]
        buffer[: len(part)] = part
        items += stream.push(buffer[: len(part)])
        buffer[:] = 12345
    same(items + stream.finish(), explainer.detect(whole, RATE, **ASKED))


def test_options_that_a_stream_does_not_have(explainer, variant):
    with pytest.raises(TypeError, match=r"no option 'min_scor'; did you mean 'min_score'\?"):
        explainer.stream(RATE, min_scor=0.5)
    with pytest.raises(TypeError, match=r"detect\(\) has no option 'targets'; it takes min_score, "):
        explainer.detect(np.zeros(16000, np.float32), 16000, targets=["bell"])
    with pytest.raises(TypeError, match="no option 'timeout_s'"):
        explainer.stream(RATE, timeout_s=1.0)
    refuses(earmark.SettingsError, "min_score is 2", explainer.stream, RATE, min_score=2)
    for channels in (0, 1.5, 100):
        refuses(earmark.AudioError, "channels is", explainer.stream, RATE, channels)
    refuses(earmark.AudioError, "sample rate of 10", explainer.stream, 10)
    with pytest.raises(earmark.SettingsError, match="a stream has none"):
        variant(level="peak").stream(RATE, level="recording")


def test_memory_does_not_grow_with_time(explainer):
    stream = explainer.stream(RATE, min_score=1.0, leave_score=0.0, labels=["noise"], methods=["segments"])
    held = []
    quiet = sound(10.0)
    tracemalloc.start()
    for _ in range(30):
        stream.push(quiet)
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    # The last minute of sound with what lies around it, and what is kept of a detection that goes on.
    assert max(held) <= 2 * 75 * RATE * 4
    assert held[-1] < held[9] + 2**17
    assert stream.seconds == 300.0
