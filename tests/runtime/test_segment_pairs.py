"""Evidence that occurs twice: planted pairs of which either suffices, both are needed, or both add up."""

import json

import numpy as np
import pytest

import earmark
from earmark.runtime.methods.result import About
from earmark.runtime.methods.segments.picture import chart_of

RATE = 8000
FIRST, SECOND = (0.5, 0.8), (2.0, 2.3)
# Log-odds of the whole sound, and what all of the evidence is worth.
FULL, WORTH = 4.0, 8.0
JOINED = {
    "either": np.maximum,
    "both": np.minimum,
    "sum": lambda one, other: 0.5 * (one + other),
}


def planted(kind, spans=(FIRST, SECOND)):
    """A sound with two tones, and a classifier that reads the share of each one's energy that is left."""
    random = np.random.default_rng(0)
    waveform = (0.001 * random.standard_normal(3 * RATE)).astype(np.float32)
    slices = [slice(int(start * RATE), int(end * RATE)) for start, end in spans]
    for where in slices:
        waveform[where] += 0.3 * np.sin(2 * np.pi * 1000.0 * np.arange(where.stop - where.start) / RATE)

    def score(sounds):
        left = [np.minimum(1.0, np.square(sounds[:, one]).mean(axis=1) / 0.044) for one in slices]
        return 1.0 / (1.0 + np.exp(-(FULL - WORTH * (1.0 - JOINED[kind](left[0], left[-1])))))

    return waveform, score


@pytest.mark.parametrize(
    ("kind", "without"),
    [("either", (0.0, 0.0, WORTH)), ("both", (WORTH, WORTH, WORTH)), ("sum", (WORTH / 2, WORTH / 2, WORTH))],
)
def test_a_planted_pair_says_how_it_goes_together(kind, without):
    waveform, score = planted(kind)
    result = earmark.segments(score, waveform, RATE, fill="zeros")
    (pair,) = result.pairs
    for span, event in ((pair.first, FIRST), (pair.second, SECOND)):
        assert event[0] - 0.21 <= span[0] <= event[0] + 1e-9
        assert event[1] - 1e-9 <= span[1] <= event[1] + 0.21
    found = (pair.without_first, pair.without_second, pair.without_both)
    np.testing.assert_allclose(found, without, atol=0.1)
    assert pair.interaction == pytest.approx(without[0] + without[1] - without[2], abs=0.2)
    assert pair.kind == kind
    assert result.calls <= 200
    says = {"either": "either suffices", "both": "both are needed"}
    text = " ".join(line for _, line in result.lines(5))
    assert [words in text for words in says.values()] == [kind == one for one in says]
    assert (result.interacting == (pair,)) == (kind != "sum")


def test_evidence_in_one_place_is_no_pair():
    waveform, score = planted("sum", (FIRST,))
    assert earmark.segments(score, waveform, RATE).pairs == ()


def test_a_second_place_that_the_first_hides_is_found_once_the_first_is_gone():
    waveform, score = planted("either")

    # The first suffices; where all of it is masked, the second counts, a tenth as much for each part of it.
    def hidden(sounds):
        first = np.square(sounds[:, int(0.5 * RATE) : int(0.8 * RATE)]).mean(axis=1) > 0.004
        return np.where(first, 1.0 / (1.0 + np.exp(-FULL)), score(sounds))

    result = earmark.segments(hidden, waveform, RATE, fill="zeros")
    (pair,) = result.pairs
    assert pair.kind == "either"
    assert pair.without_both == pytest.approx(WORTH, abs=0.1)
    inside = (result.start_s >= 1.99) & (result.end_s <= 2.31)
    outside = ~inside & ~((result.start_s >= 0.29) & (result.end_s <= 1.01))
    assert result.magnitude[inside].min() > result.magnitude[outside & (result.start_s < 1.7)].max()


def test_pairs_cost_a_sixth_of_the_calls_at_most_and_can_be_left_out():
    waveform, score = planted("either")
    without = earmark.segments(score, waveform, RATE, pairs=False, early_stop=False)
    assert without.pairs == ()
    assert 195 <= without.calls <= 200
    assert earmark.segments(score, waveform, RATE, calls=48, early_stop=False).calls <= 48
    assert earmark.segments(score, waveform, RATE, axis="frequency").pairs == ()
    assert earmark.segments(score, waveform, RATE, surrogate="ridge").pairs == ()


def test_pairs_in_json_and_in_the_picture():
    waveform, score = planted("either")
    result = earmark.segments(score, waveform, RATE, fill="zeros")
    (pair,) = json.loads(json.dumps(result.to_dict()))["pairs"]
    assert pair["kind"] == "either"
    assert pair["interaction"] == pytest.approx(-WORTH, abs=0.1)
    assert pair["first_start_s"] == pytest.approx(result.pairs[0].first[0])
    about = About(title="tones", caption="", duration_s=3.0, sample_rate=RATE, audio="none", format="flac")
    (bars,) = chart_of(result, about).strips
    (join,) = bars.joins
    assert join.word == "or"
    assert join.first == result.pairs[0].first


# A prior out of a mask.


def planted_one(seed=0):
    """Evidence in the segments 20 to 22 of 30, loud chaff elsewhere."""
    random = np.random.default_rng(seed)
    waveform = (0.2 * random.standard_normal(3 * RATE)).astype(np.float32)
    where = slice(2 * RATE, int(2.3 * RATE))

    def score(sounds):
        changed = np.square(sounds[:, where] - waveform[where]).mean(axis=1) / 0.04
        others = np.square(np.delete(sounds - waveform, np.arange(where.start, where.stop), axis=1))
        wobble = np.sin(40.0 * others.mean(axis=1) / 0.04)
        return 1.0 / (1.0 + np.exp(-(2.0 - 4.0 * np.minimum(1.0, changed) + 1.5 * wobble)))

    truth = np.zeros(30, bool)
    truth[20:23] = True
    return waveform, score, truth


def _worst_rank(result, truth):
    order = np.argsort(-result.magnitude, kind="stable")
    return max(int(np.flatnonzero(order == one)[0]) for one in np.flatnonzero(truth))


def test_a_mask_that_is_right_helps_and_one_that_is_wrong_does_not_decide():
    right, wrong, flat = [], [], []
    for seed in range(4):
        waveform, score, truth = planted_one(seed)
        mask = np.where(truth, 0.9, 0.05)
        kinds = ((right, mask), (wrong, np.roll(mask, 10)), (flat, None))
        for ranks, expected in kinds:
            result = earmark.segments(score, waveform, RATE, calls=40, fill="zeros", expected=expected)
            ranks.append(_worst_rank(result, truth))
            assert result.calls <= 40
            assert result.prior == ("flat" if expected is None else "mask")
    assert max(right) <= 3
    assert np.mean(right) <= np.mean(flat)
    assert np.mean(wrong) <= np.mean(flat) + 3


def test_a_settled_search_from_a_mask_asks_less():
    waveform, score = planted("sum", (SECOND,))
    mask = np.full(30, 0.02)
    mask[20:23] = 1.0
    from_mask = earmark.segments(score, waveform, RATE, expected=mask, pairs=False)
    assert from_mask.calls <= 41 < earmark.segments(score, waveform, RATE, pairs=False).calls
    assert set(from_mask.top(3)) == {20, 21, 22}
    nothing = earmark.segments(score, waveform, RATE, expected=np.zeros(30))
    np.testing.assert_array_equal(nothing.importance, earmark.segments(score, waveform, RATE).importance)
    for bad in (np.ones(7), np.full(30, np.nan), np.full(30, -1.0)):
        with pytest.raises(earmark.MethodError, match="for each of the 30 segments"):
            earmark.segments(score, waveform, RATE, expected=bad)
