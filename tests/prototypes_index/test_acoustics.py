"""Distances by statistics alone, against scikit-learn and by hand; what is held out; what is joined."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from earmark.prototypes_index.acoustics import (
    MEASURES,
    SCORES,
    SIZES,
    Acoustics,
    Held,
    Statistics,
    held_out,
    ledoit_wolf,
)
from earmark.prototypes_index.familiarity import Usual, share

SIZE = sum(SIZES)


@pytest.fixture(scope="module")
def clips():
    """Three classes of six recordings of two clips, and a point in each class of its own."""
    random = np.random.default_rng(0)
    centres = 2.0 * random.standard_normal((3, SIZE))
    labels, recordings = (
        np.repeat([0, 4, 7], 12).astype(np.int32),
        np.repeat(np.arange(18), 2).astype(np.int32),
    )
    of_recording = 0.7 * random.standard_normal((18, SIZE))
    vectors = centres[np.repeat([0, 1, 2], 12)] + of_recording[recordings]
    vectors += 0.3 * random.standard_normal(vectors.shape)
    asked = centres + 0.7 * random.standard_normal(centres.shape)
    return vectors.astype(np.float32), labels, recordings, asked.astype(np.float32)


def of(vector, scores=()):
    """The statistics of a sound with these scores of the labels 0, 1, ..."""
    labels, given = np.full(SCORES, -1, np.int32), np.zeros(SCORES, np.float32)
    labels[: len(scores)], given[: len(scores)] = np.arange(len(scores)), scores
    return Statistics(vector, labels, given)


def by_hand(vectors, labels, recordings, asked, label):
    """-r and m with scikit-learn's covariance, every loop written out."""
    values = vectors.astype(float)
    scale = np.concatenate(
        [
            (group.std(axis=0) + 1e-3 * group.std()) * np.sqrt(group.shape[1])
            for group in np.split(values, np.cumsum(SIZES)[:-1], axis=1)
        ]
    )
    projected, point = (values - values.mean(axis=0)) / scale, (asked - values.mean(axis=0)) / scale
    means = {one: projected[labels == one].mean(axis=0) for one in (0, 4, 7)}
    within = projected - np.array([means[one] for one in labels.tolist()])
    precision = np.linalg.inv(LedoitWolf(assume_centered=True).fit(within).covariance_)

    def cosine(one, other):
        return one @ precision @ other / np.sqrt((one @ precision @ one) * (other @ precision @ other))

    def distance(one, of, but=None):
        nearest = [
            min(
                np.sqrt(2.0 - 2.0 * cosine(one, projected[row]))
                for row in np.flatnonzero((recordings == recording) & (labels == of))
            )
            for recording in sorted(set(recordings[labels == of].tolist()) - {but})
        ]
        return np.mean(sorted(nearest)[:4])

    rows = np.flatnonzero(labels == label)
    usual = np.mean([distance(projected[row], label, recordings[row]) for row in rows])
    cosines = {one: cosine(point, mean) for one, mean in means.items()}
    return -distance(point, label) / usual, cosines.pop(label) - max(cosines.values())


def test_the_covariance_is_that_of_scikit_learn():
    samples = np.random.default_rng(1).standard_normal((40, 25)) * np.linspace(0.1, 3.0, 25)
    expected = LedoitWolf(assume_centered=True).fit(samples).covariance_
    np.testing.assert_allclose(ledoit_wolf(samples), expected, rtol=1e-10, atol=1e-12)


def test_measures_are_those_of_the_equations(clips):
    vectors, labels, recordings, asked = clips
    known = Acoustics(vectors, labels, recordings)
    for point, own in zip(asked, (0, 4, 7), strict=True):
        sound, margin, score = known.measures(of(point, [0.5, 0.25, 0.125, 0.0625, 0.03125]))
        # The model has no label 7.
        np.testing.assert_array_equal(score, [0.5, 0.03125, 0.0])
        expected = [by_hand(vectors, labels, recordings, point, label) for label in known.labels]
        np.testing.assert_allclose(np.transpose([sound, margin]), expected, rtol=1e-5)
        assert [label for label, one in zip((0, 4, 7), margin, strict=True) if one > 0.0] == [own]


def test_the_order_of_clips_changes_nothing(clips):
    vectors, labels, recordings, asked = clips
    mixed = np.random.default_rng(2).permutation(len(labels))
    again = Acoustics(vectors[mixed], labels[mixed], recordings[mixed]).measures(of(asked[0]))
    np.testing.assert_allclose(again, Acoustics(vectors, labels, recordings).measures(of(asked[0])))


def test_of_a_single_class_nothing_is_known(clips):
    vectors, labels, recordings, asked = clips
    only = labels == 4
    assert Acoustics(vectors[only], labels[only], recordings[only]).measures(of(asked[0])) is None


def test_clips_are_held_out_with_their_recordings(clips):
    vectors, labels, recordings, _ = clips
    sounds = [of(vector, [0.75]) for vector in vectors]
    held = held_out(sounds, labels, recordings)
    # Recordings are dealt to five parts.
    others = recordings % 5 != recordings[15] % 5
    known = Acoustics(vectors[others], labels[others], recordings[others])
    np.testing.assert_array_equal(held[15].measures, known.measures(sounds[15]))
    assert held[15].own == 1
    assert None not in held
    # The others have no clip of the class.
    lonely = np.arange(len(labels), dtype=np.int32)
    assert held_out(sounds, lonely, recordings) == [None] * len(lonely)


def test_shares_are_joined_by_the_sum_of_their_logarithms():
    values = np.linspace(0.0, 1.0, 101)
    held = [Held(np.array([[one, -9.0], [one, -9.0], [one, 0.0]]), 0) for one in values.tolist()]
    usual = Usual.of({"time": values}, held)
    one = usual.acoustic_shares(np.array([[0.3], [-1.0], [0.7]]))
    assert one == pytest.approx({"sound": 0.3, "margin": 0.0, "score": 0.7})
    # The class counts in which all together are highest.
    both = np.array([[1.0, 0.4, 0.0], [0.0, 0.3, 2.0], [0.1, 0.2, 0.7]])
    assert usual.acoustic_shares(both) == pytest.approx({"sound": 0.4, "margin": 0.3, "score": 0.2})
    # All four shares of each of these clips are the same.
    acoustics = dict.fromkeys(MEASURES, 0.42)
    assert usual.whole({"time": 0.42}, acoustics) == pytest.approx(0.42, abs=1e-4)
    uneven = {"sound": 0.05, "margin": 0.9, "score": 0.6}
    total = np.log(0.05 + 0.05) + np.log(0.9 + 0.05) + 0.5 * (np.log(0.7 + 0.05) + np.log(0.6 + 0.05))
    assert usual.whole({"time": 0.7}, uneven) == pytest.approx(share(usual.joint, total))
    assert usual.whole({"time": 0.42}) == pytest.approx(0.42, abs=1e-4)
    # Too few clips with statistics: the views alone.
    few = Usual.of({"time": values}, [*held[:19], *[None] * 82])
    assert few.acoustics == {}
    assert few.joint == ()
