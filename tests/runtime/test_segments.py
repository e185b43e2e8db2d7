"""`earmark.segments` on score functions whose truth is known, and on everything that may go wrong."""

import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from runtime_sounds import run_python
from scipy.special import expit

import earmark
from earmark.runtime.methods.segments.bolanos2025 import draw_reference_masks
from earmark.runtime.methods.segments.masks import Perturbation
from earmark.runtime.methods.segments.settings import REFERENCE_CALLS

RATE = 8000


def planted(spans, weights, seconds=3.0, hertz=1000.0, seed=0):
    """A sound with tones, and a score function that reads each tone's energy: (waveform, score)."""
    random = np.random.default_rng(seed)
    waveform = 0.01 * random.standard_normal(int(seconds * RATE)).astype(np.float32)
    slices = []
    for start, end in spans:
        where = slice(int(start * RATE), int(end * RATE))
        waveform[where] += 0.3 * np.sin(2 * np.pi * hertz * np.arange(where.stop - where.start) / RATE)
        slices.append(where)

    def score(sounds):
        parts = [
            w * np.square(sounds[:, s]).mean(axis=1) / 0.045 for w, s in zip(weights, slices, strict=True)
        ]
        return expit(np.sum(parts, axis=0) - 1.0)

    return waveform.astype(np.float32), score


def inside(result, start, end):
    return (result.start_s >= start - 1e-9) & (result.end_s <= end + 1e-9)


@pytest.mark.parametrize("surrogate", ["smooth", "ridge", "least_squares", "kernel_shap", "forest"])
def test_planted_evidence_is_found_with_its_sign(surrogate):
    if surrogate == "forest":
        pytest.importorskip("sklearn")
    waveform, score = planted([(0.8, 1.1), (2.0, 2.3)], [3.0, -2.0])
    result = earmark.segments(score, waveform, RATE, surrogate=surrogate)
    pro, contra = inside(result, 0.8, 1.1), inside(result, 2.0, 2.3)
    assert pro.sum() == contra.sum() == 3
    assert result.importance[pro].min() > np.abs(result.importance[~pro & ~contra]).max()
    assert result.importance[contra].max() < 0
    assert set(result.strongest(6)) == set(np.flatnonzero(pro | contra))
    assert result.magnitude[pro].min() > np.median(result.magnitude)
    assert (result.magnitude >= 0).all()
    assert (result.uncertainty >= 0).all()
    assert result.r2 > 0.7
    assert result.calls <= 200
    assert not result.warnings
    assert result.signed == (surrogate != "forest")
    assert result.score == pytest.approx(float(score(waveform[None])[0]), abs=1e-4)


def test_any_seed_serves_the_forest():
    pytest.importorskip("sklearn")
    waveform, score = planted([(0.8, 1.1)], [3.0])
    first, again = (
        earmark.segments(score, waveform, RATE, surrogate="forest", seed=2**40 + 1, calls=40) for _ in "12"
    )
    assert first.importance.tolist() == again.importance.tolist()


def test_the_importance_is_in_log_odds():
    waveform, score = planted([(1.0, 1.2)], [4.0])
    result = earmark.segments(score, waveform, RATE, fill="zeros")
    # Two segments of a mean over both: 2 of log-odds each.
    np.testing.assert_allclose(result.importance[inside(result, 1.0, 1.2)], 2.0, atol=0.1)
    assert result.unit == "log_odds"


def test_edges_are_explained_as_well_as_the_middle():
    for start in (0.0, 2.8):
        waveform, score = planted([(start, start + 0.2)], [4.0])
        result = earmark.segments(score, waveform, RATE)
        assert inside(result, start, start + 0.2)[result.strongest(2)].all()


def test_a_sliver_at_the_end_is_not_the_strongest():
    """As of clips of 5.001 s."""
    waveform, score = planted([(0.8, 1.1)], [3.0])
    longer = np.append(waveform, waveform[:8])
    result = earmark.segments(lambda sounds: score(sounds[:, : len(waveform)]), longer, RATE)
    sliver = replace(result, importance=np.append(result.importance[:-1], 0.02))
    assert sliver.end_s[-1] - sliver.start_s[-1] == pytest.approx(8 / RATE)
    assert abs(sliver.density[-1]) > np.abs(sliver.density[:-1]).max()
    assert inside(sliver, 0.8, 1.1)[sliver.strongest(3)].all()


def test_an_easy_clip_costs_fewer_calls_and_the_budget_is_never_passed():
    waveform, score = planted([(1.0, 1.3)], [4.0])
    easy = earmark.segments(score, waveform, RATE)
    assert easy.calls < 120
    full = earmark.segments(score, waveform, RATE, early_stop=False)
    assert 195 <= full.calls <= 200
    for calls in (16, 17, 33, 100):
        assert earmark.segments(score, waveform, RATE, calls=calls, early_stop=False).calls <= calls
    random = np.random.default_rng(0)
    hard = earmark.segments(lambda sounds: random.uniform(0.1, 0.9, len(sounds)), waveform, RATE)
    assert 195 <= hard.calls <= 200


def test_a_surrogate_that_predicts_nothing_is_called_unreliable():
    waveform, _ = planted([(1.0, 1.3)], [4.0])
    random = np.random.default_rng(0)
    result = earmark.segments(lambda sounds: random.uniform(0.1, 0.9, len(sounds)), waveform, RATE)
    assert result.r2 < 0.3
    assert result.warnings[0].startswith("unreliable: the surrogate predicts")
    constant = earmark.segments(lambda sounds: np.full(len(sounds), 0.5), waveform, RATE)
    assert constant.warnings == (
        "unreliable: no mask changed the score, so no segment can be said to matter",
    )
    assert np.isfinite(constant.importance).all()


def test_the_same_seed_gives_the_same_answer_and_another_one_much_the_same():
    waveform, score = planted([(0.8, 1.1)], [3.0])
    one, two, other = (earmark.segments(score, waveform, RATE, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.importance, two.importance)
    assert one.calls == two.calls
    assert (one.importance != other.importance).any()
    np.testing.assert_allclose(one.importance, other.importance, atol=0.3)


def test_frequency_and_tiles():
    waveform, score = planted([(0.5, 0.8)], [4.0], seconds=1.5, hertz=2500.0)
    bands = earmark.segments(score, waveform, RATE, axis="frequency", bands=6)
    assert len(bands) == 6
    best = bands.strongest(1)[0]
    assert bands.fmin_hz[best] <= 2500 < bands.fmax_hz[best]
    assert (bands.start_s == 0).all()
    assert (bands.end_s == 1.5).all()
    tiles = earmark.segments(score, waveform, RATE, axis="both", bands=6)
    assert len(tiles) == 15 * 6
    for index in tiles.strongest(3):
        assert tiles.fmin_hz[index] <= 2500 < tiles.fmax_hz[index]
        assert 0.5 - 1e-9 <= tiles.start_s[index] < 0.8


def test_saturated_scores_are_read_as_bounded_log_odds():
    waveform, _ = planted([(1.0, 1.3)], [1.0])

    def sure(sounds):
        return (np.square(sounds[:, RATE : int(1.3 * RATE)]).mean(axis=1) > 0.02).astype(np.float32)

    result = earmark.segments(sure, waveform, RATE)
    assert np.isfinite(result.importance).all()
    assert np.abs(result.importance).max() < 28
    assert inside(result, 1.0, 1.3)[result.strongest(2)].all()


def test_many_segments_are_looked_into_from_coarse_to_fine():
    waveform, score = planted([(41.3, 41.5)], [5.0], seconds=60.0)
    result = earmark.segments(score, waveform, RATE, calls=300, early_stop=False)
    assert result.calls <= 300
    assert result.start_s[0] == 0.0
    assert result.end_s[-1] == pytest.approx(60.0)
    np.testing.assert_allclose(result.start_s[1:], result.end_s[:-1])
    assert len(result) < 250
    best = result.top(1)[0]
    assert result.end_s[best] - result.start_s[best] < 0.6
    assert 41.2 <= result.start_s[best] < 41.55


def test_what_the_score_function_sees():
    waveform, score = planted([(1.0, 1.3)], [4.0])
    seen, told = [], []

    def watched(sounds):
        seen.append(sounds)
        return score(sounds)

    result = earmark.segments(watched, waveform, RATE, batch=8, progress=lambda *at: told.append(at))
    assert all(one.dtype == np.float32 and one.shape[1] == waveform.size for one in seen)
    assert max(len(one) for one in seen) <= 8
    assert sum(len(one) for one in seen) == result.calls
    np.testing.assert_array_equal(seen[0][0], waveform)
    # What was handed over is not written to again.
    assert len({one.ctypes.data for one in seen}) == len(seen)
    assert told[-1] == (result.calls, 200)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_answers_may_be_lists_tensors_or_columns_of_float32():
    torch = pytest.importorskip("torch")
    waveform, score = planted([(1.0, 1.3)], [4.0])
    expected = earmark.segments(score, waveform, RATE).importance
    for kind in (list, torch.tensor, lambda values: np.asarray(values, np.float32)):
        result = earmark.segments(lambda sounds, kind=kind: kind(score(sounds)), waveform, RATE)
        np.testing.assert_allclose(result.importance, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda sounds: np.full(len(sounds), np.nan), "returned NaN or an infinite value"),
        (lambda sounds: np.full((len(sounds), 2), 0.5), r"returned the shape \(1, 2\) for 1 sounds"),
        (lambda sounds: 0.5, r"returned the shape \(\) for 1 sounds"),
        (lambda sounds: np.full(len(sounds), 3.0), "returned 3, which is no probability"),
        (lambda sounds: np.full(len(sounds), -0.2), "returned -0.2, which is no probability"),
        (lambda sounds: ["much"] * len(sounds), "no array of numbers"),
        (lambda sounds: None, r"returned|shape"),
    ],
)
def test_answers_that_are_no_probabilities(answer, message):
    with pytest.raises(earmark.ScoreError, match=message) as caught:
        earmark.segments(answer, np.zeros(RATE, np.float32), RATE)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_nan_in_the_middle_is_found_too():
    calls = []

    def score(sounds):
        calls.append(len(sounds))
        values = np.full(len(sounds), 0.5)
        if len(calls) == 3:
            values[1] = np.nan
        return values

    with pytest.raises(earmark.ScoreError, match=r"NaN or an infinite value for 1 of \d+ sounds"):
        earmark.segments(score, np.zeros(RATE, np.float32), RATE)


def test_what_the_score_function_raises_keeps_its_traceback():
    def broken(sounds):
        if len(sounds) > 1:
            raise KeyError("no such layer")
        return np.full(len(sounds), 0.5)

    with pytest.raises(KeyError, match="no such layer") as caught:
        earmark.segments(broken, np.zeros(RATE, np.float32), RATE)
    assert caught.traceback[-1].name == "broken"
    assert "score function given to earmark.segments" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calls": 15}, "calls is 15: give a whole number from 16"),
        ({"calls": 20.5}, "calls is 20.5"),
        ({"segment_seconds": 0.0}, "segment_seconds is 0.0"),
        ({"segment_seconds": float("nan")}, "segment_seconds is nan"),
        ({"axis": "pitch"}, "axis is 'pitch': give one of time, frequency, both"),
        ({"surrogate": "magic"}, "give one of smooth"),
        ({"fill": "water"}, "give one of ambience"),
        ({"fill": "background"}, "go together"),
        ({"windows": ()}, "windows holds no run"),
        ({"shares": (0.9, 0.1)}, "give the smaller first"),
        ({"wobble": 3}, "no option 'wobble'; the options are calls"),
        ({"precision": "int8"}, "a score function has no precision"),
        ({"preset": "bolanos"}, "preset is 'bolanos': give one of bolanos2025"),
        ({"preset": "bolanos2025", "axis": "both"}, "masks time"),
        ({"preset": "bolanos2025", "fill": "ambience"}, "fills with noise or zeros"),
    ],
)
def test_settings_that_make_no_sense(options, message):
    with pytest.raises(earmark.MethodError, match=message):
        earmark.segments(
            lambda sounds: np.full(len(sounds), 0.5), np.zeros(RATE, np.float32), RATE, **options
        )


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(0, np.float32), "no samples"),
        (np.zeros(700, np.float32), "no two segments"),
        (np.full(RATE, np.nan, np.float32), "NaN"),
        (np.zeros((2, RATE), np.float32), "give mono sound"),
        (np.zeros(RATE, np.int16), "integers"),
        (np.zeros(RATE, np.complex64), "give mono sound"),
    ],
)
def test_waveforms_that_are_no_sound(waveform, message):
    with pytest.raises(earmark.AudioError, match=message):
        earmark.segments(lambda sounds: np.full(len(sounds), 0.5), waveform, RATE)
    with pytest.raises(earmark.AudioError, match="sample rate"):
        earmark.segments(lambda sounds: np.full(len(sounds), 0.5), np.zeros(RATE, np.float32), 0)
    with pytest.raises(earmark.MethodError, match="give a function"):
        earmark.segments(0.5, np.zeros(RATE, np.float32), RATE)


def test_the_result_as_json_and_as_csv():
    waveform, score = planted([(0.8, 1.1)], [3.0])
    result = earmark.segments(score, waveform, RATE, calls=40)
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert len(document["rows"]) == len(result) == 30
    assert document["calls"] == result.calls
    lines = result.to_csv().splitlines()
    assert lines[0] == "start_s,end_s,fmin_hz,fmax_hz,importance,magnitude,uncertainty"
    assert len(lines) == 31
    read = np.array([[float(cell) for cell in line.split(",")] for line in lines[1:]])
    np.testing.assert_allclose(read[:, 4], result.importance, rtol=1e-4, atol=1e-6)


def test_the_reference_masks_are_the_published_ones():
    masks = draw_reference_masks(np.random.default_rng(0), 50)
    assert masks.shape == (REFERENCE_CALLS, 50)
    assert masks[0].all()
    masked = (~masks[1:]).sum(axis=1).reshape(3, 3, 334)
    for share, rows in zip((10, 15, 20), masked, strict=True):
        assert (rows == share).all()
    # The defect that it is known for.
    often = (~masks[1:]).mean(axis=0)
    assert often[0] < 0.2 < 0.3 < often[20:30].mean()
    short = draw_reference_masks(np.random.default_rng(0), 10)
    alike = short[1 + 2 * 334 : 1 + 3 * 334]
    assert len(np.unique(alike, axis=0)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("surrogate", ["forest", "least_squares", "kernel_shap"])
def test_the_reference_preset_finds_planted_evidence(surrogate):
    pytest.importorskip("sklearn")
    waveform, score = planted([(1.4, 1.7)], [3.0])
    result = earmark.segments(score, waveform, RATE, preset="bolanos2025", surrogate=surrogate)
    assert result.calls == REFERENCE_CALLS
    assert result.fill == "noise"
    assert inside(result, 1.4, 1.7)[result.strongest(3)].all()


def test_it_needs_neither_torch_nor_scikit_learn():
    run_python("""
        import sys, numpy as np, earmark
        sound = np.ones(8000, np.float32)
        earmark.segments(lambda x: np.clip(abs(x).mean(1), 0, 1), sound, 8000, calls=20)
        assert not {'torch', 'sklearn', 'matplotlib', 'onnxruntime'} & set(sys.modules), sys.modules
    """)


def test_the_next_sounds_are_made_while_the_model_thinks(monkeypatch):
    made, ahead, threads = [], [], threading.active_count()
    real = Perturbation.sounds

    def sounds(self, masks):
        made.append(len(masks))
        return real(self, masks)

    def score(waves):
        # The first call is about the sound itself, the next eight are one round.
        asked = len(ahead)
        deadline = time.monotonic() + 5.0
        while asked and len(made) <= asked and time.monotonic() < deadline:
            time.sleep(0.001)
        ahead.append(len(made) - asked)
        if asked == 5:
            raise ZeroDivisionError("in the middle")
        return np.full(len(waves), 0.5)

    monkeypatch.setattr(Perturbation, "sounds", sounds)
    with pytest.raises(ZeroDivisionError, match="in the middle"):
        earmark.segments(score, np.ones(8000, np.float32), 8000, early_stop=False)
    assert ahead == [0, 1, 1, 1, 1, 1]
    assert threading.active_count() == threads
