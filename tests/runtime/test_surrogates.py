"""Surrogates against independent references: brute force, scikit-learn, and formulas solved the long way."""

from itertools import chain, combinations
from math import factorial

import numpy as np
import pytest

from earmark.errors import MissingDependencyError
from earmark.runtime.methods.segments import surrogates
from earmark.runtime.methods.segments.gaussian_process import Pieces, posterior, prior_root
from earmark.runtime.methods.segments.masks import draw_masks
from earmark.runtime.methods.segments.search import choose, settled
from earmark.runtime.methods.segments.surrogates import Fit


def data(seed=0, segments=30, pairs=60, noise=0.3):
    random = np.random.default_rng(seed)
    masks = draw_masks(random, pairs, (segments, 1))
    truth = 2.0 * np.exp(-0.5 * ((np.arange(segments) - 12) / 1.5) ** 2)
    truth -= 1.0 * np.exp(-0.5 * ((np.arange(segments) - 22) / 1.0) ** 2)
    values = -1.0 + masks @ truth + noise * random.standard_normal(2 * pairs)
    return masks, values, truth


def shapley(game, players):
    """The definition: the mean marginal contribution over all orders."""
    found = np.zeros(players)
    for player in range(players):
        others = [one for one in range(players) if one != player]
        for chosen in chain.from_iterable(combinations(others, size) for size in range(players)):
            weight = factorial(len(chosen)) * factorial(players - len(chosen) - 1) / factorial(players)
            mask = np.zeros(players, bool)
            mask[list(chosen)] = True
            without = game(mask)
            mask[player] = True
            found[player] += weight * (game(mask) - without)
    return found


def crooked(mask):
    """A game with interactions of every order, negative ones among them."""
    m = mask.astype(float)
    product = m[0] * m[2] * m[3] if m.size > 3 else m[0]
    return float(m @ np.linspace(-1, 2, m.size) + 3 * m[0] * m[1] - 2 * product + np.sin(m.sum()))


@pytest.mark.parametrize("players", [2, 3, 5, 7])
def test_kernel_shap_of_all_coalitions_is_the_shapley_value(players):
    masks, weights = surrogates.draw_coalitions(np.random.default_rng(0), 2**players, players)
    assert len(masks) == 2**players - 2
    values = np.array([crooked(mask) for mask in masks])
    full, empty = crooked(np.ones(players, bool)), crooked(np.zeros(players, bool))
    fit = surrogates.kernel_shap(masks, values, full, empty, weights)
    np.testing.assert_allclose(fit.importance, shapley(crooked, players), atol=1e-9)


def test_kernel_shap_of_drawn_coalitions_nears_the_shapley_value_and_keeps_the_sum():
    players = 8
    truth = shapley(crooked, players)
    full, empty = crooked(np.ones(players, bool)), crooked(np.zeros(players, bool))
    # More pairs than there are would be enumerated: the same ones drawn again and again instead.
    random = np.random.default_rng(1)
    drawn = np.concatenate([surrogates.draw_coalitions(random, 100, players)[0] for _ in range(20)])
    values = np.array([crooked(mask) for mask in drawn])
    fit = surrogates.kernel_shap(drawn, values, full, empty)
    assert fit.importance.sum() == pytest.approx(full - empty)
    np.testing.assert_allclose(fit.importance, truth, atol=0.17)
    assert (np.abs(fit.importance - truth) < 5 * fit.uncertainty + 1e-9).all()


def test_coalitions_are_pairs_with_the_kernels_sizes():
    masks, weights = surrogates.draw_coalitions(np.random.default_rng(0), 20_000, 20)
    assert weights is None
    assert (masks[::2] == ~masks[1::2]).all()
    sizes = np.bincount(masks.sum(axis=1), minlength=21)
    mass = np.array([1 / (s * (20 - s)) for s in range(1, 20)])
    np.testing.assert_allclose(sizes[1:20] / sizes.sum(), mass / mass.sum(), atol=0.01)
    assert sizes[0] == sizes[20] == 0


def test_ridge_agrees_with_bayesian_ridge_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    masks, values, _ = data(noise=0.5)
    theirs = linear_model.BayesianRidge(tol=1e-8, max_iter=3000).fit(masks, values)
    ours = surrogates.ridge(masks, values, Pieces.uniform(30))
    np.testing.assert_allclose(ours.importance, theirs.coef_, atol=0.03)
    deviations = np.sqrt(np.diag(theirs.sigma_))
    np.testing.assert_allclose(ours.uncertainty, deviations, rtol=0.12)


def test_smooth_agrees_with_the_gaussian_process_of_scikit_learn():
    process = pytest.importorskip("sklearn.gaussian_process")
    masks, values, _ = data(pairs=40)
    found = posterior(masks, values, Pieces.uniform(30), lengths=(2.0,))
    root = prior_root(Pieces.uniform(30).centres, 1, 2.0, 0.0)
    kernels = process.kernels
    features = (masks - masks.mean(axis=0)) @ root
    kernel = kernels.ConstantKernel(1.0, (1e-4, 1e4)) * kernels.DotProduct(0.0, "fixed")
    kernel += kernels.WhiteKernel(0.1, (1e-5, 1e3))
    theirs = process.GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=0)
    theirs.fit(features, values - values.mean())
    predicted = values.mean() + theirs.predict(features)
    ours = values.mean() + found.smoother @ (values - values.mean())
    np.testing.assert_allclose(ours, predicted, atol=0.05)


def test_smooth_finds_what_speaks_for_and_against_with_honest_doubt():
    misses = []
    for seed in range(8):
        masks, values, truth = data(seed)
        fit = surrogates.smooth(masks, values, Pieces.uniform(30))
        assert fit.importance.argmax() in {11, 12, 13}
        assert fit.importance.argmin() in {21, 22, 23}
        assert fit.r2 > 0.8
        misses.append(np.abs(fit.importance - truth) / fit.uncertainty)
    assert 0.5 < np.mean(np.square(misses)) < 2.5


def test_smooth_needs_fewer_answers_than_least_squares():
    masks, values, truth = data(pairs=20, noise=0.5)
    places = Pieces.uniform(30)
    ours = np.abs(surrogates.smooth(masks, values, places).importance - truth).mean()
    theirs = np.abs(surrogates.least_squares(masks, values, places).importance - truth).mean()
    assert ours < 0.7 * theirs


@pytest.mark.parametrize("name", ["smooth", "ridge", "least_squares"])
def test_held_out_r2_is_that_of_fits_without_the_pair(name):
    masks, values, _ = data(segments=12, pairs=30, noise=1.5)
    places = Pieces.uniform(12)
    fit = getattr(surrogates, name)(masks, values, places)
    if name == "least_squares":
        errors = []
        for pair in range(30):
            keep = np.arange(60) // 2 != pair
            design = np.column_stack([np.ones(60), masks])
            weights = np.linalg.lstsq(design[keep], values[keep], rcond=None)[0]
            errors.append(values[~keep] - design[~keep] @ weights)
        expected = 1 - np.square(errors).sum() / np.square(values - values.mean()).sum()
        assert fit.r2 == pytest.approx(expected, abs=1e-9)
    assert fit.r2 < 1 - 0.5 * 1.5**2 / values.var()


def test_what_says_nothing_predicts_nothing():
    random = np.random.default_rng(0)
    masks = draw_masks(random, 50, (20, 1))
    for name in ("smooth", "ridge", "least_squares"):
        assert getattr(surrogates, name)(masks, random.standard_normal(100), Pieces.uniform(20)).r2 < 0.15
    constant = surrogates.smooth(masks, np.full(100, 0.25), Pieces.uniform(20))
    assert constant.r2 == 0.0
    np.testing.assert_allclose(constant.importance, 0.0, atol=1e-6)


def test_fewer_masks_than_segments_are_enough_for_an_answer():
    masks, values, _ = data(segments=60, pairs=10)
    for name in ("smooth", "ridge", "least_squares"):
        fit = getattr(surrogates, name)(masks, values, Pieces.uniform(60))
        assert np.isfinite(fit.importance).all()
    assert surrogates.least_squares(masks, values, Pieces.uniform(60)).r2 == float("-inf")


def test_forest_is_signed_by_the_marginal_effect_and_says_so():
    pytest.importorskip("sklearn")
    # The marginal effect of one segment is seen through all others: it wants many masks.
    masks, values, _ = data(pairs=300)
    fit = surrogates.forest(masks, values, Pieces.uniform(30), seed=3)
    again = surrogates.forest(masks, values, Pieces.uniform(30), seed=3)
    assert not fit.signed
    assert fit.magnitude.sum() == pytest.approx(1.0)
    assert fit.importance[12] > 0 > fit.importance[22]
    np.testing.assert_array_equal(fit.importance, again.importance)
    assert 0.3 < fit.r2 < 1.0


def test_forest_without_scikit_learn_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        surrogates.forest(*data()[:2], Pieces.uniform(30))


def test_pieces_of_unequal_length_share_their_evidence():
    random = np.random.default_rng(0)
    lengths = np.array([10, 1, 1, 1, 1, 10, 10])
    masks = draw_masks(random, 60, (7, 1))
    values = masks @ np.array([0, 0, 2.0, 0, 0, 0, 2.0]) + 0.1 * random.standard_normal(120)
    fit = surrogates.smooth(masks, values, Pieces(lengths))
    np.testing.assert_allclose(fit.importance[[2, 6]], 2.0, atol=0.2)
    # The same evidence in a tenth of the time weighs more.
    assert fit.magnitude[2] > 4 * fit.magnitude[6]
    assert fit.magnitude.argmax() == 2


def test_chosen_masks_teach_more_than_drawn_ones():
    random = np.random.default_rng(0)
    pool = draw_masks(random, 128, (20, 1))[::2]
    root = prior_root(Pieces.uniform(20).centres, 1, 2.0, 0.0)
    covariance = root @ root.T
    noise = 0.5

    def left(rows):
        signs = pool[rows] - 0.5
        return np.linalg.slogdet(np.eye(len(signs)) + 2 / noise * signs @ covariance @ signs.T)[1]

    picked = choose(pool, covariance, noise, 10)
    assert len(set(picked)) == 10
    drawn = [left(random.permutation(128)[:10]) for _ in range(20)]
    assert left(picked) > max(drawn)


def test_settled_when_doubt_is_small_beside_what_was_found():
    importance = np.array([0.0, 0.0, 3.0, 0.0])
    sure = Fit(importance, np.abs(importance), np.full(4, 0.05), 0.9)
    unsure = Fit(importance, np.abs(importance), np.full(4, 1.0), 0.9)
    nothing = Fit(np.zeros(4), np.zeros(4), np.zeros(4), 0.0)
    assert settled(sure)
    assert not settled(unsure)
    assert not settled(nothing)


@pytest.mark.parametrize("seed", range(5))
def test_the_rank_is_power_around_a_segment_and_prefers_what_speaks_for(seed):
    """Against scipy's Gaussian filter: sqrt(g * w^2) + 0.3 g * w."""
    from scipy.ndimage import gaussian_filter1d

    weights = np.random.default_rng(seed).standard_normal(40)
    found = surrogates.smoothed_magnitude(weights, Pieces.uniform(40))
    smoothed = [gaussian_filter1d(w, 1.0, mode="nearest", truncate=2.0) for w in (weights**2, weights)]
    np.testing.assert_allclose(found, np.sqrt(smoothed[0]) + 0.3 * smoothed[1], rtol=2e-3, atol=1e-3)
    assert (found >= 0.0).all()
    assert (surrogates.smoothed_magnitude(-np.abs(weights), Pieces.uniform(40)) >= 0.0).all()
    alone = np.zeros(40)
    alone[10], alone[30] = 1.0, -1.0
    ranked = surrogates.smoothed_magnitude(alone, Pieces.uniform(40))
    assert ranked[10] > ranked[30] > ranked[20]
