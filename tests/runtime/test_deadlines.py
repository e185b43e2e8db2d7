"""Answers that end early: by time or by the user's word, and what is left in them."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from runtime_sounds import cancelled_at

import earmark
from earmark.runtime.explaining import explanation
from earmark.runtime.inference import deadline as deadlines
from earmark.runtime.inference.deadline import Deadline
from earmark.runtime.inference.pipeline import ModelPipeline

RATE = 16000
SECONDS = 12


@pytest.fixture(scope="module")
def sound():
    """11 windows of 2 s every second."""
    return (np.random.default_rng(5).normal(size=SECONDS * RATE) * 0.1).astype(np.float32)


def test_scores_so_far_are_the_answer(shipped, sound):
    result = shipped.explain(sound, RATE, cancel=cancelled_at(6))
    assert result.partial
    assert len(result.windows) == 6
    assert result.parts == {}
    (said,) = [line for line in result.warnings if line.startswith("partial")]
    assert said == "partial: it was cancelled when 6 of 11 windows were classified; none was explained"
    first = shipped.explain(sound[: 7 * RATE], RATE, methods=[])
    assert first.windows == result.windows
    assert first.predictions == result.predictions
    assert result.to_dict()["partial"] is True


def test_what_was_explained_so_far_is_kept_and_the_rest_is_empty(shipped, sound):
    whole = shipped.explain(sound, RATE)
    # Asked after ten windows of the first pass, then before each of the second.
    part = shipped.explain(sound, RATE, cancel=cancelled_at(10 + 5))
    assert (part.partial, whole.partial) == (True, False)
    assert part.windows == whole.windows
    assert part.target == whole.target
    assert [line for line in part.warnings if line.startswith("partial")] == [
        "partial: it was cancelled when 4 of 11 windows were explained"
    ]
    # Window 3 ends at 5 s; up to 4 s nothing was to follow.
    before, end = round(3.9 * RATE), round(5.1 * RATE)
    np.testing.assert_allclose(part.mask.audio[:before], whole.mask.audio[:before], atol=1e-6)
    assert not part.mask.audio[end:].any()
    np.testing.assert_allclose(part.mask.audio + part.mask.residual, sound, atol=1e-6)
    frames = part.mask.frame_s > 5.1
    assert not part.mask.values[frames].any()
    assert whole.mask.values[frames].any()
    assert part.prototypes is not None


def test_segments_fit_what_was_asked_so_far(shipped, sound):
    asked = {"methods": ["segments"], "options": {"segments": {"calls": 128, "early_stop": False}}}
    short = sound[: 2 * RATE]
    whole = shipped.explain(short, RATE, **asked)
    part = shipped.explain(short, RATE, cancel=cancelled_at(3), **asked)
    assert 0 < part.segments.calls < whole.segments.calls
    assert len(part.segments.importance) == len(whole.segments.importance)
    assert any(line.startswith("partial: it was cancelled before the methods") for line in part.warnings)


@pytest.mark.parametrize(
    "how",
    [
        {"preset": "bolanos2025", "surrogate": "least_squares"},
        {"preset": "bolanos2025", "surrogate": "kernel_shap"},
        {"surrogate": "kernel_shap", "calls": 2000},
    ],
)
def test_every_way_to_ask_about_segments_ends_in_time(shipped, sound, how):
    part = shipped.explain(
        sound[: 2 * RATE], RATE, methods=["segments"], options={"segments": how}, cancel=cancelled_at(4)
    )
    assert part.partial
    assert 16 <= part.segments.calls < 200
    assert np.isfinite(part.segments.importance).all()


def test_more_tiles_than_can_be_told_apart_are_refused(shipped, sound):
    tiles = {"axis": "both", "bands": 64, "segment_seconds": 0.02}
    with pytest.raises(earmark.MethodError, match="100 segments of 64 bands are 6400 tiles, and at"):
        shipped.explain(sound[: 2 * RATE], RATE, methods=["segments"], options={"segments": tiles})


def test_time_that_is_over(shipped, sound, monkeypatch):
    ticks = itertools.count()
    # The clock of deadlines alone: others ask the time, too.
    monkeypatch.setattr(deadlines, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    result = shipped.explain(sound, RATE, methods=[], timeout_s=3)
    assert result.partial
    assert len(result.windows) == 3
    assert any("partial: its 3 s were over when 3 of 11" in line for line in result.warnings)


def test_each_of_many_sounds_has_its_own_time(shipped, sound):
    answers = list(shipped.explain_many([sound, sound], RATE, methods=[], cancel=cancelled_at(3)))
    assert [len(one.windows) for one in answers] == [3, 1]
    free = shipped.explain_many([sound] * 2, RATE, methods=[], timeout_s=600)
    assert [one.partial for one in free] == [False, False]


def test_a_deadline_stays_reached():
    answers = iter([False, True, False])
    deadline = Deadline(cancel=lambda: next(answers))
    assert [deadline.reached() for _ in range(4)] == [False, True, True, True]


@pytest.mark.parametrize("kept", [0, 1 << 20, 1 << 40])
def test_windows_that_are_not_kept_are_classified_again(shipped, sound, monkeypatch, kept):
    """The answer is the same but for rounding, as of other batches; how often the classifier runs is not."""
    expected = shipped.explain(sound, RATE)
    classified = []
    run = ModelPipeline.classified

    def counting(self, windows, *rest, **more):
        classified.append(len(windows))
        return run(self, windows, *rest, **more)

    monkeypatch.setattr(ModelPipeline, "classified", counting)
    monkeypatch.setattr(explanation, "KEPT_BYTES", kept)
    found = shipped.explain(sound, RATE)
    assert (found.predictions, found.windows) == (expected.predictions, expected.windows)
    # In half precision.
    np.testing.assert_allclose(found.mask.values, expected.mask.values, atol=1e-3)
    np.testing.assert_allclose(found.mask.audio, expected.mask.audio, atol=1e-6)
    for view, nearest in expected.prototypes.items():
        assert found.prototypes[view][0].similarity == pytest.approx(nearest[0].similarity, abs=1e-5)
    again = sum(classified) - 11
    assert again == 11 if kept == 0 else again == 0 if kept == 1 << 40 else 0 < again < 11
    classified.clear()
    shipped.explain(sound, RATE, methods=[])
    assert sum(classified) == 11
