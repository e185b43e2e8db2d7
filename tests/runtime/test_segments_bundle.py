"""The method `segments` over a bundle: the shipped one and its events, long sound, the command."""

import json
import pickle

import numpy as np
import pytest
from command_line import invoke
from saved_graph import node

import earmark
from earmark.evaluation.synthesis.clips import make_clip
from earmark.runtime.explainer import engine_of
from earmark.runtime.methods.segments.explanation import shares_of
from earmark.runtime.methods.segments.rows import stretches_of
from earmark.runtime.report.gather import item_of

pytest.importorskip("onnxruntime")


def segments_of(shipped, sound, rate=16000, *, seed=0, target=None, **options):
    return shipped.explain(
        sound, rate, methods=["segments"], seed=seed, target=target, options={"segments": options}
    )


def one_hit(shipped, label="snare", seed=3, seconds=2.0):
    """A clip with a single hit that the model hears as what it is."""
    for index in range(seed, seed + 40):
        clip = make_clip(label, [11, index], snr_db=6.0, seconds=seconds)
        heard = shipped.explain((clip.waveform, 16000), methods=[]).predictions[0][0]
        if len(clip.events) == 1 and heard == label:
            return clip
    pytest.fail("no such clip")


def overlap(clip, start, end):
    event = clip.events[0]
    return min(end, event.offset_s) - max(start, event.onset_s)


@pytest.mark.parametrize("label", ["snare", "bell"])
def test_the_time_of_a_synthesised_event_is_found(shipped, label):
    clip = one_hit(shipped, label)
    result = segments_of(shipped, clip.waveform, calls=100)
    found = result.segments
    assert len(found) == 20
    best = found.strongest(1)[0]
    assert overlap(clip, found.start_s[best], found.end_s[best]) > 0
    assert found.importance[best] > 0
    assert found.score == pytest.approx(result.predictions[0][1], abs=1e-4)
    assert found.unit == "log_odds"
    assert "segments" in result.timings
    assert result.mask is None


def test_the_mask_of_the_bundle_is_what_a_search_starts_from(shipped):
    clip = one_hit(shipped)
    start = segments_of(shipped, clip.waveform).segments
    flat = segments_of(shipped, clip.waveform, prior="flat").segments
    assert (start.prior, flat.prior) == ("mask", "flat")
    assert start.calls < flat.calls
    best = start.top(1)[0]
    assert overlap(clip, start.start_s[best], start.end_s[best]) > 0
    assert segments_of(shipped, clip.waveform, surrogate="ridge").segments.prior == "flat"
    tiles = segments_of(shipped, clip.waveform, axis="both").segments
    assert tiles.prior == "mask"
    assert len(tiles) == 20 * 8
    long = segments_of(shipped, np.tile(clip.waveform, 4), calls=32).segments
    assert long.prior == "mask"


def test_another_target_is_spoken_against(shipped):
    clip = one_hit(shipped)
    own = segments_of(shipped, clip.waveform, calls=60).segments
    other = segments_of(shipped, clip.waveform, calls=60, target="kick").segments
    best = own.strongest(1)[0]
    assert other.score < 0.5 < own.score
    assert other.importance[best] < own.importance[best]


def test_it_runs_when_asked_for_only_and_with_others(shipped):
    assert "segments" not in shipped.methods
    clip = make_clip("snare", 0)
    assert shipped.explain((clip.waveform, 16000), methods=["mask"]).segments is None
    both = shipped.explain(
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


def test_short_sound_is_padded_as_the_model_has_it_and_explained_where_it_is(shipped):
    clip = one_hit(shipped)
    event = clip.events[0]
    start = max(0, int((event.onset_s - 0.2) * 16000))
    piece = clip.waveform[start : start + 8000]
    found = segments_of(shipped, piece, calls=40).segments
    assert found.end_s[-1] == pytest.approx(len(piece) / 16000)


def test_same_seed_same_answer_also_from_a_pickled_explainer(shipped):
    clip = make_clip("clap", 1)
    one = segments_of(shipped, clip.waveform, calls=40, seed=3).segments
    two = segments_of(pickle.loads(pickle.dumps(shipped)), clip.waveform, calls=40, seed=3).segments
    np.testing.assert_array_equal(one.importance, two.importance)


def test_long_sound_is_covered_coarsely_and_finely_where_it_matters(shipped):
    clip = one_hit(shipped)
    window = engine_of(shipped).manifest.window.seconds
    random = np.random.default_rng(0)
    sound = 0.003 * random.standard_normal(int((9 * window + 0.3) * 16000)).astype(np.float32)
    place = int(5.2 * window * 16000)
    sound[place : place + clip.waveform.size] += clip.waveform
    how = {"calls": 48, "fine_windows": 2, "fill": "ambience", "target": clip.label}
    result = segments_of(shipped, sound, **how)
    found = result.segments
    assert len(result.windows) > 8
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
    looked_into = f" of {len(result.windows)} windows were looked into"
    assert any(looked_into in text for text in result.warnings)
    again = segments_of(shipped, sound, **how).segments
    np.testing.assert_array_equal(found.importance, again.importance)


@pytest.mark.parametrize("aggregate", ["mean", "max", "lme"])
def test_shares_of_windows_are_the_shapley_values(aggregate):
    from itertools import permutations

    scores = np.array([0.1, 0.7, 0.65, 0.02])

    def joined(chosen):
        present = scores[list(chosen)]
        if aggregate == "max":
            return present.max(initial=0.0)
        # A window that is left out has a score of 0.
        return (
            present.sum() / 4
            if aggregate == "mean"
            else np.log((np.exp(5 * present).sum() + 4 - len(present)) / 4) / 5
        )

    expected = np.zeros(4)
    orders = list(permutations(range(4)))
    for order in orders:
        for place, window in enumerate(order):
            expected[window] += (joined(order[: place + 1]) - joined(order[:place])) / len(orders)
    found = shares_of(scores, aggregate)
    # Of the logarithm of a mean they are no Shapley values, but share out the whole and keep the order.
    np.testing.assert_allclose(found, expected, atol=0.1 if aggregate == "lme" else 1e-12)
    assert found.sum() == pytest.approx(joined(range(4)), abs=1e-12)
    assert (np.diff(found[np.argsort(scores)]) >= 0).all()


def test_stretches_cover_the_sound_once():
    borders = stretches_of(np.array([0, 50, 100, 130]), np.array([100, 150, 200, 230]))
    np.testing.assert_array_equal(borders, [0, 75, 125, 165, 230])
    np.testing.assert_array_equal(stretches_of(np.array([0, 100]), np.array([100, 200])), [0, 100, 200])


def test_eight_bits_that_are_not_there(shipped):
    with pytest.raises(earmark.MethodError, match="int8"):
        segments_of(shipped, make_clip("clap", 1).waveform, precision="int8")


def test_a_clip_shorter_than_two_segments(shipped):
    with pytest.raises(earmark.AudioError, match="no two segments"):
        segments_of(shipped, np.ones(1000, np.float32))


def test_progress_is_told_up_to_the_budget(shipped):
    told = []
    result = segments_of(
        shipped, make_clip("clap", 1).waveform, calls=40, progress=lambda *at: told.append(at)
    )
    assert told[-1] == (result.segments.calls, 40)


def test_saved_and_told_as_json(shipped, tmp_path):
    result = segments_of(shipped, make_clip("snare", 0).waveform, calls=32)
    result.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("arrays.npz", "result.json"),
        *("segments.csv", "segments.png"),
    ]
    document = json.loads((tmp_path / "result.json").read_text())["segments"]
    assert len(document["rows"]) == 20
    assert len((tmp_path / "segments.csv").read_text().splitlines()) == 21


def test_the_command(tmp_path):
    done = invoke("explain", "-m", "segments", "--calls", "48", "--segment", "0.2", "--fill", "zeros", code=0)
    assert "segments" in done.stdout
    assert " for it: +" in done.stdout
    assert "held-out R2" in done.stdout
    assert "asked" not in done.output
    done = invoke(
        "explain", "-m", "segments", "--calls", "32", "--axis", "frequency", "--bands", "5", "--json"
    )
    (record,) = json.loads(done.stdout)["results"]
    assert record["segments"]["axis"] == "frequency"
    assert len(record["segments"]["rows"]) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--calls", "50"], "--calls is an option of the method segments: add -m segments"),
        (["-m", "mask", "--axis", "time"], "--axis is an option of the method segments"),
        (["-m", "segments", "--calls", "3"], "3 is not in the range"),
        (["-m", "segments", "--segment", "0"], "0.0 is not in the range"),
        (["-m", "segments", "--surrogate", "magic"], "magic"),
        (["-m", "segments", "--seed", "-1"], "negative"),
    ],
)
def test_wrong_usage_of_the_command(arguments, message):
    invoke("explain", *arguments, code=2, says=message)


CALLS_S = (4.3, 11.2, 17.5, 18.4, 26.1, 33.0)


@pytest.fixture(scope="module")
def calls_bundle(tmp_path_factory):
    """A detector of tones of 200 Hz, and 40 s with six of them, 0.35 s each."""
    from saved_graph import saved

    from earmark.export.bundle.write import write_bundle
    from earmark.export.source.exportable import with_aggregate
    from earmark.export.sources.onnx.file import load

    wave = np.arange(64) / 1000
    kernel = np.stack([np.cos(2 * np.pi * 200 * wave), np.sin(2 * np.pi * 200 * wave)]) / 32
    constants = {
        "shape": np.array([0, 1, -1], np.int64),
        "kernel": kernel[:, None].astype(np.float32),
        "channels": np.array([1], np.int64),
        "frames": np.array([2], np.int64),
        "slope": np.array([[25.0]], np.float32),
        "bias": np.array([-5.0], np.float32),
    }
    nodes = [
        node("Reshape", "x shape", "wave"),
        node("Conv", "wave kernel", "maps", strides=[16]),
        node("ReduceL2", "maps channels", "level", keepdims=1),
        node("ReduceMax", "level frames", "loudest", keepdims=0),
        node("Gemm", "loudest slope bias", "logits"),
    ]
    folder = tmp_path_factory.mktemp("calls")
    inputs, outputs = {"x": ["batch", "samples"]}, {"logits": ["batch", 1]}
    source = load(
        saved(folder / "calls.onnx", nodes, constants, inputs, outputs, opset=18),
        labels=["call"],
        sample_rate=1000,
        window_seconds=3.0,
        task="multi_label",
        scores="logits",
    )
    for how in ("mean", "max"):
        write_bundle(with_aggregate(source, how), folder / how)
    return folder


@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_on_long_sound_the_calls_come_first(calls_bundle, aggregate):
    sound = 0.03 * np.random.default_rng(0).standard_normal(40_000)
    for at in CALLS_S:
        first = round(1000 * at)
        sound[first : first + 350] += 0.5 * np.hanning(350) * np.sin(2 * np.pi * 200 * np.arange(350) / 1000)
    with earmark.load(calls_bundle / aggregate, device="cpu") as shipped:
        result = segments_of(shipped, sound.astype(np.float32), 1000)
    found = result.segments
    assert found.calls <= 800
    assert found.uneven
    inside = np.zeros(len(found))
    for at in CALLS_S:
        shared = np.minimum(found.end_s, at + 0.35) - np.maximum(found.start_s, at)
        inside += np.clip(shared, 0.0, None)
    assert all(inside[index] > 0.0 for index in found.strongest(10))
    assert all(inside[index] > 0.0 for index in found.top(10))
    # The page ranks as the text does: rows of windows not looked into are long, and hold little a second.
    shown = [abs(row.importance) for row in item_of(result).segments.rows]
    assert np.argsort(-np.array(shown), kind="stable")[:10].tolist() == found.strongest(10)
    positive = np.maximum(found.importance, 0.0)
    # The calls are 5 % of the sound.
    assert (positive * inside / (found.end_s - found.start_s)).sum() > 0.6 * positive.sum()
    assert np.abs(found.importance).sum() == pytest.approx(found.score, rel=1e-5)
    # Every call is found, not only the loudest windows'.
    for at in CALLS_S:
        here = (found.end_s > at) & (found.start_s < at + 0.35)
        assert found.density[here].max() > 5 * np.median(np.abs(found.density))


@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_ranks_do_not_follow_the_windows(calls_bundle, aggregate):
    """A steady tone is as dense where one window looks as where two or three do."""
    sound = 0.2 * np.sin(2 * np.pi * 200 * np.arange(11_000) / 1000).astype(np.float32)
    with earmark.load(calls_bundle / aggregate, device="cpu") as shipped:
        # Windows at 0, 1.5, ... 7.5 s, and at 8 s, of 3 s each; nothing tells one segment from another.
        how = {"segment_seconds": 0.5, "fill": "background", "background": sound[:3000]}
        found = segments_of(shipped, sound, 1000, **how).segments
    middles = 0.5 * (found.start_s + found.end_s)
    looking = [sum(at < middle < at + 3 for at in (0, 1.5, 3, 4.5, 6, 7.5, 8)) for middle in middles]
    np.testing.assert_allclose(found.windows, looking, atol=1e-6)
    assert set(looking) == {1, 2, 3}
    np.testing.assert_allclose(found.density, found.density.mean(), rtol=1e-3)
    np.testing.assert_allclose(found.magnitude, found.magnitude.mean(), rtol=1e-3)
    assert np.abs(found.importance).sum() == pytest.approx(found.score, rel=1e-5)


def test_a_window_that_no_mask_changes_is_named(calls_bundle):
    sound = np.zeros(9000, np.float32)
    sound[3000:6000] = np.sin(2 * np.pi * 200 * np.arange(3000) / 1000)
    with earmark.load(calls_bundle / "max", device="cpu") as shipped:
        how = {"segment_seconds": 1.0, "fill": "background", "background": sound[3000:6000]}
        result = segments_of(shipped, sound, 1000, **how)
    assert any("no mask changed the score" in text and "3.00-6.00 s" in text for text in result.warnings)
