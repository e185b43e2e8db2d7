"""Distances by statistics alone, against scikit-learn and by hand; what is held out; what is joined."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

from earmark.prototypes_index.acoustics import MEASURES, SIZES, Acoustics, held_out, ledoit_wolf
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


def by_hand(vectors, labels, recordings, asked, label, columns):
    """-r and m with scikit-learn's decomposition and covariance, every loop written out."""
    values, sizes = vectors[:, :columns].astype(float), [size for size in SIZES if size <= columns]
    sizes = sizes if sum(sizes) == columns else sizes[:2]
    scale = np.concatenate(
        [
            (group.std(axis=0) + 1e-3 * group.std()) * np.sqrt(group.shape[1])
            for group in np.split(values, np.cumsum(sizes)[:-1], axis=1)
        ]
    )
    pca = PCA(min(80, len(values) - 1), svd_solver="full").fit((values - values.mean(axis=0)) / scale)
    projected = pca.transform((values - values.mean(axis=0)) / scale)
    means = {one: projected[labels == one].mean(axis=0) for one in (0, 4, 7)}
    within = projected - np.array([means[one] for one in labels.tolist()])
    precision = np.linalg.inv(LedoitWolf(assume_centered=True).fit(within).covariance_)
    point = pca.transform(((asked[:columns] - values.mean(axis=0)) / scale)[None])[0]

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
        for label in (0, 4, 7):
            measures = known.measures(point, label)
            sound, margin = by_hand(vectors, labels, recordings, point, label, SIZE)
            timbre, _ = by_hand(vectors, labels, recordings, point, label, sum(SIZES[:2]))
            assert measures == pytest.approx({"sound": sound, "timbre": timbre, "margin": margin}, rel=1e-5)
            assert (measures["margin"] > 0.0) == (label == own)


def test_of_classes_that_are_not_there_nothing_is_known(clips):
    vectors, labels, recordings, asked = clips
    assert Acoustics(vectors, labels, recordings).measures(asked[0], 1) is None
    only = labels == 4
    assert Acoustics(vectors[only], labels[only], recordings[only]).measures(asked[0], 4) is None


def test_clips_are_held_out_with_their_recordings(clips):
    vectors, labels, recordings, _ = clips
    measures = held_out(vectors, labels, recordings)
    # Class after class, recordings are dealt to five parts.
    others = recordings % 5 != recordings[3] % 5
    known = Acoustics(vectors[others], labels[others], recordings[others])
    assert measures[3] == known.measures(vectors[3], 0)
    assert all(set(one) == set(MEASURES) for one in measures)
    lonely = np.arange(len(labels), dtype=np.int32)
    assert held_out(vectors, lonely, recordings) == [None] * len(lonely)


def test_shares_are_joined_by_the_sum_of_their_logarithms():
    values = np.linspace(0.0, 1.0, 101)
    measures = [{"sound": one, "timbre": one, "margin": one} for one in values.tolist()]
    usual = Usual.of({"time": values}, measures)
    assert usual.acoustic_shares({"sound": 0.3, "timbre": 2.0, "margin": -1.0}) == pytest.approx(
        {"sound": 0.3, "timbre": 1.0, "margin": 0.0}
    )
    # All four shares of each of these clips are the same.
    acoustics = dict.fromkeys(MEASURES, 0.42)
    assert usual.whole({"time": 0.42}, acoustics) == pytest.approx(0.42, abs=1e-4)
    uneven = {"sound": 0.05, "timbre": 0.9, "margin": 0.9}
    total = np.log([0.9 + 0.05, 0.05 + 0.05, 0.9 + 0.05, 0.9 + 0.05]).sum()
    assert usual.whole({"time": 0.9}, uneven) == pytest.approx(share(usual.joint, total))
    assert usual.whole({"time": 0.42}) == pytest.approx(0.42, abs=1e-4)
    # Too few clips with statistics: the views alone.
    few = Usual.of({"time": values}, [*measures[:19], *[None] * 82])
    assert few.acoustics == {}
    assert few.joint == ()
