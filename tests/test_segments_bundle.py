"""The method `segments` over a bundle: the shipped one and its events, long sound, the command."""

import json
import pickle

import numpy as np
import pytest
from click.testing import CliRunner

import earmark
from earmark.cli import main
from earmark.evaluation.synthesis.clips import make_clip
from earmark.runtime.segments_in_bundle import shares_of, stretches_of

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def explainer():
    return earmark.load(device="cpu")


def segments_of(explainer, sound, rate=16000, *, seed=0, target=None, **options):
    return explainer.explain(
        sound, rate, methods=["segments"], seed=seed, target=target, options={"segments": options}
    )


def one_hit(explainer, label="snare", seed=3, seconds=2.0):
    """A clip with a single hit that the model hears as what it is."""
    for index in range(seed, seed + 40):
        clip = make_clip(label, [11, index], snr_db=6.0, seconds=seconds)
        heard = explainer.explain((clip.waveform, 16000), methods=[]).predictions[0][0]
        if len(clip.events) == 1 and heard == label:
            return clip
    pytest.fail("no such clip")


def overlap(clip, start, end):
    event = clip.events[0]
    return min(end, event.offset_s) - max(start, event.onset_s)


@pytest.mark.parametrize("label", ["snare", "bell"])
def test_the_time_of_a_synthesised_event_is_found(explainer, label):
    clip = one_hit(explainer, label)
    result = segments_of(explainer, clip.waveform, calls=100)
    found = result.segments
    assert len(found) == 20
    best = found.strongest(1)[0]
    assert overlap(clip, found.start_s[best], found.end_s[best]) > 0
    assert found.importance[best] > 0
    assert found.score == pytest.approx(result.predictions[0][1], abs=1e-4)
    assert found.unit == "log_odds"
    assert "segments" in result.timings
    assert result.mask is None


def test_another_target_is_spoken_against(explainer):
    clip = one_hit(explainer)
    own = segments_of(explainer, clip.waveform, calls=60).segments
    other = segments_of(explainer, clip.waveform, calls=60, target="kick").segments
    best = own.strongest(1)[0]
    assert other.score < 0.5 < own.score
    assert other.importance[best] < own.importance[best]


def test_it_runs_when_asked_for_only_and_with_others(explainer):
    assert "segments" not in explainer.methods
    clip = make_clip("snare", 0)
    assert explainer.explain((clip.waveform, 16000), methods=["mask"]).segments is None
    both = explainer.explain(
        (clip.waveform, 16000), methods=["mask", "segments"], options={"segments": {"calls": 16}}
    )
    assert both.mask is not None
    assert both.segments.calls <= 16


def test_a_bundle_without_decoder_and_prototypes_has_segments(tiny_bundle):
    explainer = earmark.load(tiny_bundle, device="cpu")
    random = np.random.default_rng(0)
    result = segments_of(explainer, 0.1 * random.standard_normal(9000).astype(np.float32), calls=40)
    assert len(result.segments) == 6
    assert np.isfinite(result.segments.importance).all()


def test_short_sound_is_padded_as_the_model_has_it_and_explained_where_it_is(explainer):
    clip = one_hit(explainer)
    event = clip.events[0]
    start = max(0, int((event.onset_s - 0.2) * 16000))
    piece = clip.waveform[start : start + 8000]
    found = segments_of(explainer, piece, calls=40).segments
    assert found.end_s[-1] == pytest.approx(len(piece) / 16000)


def test_same_seed_same_answer_also_from_a_pickled_explainer(explainer):
    clip = make_clip("clap", 1)
    one = segments_of(explainer, clip.waveform, calls=40, seed=3).segments
    two = segments_of(pickle.loads(pickle.dumps(explainer)), clip.waveform, calls=40, seed=3).segments
    np.testing.assert_array_equal(one.importance, two.importance)


def test_long_sound_is_covered_coarsely_and_finely_where_it_matters(explainer):
    clip = one_hit(explainer)
    window = explainer.manifest.window.seconds
    random = np.random.default_rng(0)
    sound = 0.003 * random.standard_normal(int((9 * window + 0.3) * 16000)).astype(np.float32)
    place = int(5.2 * window * 16000)
    sound[place : place + clip.waveform.size] += clip.waveform
    how = {"calls": 48, "fine_windows": 2, "fill": "ambience", "target": clip.label}
    result = segments_of(explainer, sound, **how)
    found = result.segments
    assert result.windows > 8
    assert found.unit == "score"
    assert found.calls <= 2 * 48
    assert found.start_s[0] == 0.0
    assert found.end_s[-1] == pytest.approx(len(sound) / 16000, abs=1e-3)
    np.testing.assert_allclose(found.start_s[1:], found.end_s[:-1], atol=1e-6)
    assert np.abs(found.importance).sum() == pytest.approx(found.score, rel=1e-5)
    best = found.top(1)[0]
    event = clip.events[0]
    assert found.end_s[best] - found.start_s[best] < 0.11
    assert overlap(clip, *(np.array([found.start_s[best], found.end_s[best]]) - place / 16000)) > -0.1
    assert event.offset_s > 0
    assert any("2 of" in text and "looked into" in text for text in result.warnings)
    again = segments_of(explainer, sound, **how).segments
    np.testing.assert_array_equal(found.importance, again.importance)


@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_shares_of_windows_are_the_shapley_values(aggregate):
    from itertools import permutations

    scores = np.array([0.1, 0.7, 0.65, 0.02])

    def joined(chosen):
        present = [scores[one] for one in chosen]
        return (sum(present) / 4 if aggregate == "mean" else max(present)) if present else 0.0

    expected = np.zeros(4)
    orders = list(permutations(range(4)))
    for order in orders:
        for place, window in enumerate(order):
            expected[window] += (joined(order[: place + 1]) - joined(order[:place])) / len(orders)
    np.testing.assert_allclose(shares_of(scores, aggregate), expected, atol=1e-12)
    assert shares_of(scores, aggregate).sum() == pytest.approx(joined(range(4)))


def test_stretches_cover_the_sound_once():
    borders = stretches_of(np.array([0, 50, 100, 130]), np.array([100, 150, 200, 230]))
    np.testing.assert_array_equal(borders, [0, 75, 125, 165, 230])
    np.testing.assert_array_equal(stretches_of(np.array([0, 100]), np.array([100, 200])), [0, 100, 200])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wobble": 1}, "no option 'wobble'"),
        ({"calls": 2}, "calls is 2: give a whole number from 16"),
        ({"precision": "int8"}, "int8"),
    ],
)
def test_options_that_cannot_be(explainer, options, message):
    with pytest.raises(earmark.MethodError, match=message):
        segments_of(explainer, make_clip("clap", 1).waveform, **options)


def test_a_clip_shorter_than_two_segments(explainer):
    with pytest.raises(earmark.AudioError, match="no two segments"):
        segments_of(explainer, np.ones(1000, np.float32))


def test_progress_is_told_up_to_the_budget(explainer):
    told = []
    result = segments_of(
        explainer, make_clip("clap", 1).waveform, calls=40, progress=lambda *at: told.append(at)
    )
    assert told[-1] == (result.segments.calls, 40)


def test_saved_and_told_as_json(explainer, tmp_path):
    result = segments_of(explainer, make_clip("snare", 0).waveform, calls=32)
    result.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json", "segments.csv", "segments.png"]
    document = json.loads((tmp_path / "result.json").read_text())["segments"]
    assert len(document["segments"]) == 20
    assert len((tmp_path / "segments.csv").read_text().splitlines()) == 21


def test_the_command(tmp_path):
    run = CliRunner().invoke
    done = run(main, ["explain", "-m", "segments", "--calls", "48", "--segment", "0.2", "--fill", "zeros"])
    assert done.exit_code == 0, done.output
    assert "segments" in done.stdout
    assert " for it: +" in done.stdout
    assert "held-out R2" in done.stdout
    assert "asked" not in done.output
    done = run(
        main, ["explain", "-m", "segments", "--calls", "32", "--axis", "frequency", "--bands", "5", "--json"]
    )
    (record,) = json.loads(done.stdout)["results"]
    assert record["segments"]["axis"] == "frequency"
    assert len(record["segments"]["segments"]) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--calls", "50"], "--calls is an option of the method segments: add -m segments"),
        (["-m", "mask", "--axis", "time"], "--axis is an option of the method segments"),
        (["-m", "segments", "--calls", "3"], "calls is 3"),
        (["-m", "segments", "--segment", "0"], "segment_seconds is 0.0"),
        (["-m", "segments", "--surrogate", "magic"], "magic"),
        (["-m", "segments", "--seed", "-1"], "negative"),
    ],
)
def test_wrong_usage_of_the_command(arguments, message):
    done = CliRunner().invoke(main, ["explain", *arguments])
    assert done.exit_code == 2
    assert message in done.stderr
