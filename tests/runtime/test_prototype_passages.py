"""Passages: how long they last and how often they begin, of sounds of which that is known."""

import shutil

import numpy as np
import pytest
from changed_bundle import edited, rewritten, sign

import earmark
from earmark.evaluation.synthesis.clips import make_clip
from earmark.prototypes_index.passages import like_passages
from earmark.prototypes_index.views import Grid
from earmark.runtime.explainer import SHIPPED, engine_of
from earmark.runtime.methods.prototypes.generation import open_generation
from earmark.runtime.methods.prototypes.passages import Passages

RATE, HOP, BINS = 16_000, 160, 65
GRID = Grid(0.16, ((0.0, 1000.0), (1000.0, 3000.0), (3000.0, 8000.0)))


def passages(envelope, grid=GRID, seconds=None, gain=1.0):
    """Of noise with that envelope [T], a frame of 10 ms each, 30 dB above a floor."""
    random = np.random.default_rng(0)
    noise = 1.0 + 0.02 * random.standard_normal((len(envelope), BINS))
    amplitude = (gain * noise * (0.03 + np.asarray(envelope)[:, None])).astype(np.float32)
    length = len(envelope) * HOP / RATE if seconds is None else seconds
    return Passages(amplitude, RATE, HOP, grid, length)


def bursts(begins, length, total=500):
    """1 in stretches of `length` frames that begin at those frames, 0 elsewhere."""
    envelope = np.zeros(total)
    for begin in begins:
        envelope[begin : begin + length] = 1.0
    return envelope


@pytest.mark.parametrize(("step", "length"), [(25, 10), (50, 10), (50, 25), (100, 40)])
def test_rhythms_have_the_rate_and_the_length_of_their_beats(step, length):
    begins = np.arange(20, 500 - length, step)
    found = passages(bursts(begins, length)).at(np.array([begins[len(begins) // 2] // 16 + 1]))
    assert found["onsets_per_s"][0] == pytest.approx(100 / step, rel=0.02)
    # Smoothed over five frames of 10 ms.
    assert found["length_s"][0] == pytest.approx(length / 100, abs=0.05)


def test_what_begins_once_has_no_rhythm_and_what_lasts_is_as_long_as_its_window():
    alone = passages(bursts([200], 60)).at(np.array([13, 14]))
    assert (alone["onsets_per_s"] == 0.0).all()
    np.testing.assert_allclose(alone["length_s"], 0.6, atol=0.05)
    lasting = passages(np.ones(500)).at(np.arange(31))
    assert (lasting["length_s"] == 5.0).all()
    assert (lasting["onsets_per_s"] == 0.0).all()


def test_a_short_break_parts_no_passage():
    """Where the level falls by 2 dB; one of 30 dB parts it."""
    broken = bursts([100, 168], 58)
    assert passages(broken).at(np.array([10]))["length_s"][0] == pytest.approx(0.58, abs=0.05)
    broken[158:168] = 0.8
    assert passages(broken).at(np.array([10]))["length_s"][0] == pytest.approx(1.26, abs=0.05)


def test_gain_padding_and_the_number_of_bands_count_for_nothing():
    envelope = bursts([50, 100, 150, 200], 20)
    expected = passages(envelope).at(np.array([4]))
    for other in (
        passages(envelope, gain=1e-3),
        passages(envelope, grid=Grid(0.16, ((0.0, 8000.0),))),
        # Bands narrower than a bin.
        passages(envelope, grid=Grid(0.16, ((0.0, 10.0), (1000.0, 1010.0)))),
    ):
        found = other.at(np.array([4]))
        for name in ("length_s", "onsets_per_s"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
    # Three seconds of sound, two of zeros behind.
    lasting = np.concatenate((np.ones(301), np.full(199, -0.03)))
    assert passages(lasting, seconds=3.0).at(np.array([5]))["length_s"][0] == 3.0


def test_passages_are_alike_within_a_factor_of_two():
    kind = np.dtype([("length_s", "<f4"), ("onsets_per_s", "<f4")])
    asked = np.array([(0.4, 3.0)], kind)
    others = {
        (0.4, 3.0): True, (0.21, 1.6): True, (0.79, 5.9): True, (0.8, 6.0): True,
        (0.19, 3.0): False, (0.81, 3.0): False,
        (0.4, 1.4): False, (0.4, 6.1): False, (0.4, 0.0): False,
    }  # fmt: skip
    assert like_passages(asked, np.array(list(others), kind))[0].tolist() == list(others.values())
    # Clicks are as short as each other, what lasts on as long; what begins once has no rate.
    for one, other in (((0.02, 0.0), (0.1, 0.9)), ((2.0, 0.0), (30.0, 0.0)), ((0.4, 12.0), (0.4, 30.0))):
        assert like_passages(np.array([one], kind), np.array([other], kind)).all()


def test_matches_in_time_lie_in_a_passage_like_that_of_their_place(shipped):
    manifest = engine_of(shipped).manifest
    generation = open_generation(SHIPPED, manifest)
    index = generation.index("time")
    vectors, known = index.vectors(0, index.info.entries), generation.passages("time")
    sources = generation.clips["source"][generation.entries("time")["clip"]]
    random = np.random.default_rng(3)
    queries = random.standard_normal((2, index.info.dimension)).astype(np.float32)
    asked = known[[5, 300]]
    matches = generation.search("time", queries, 6, passages=asked)
    # By brute force over all entries.
    cosines = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ vectors.T
    cosines[~like_passages(asked, known)] = -2.0
    best = {}
    for query, entry in zip(*np.unravel_index(np.argsort(-cosines, axis=None), cosines.shape), strict=True):
        if cosines[query, entry] > -2.0:
            best.setdefault(int(sources[entry]), (int(query), int(entry)))
    assert [(one.query, one.entry) for one in matches] == list(best.values())[:6]
    assert all(like_passages(asked[[one.query]], known[[one.entry]]).all() for one in matches)


def test_any_passage_can_be_asked_for(shipped):
    differ = 0
    for label in ("snare", "kick", "tom", "bell"):
        clip = make_clip(label, [11, 0], snr_db=25.0).waveform
        found = {
            passages: shipped.explain(
                clip, 16_000, methods=["prototypes"], options={"prototypes": {"passages": passages}}
            )
            for passages in ("like", "any")
        }
        for view in ("square", "frequency", "time_frequency"):
            assert found["like"].prototypes[view] == found["any"].prototypes[view]
        nearest = {name: one.prototypes["time"] for name, one in found.items()}
        differ += nearest["like"] != nearest["any"]
        assert [one.similarity for one in nearest["any"]] >= [one.similarity for one in nearest["like"]]
        assert not any("passages" in warning for warning in found["like"].warnings)
    assert differ, "these sounds do not tell them apart"


def test_where_no_training_sound_has_a_like_passage_those_of_any_are_marked(shipped):
    """No drum of the index beats half as often as this noise."""
    time = np.arange(2 * 16_000) / 16_000
    noise = 0.3 * np.random.default_rng(0).standard_normal(len(time))
    beats = (noise * ((time * 9.5) % 1.0 < 0.5)).astype(np.float32)
    result = shipped.explain(beats, 16_000, methods=["prototypes"])
    assert len(result.prototypes["time"]) == 5
    for view, nearest in result.prototypes.items():
        assert all(one.unlike == (view == "time") for one in nearest)
        assert all(("unlike" in one.to_dict()) == one.unlike for one in nearest)
    lines = [text for _, text in result.lines() if "of another length or rhythm" in text]
    assert lines[0].startswith("time ")
    options = {"prototypes": {"passages": "any"}}
    free = shipped.explain(beats, 16_000, methods=["prototypes"], options=options).prototypes["time"]
    assert [one.clip for one in free] == [one.clip for one in result.prototypes["time"]]
    assert not any(one.unlike for one in free)


def test_an_index_without_passages_opens_and_says_so(tmp_path):
    bundle = shutil.copytree(SHIPPED, tmp_path / "bundle")
    with rewritten(bundle) as manifest, edited(bundle / "prototypes/g0001/index_info.json") as info:
        assert info.pop("passages") == ["time"]
        del manifest["files"]["prototypes/g0001/time.passages.npy"]
    (bundle / "prototypes/g0001/time.passages.npy").unlink()
    sign(bundle, "prototypes/g0001/index_info.json")
    clip = make_clip("snare", [11, 0], snr_db=25.0).waveform
    old = earmark.load(bundle, device="cpu")
    asked = {name: {"prototypes": {"passages": name}} for name in ("like", "any")}
    like, free = (
        old.explain(clip, 16_000, methods=["prototypes"], options=asked[name]) for name in ("like", "any")
    )
    assert [line for line in like.warnings if "knows no passages" in line and "--rebuild" in line]
    assert not [line for line in free.warnings if "passages" in line]
    assert dict(like.prototypes) == dict(free.prototypes)
