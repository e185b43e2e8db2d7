"""From masks and log-odds to an importance per segment: one function a surrogate.

Each gives a `Fit`. Masks come in complementary pairs, rows 2 i and 2 i + 1; what is held out for R^2 is a
pair, since one half of it tells of the other.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from ....errors import MissingDependencyError
from ....forks import fork_waits
from ...values.arrays import Values
from .gaussian_process import LENGTHS, Pieces, Posterior, posterior
from .masks import Masks

_TREES = 100
# Gaussians of deviation 1 segment, over five, and of 1.25 where a mask says which neighbours evidence is of.
_SMOOTHING = (0.0545, 0.2442, 0.4026, 0.2442, 0.0545)
_SHARING = (0.0180, 0.0891, 0.2327, 0.3204, 0.2327, 0.0891, 0.0180)
# How much more a segment ranks that speaks for the target.
_SPEAKS_FOR = 0.3


@dataclass(frozen=True)
class Fit:
    """What a surrogate says.

    Attributes:
        importance: [M] with sign.
        magnitude: [M] >= 0, for ranking.
        uncertainty: [M] standard deviation.
        r2: R^2 on held-out masks; covariance [M, M] of the importance and variance of the noise of single
            answers, where the surrogate has them.
        signed: False where the sign is the marginal effect's, not the surrogate's.

    """

    importance: Values
    magnitude: Values
    uncertainty: Values
    r2: float
    covariance: Values | None = None
    noise: float = 0.0
    signed: bool = True
    length: float = 0.0


def smooth(
    masks: Masks,
    values: Values,
    places: Pieces,
    lengths: Sequence[float] = LENGTHS,
    expected: Values | None = None,
) -> Fit:
    """The default: see `gaussian_process.py`; its magnitude is `smoothed_magnitude`."""
    estimate = posterior(masks, values, places, lengths, expected)
    return _bayesian(values, estimate, smoothed_magnitude(estimate.mean, places, estimate.scale))


def ridge(masks: Masks, values: Values, places: Pieces) -> Fit:
    """Bayesian ridge regression: independent coefficients, penalty by marginal likelihood."""
    estimate = posterior(masks, values, places, lengths=(0.0,))
    return _bayesian(values, estimate, np.abs(estimate.mean) / places.sizes)


@fork_waits
def _bayesian(values: Values, estimate: Posterior, magnitude: Values) -> Fit:
    """A posterior as a fit, its doubt widened where held-out answers lie further off than it expects."""
    predicted = values.mean() + estimate.smoother @ (values - values.mean())
    wider = surprise(values, predicted, estimate.smoother, estimate.noise)
    covariance = estimate.covariance * wider
    return Fit(
        importance=estimate.mean,
        magnitude=magnitude,
        uncertainty=np.sqrt(np.maximum(np.diag(covariance), 0.0)),
        r2=held_out_r2(values, predicted, estimate.smoother),
        covariance=covariance,
        noise=estimate.noise * wider,
        length=estimate.length,
    )


def smoothed_magnitude(importance: Values, places: Pieces, scale: Values | None = None) -> Values:
    """sqrt(g * w^2) + 0.3 g * w of the importance w [T F], g a Gaussian over time of one segment's deviation.

    What a classifier hears seldom lies in one segment alone, and the sign often turns within an event: so
    the power around a segment ranks it, a little more where it speaks for the target than against it.
    Where a mask is borne out by the answers, g_ij becomes d_i g_ij / sum_k d_k g_kj, with d the prior's
    deviations: each segment's power is shared out among its neighbours, most to those that the mask covers.
    So a segment that evidence only reaches into comes after one that it covers. Never negative: the root is
    at least 0.3 |g * w| either way. Where pieces are longer than a segment: of the importance a segment,
    averaged over the piece.

    Args:
        importance: [T F].
        places: Of the T pieces and F bands.
        scale: [T F], above 0, deviations d of a prior that follows a mask; None: no mask.

    """
    lengths = places.lengths
    single = _on_segments(importance / places.sizes, places)
    if scale is None:
        power, mean = _smoothed(single**2), _smoothed(single)
    else:
        among = _on_segments(scale, places)
        power, mean = _shared_out(single**2, among), _shared_out(single, among)
    magnitude = np.sqrt(power) + _SPEAKS_FOR * mean
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return np.asarray(np.add.reduceat(magnitude, starts, axis=0) / lengths[:, None]).reshape(-1)


def _on_segments(values: Values, places: Pieces) -> Values:
    """Values of pieces [T F] as those of their single segments [S, F]."""
    return np.repeat(values.reshape(-1, places.bands), places.lengths, axis=0)


def _smoothed(values: Values) -> Values:
    """Values [S, F] smoothed over time, edges repeated."""
    return _filtered(np.pad(values, ((2, 2), (0, 0)), mode="edge"), _SMOOTHING)


def _shared_out(values: Values, scale: Values) -> Values:
    """Values [S, F] shared out over time in proportion to g and `scale` [S, F]; their sum stays."""
    around = ((3, 3), (0, 0))
    taken = _filtered(np.pad(scale, around), _SHARING)
    return scale * _filtered(np.pad(values / taken, around), _SHARING)


def _filtered(padded: Values, weights: Sequence[float]) -> Values:
    """The weighted sums of neighbours over time, as many rows fewer as there are weights but one."""
    count = len(padded) - len(weights) + 1
    return np.asarray(sum(weight * padded[at : at + count] for at, weight in enumerate(weights)))


@fork_waits
def least_squares(masks: Masks, values: Values, places: Pieces) -> Fit:
    """Ordinary least squares with an intercept; the shortest solution where masks are too few.

    Its R^2 on held-out masks is -inf where it passes through every point.
    """
    design = np.column_stack([np.ones(len(masks)), masks])
    inverse = np.linalg.pinv(design)
    weights = inverse @ values
    smoother = design @ inverse
    predicted = design @ weights
    free = len(values) - round(float(np.trace(smoother)))
    noise = float(((values - predicted) ** 2).sum()) / free if free > 0 else float("inf")
    spread = np.einsum("ij,ij->i", inverse[1:], inverse[1:])
    return Fit(
        importance=weights[1:],
        magnitude=np.abs(weights[1:]) / places.sizes,
        uncertainty=np.sqrt(noise * spread) if free > 0 else np.full(masks.shape[1], np.inf),
        r2=held_out_r2(values, predicted, smoother),
    )


@fork_waits
def kernel_shap(
    masks: Masks, values: Values, full: float, empty: float, weights: Values | None = None
) -> Fit:
    """Shapley values by constrained weighted least squares, in closed form.

    Minimises sum_i c_i (y_i - empty - z_i phi)^2 under sum(phi) = full - empty (Lundberg, Lee 2017,
    theorem 2; Covert, Lee 2021, equation 7). Exact where all coalitions are given.

    masks: [n, M] coalitions drawn by the Shapley kernel in pairs (`draw_coalitions`), or all of them with
        `weights` [n]
    full, empty: log-odds of the whole sound and of the fill alone
    """
    coalitions = masks.astype(np.float64)
    weight = np.ones(len(values)) if weights is None else weights
    weight = weight / weight.sum()
    gram = coalitions.T @ (coalitions * weight[:, None])
    inverse = np.linalg.pinv(gram, hermitian=True)
    ones = np.ones(masks.shape[1])
    sums = inverse @ ones
    # The projection that keeps the sum: phi = project b + shift.
    project = inverse - np.outer(sums, sums) / (ones @ sums)
    shift = sums / (ones @ sums) * (full - empty)
    phi = project @ (coalitions.T @ (weight * (values - empty))) + shift
    predicted = empty + coalitions @ phi
    left = values - predicted
    smoother = coalitions @ project @ (coalitions * weight[:, None]).T
    # A pair is one observation: its two halves share their errors.
    steps = ((coalitions * (weight * left)[:, None]) @ project).reshape(-1, 2, masks.shape[1]).sum(axis=1)
    return Fit(
        importance=phi,
        magnitude=np.abs(phi),
        uncertainty=np.sqrt((steps**2).sum(axis=0)) if weights is None else np.zeros(masks.shape[1]),
        r2=held_out_r2(values, predicted, smoother),
    )


def draw_coalitions(random: np.random.Generator, pairs: int, segments: int) -> tuple[Masks, Values | None]:
    """Coalitions [n, M] for `kernel_shap` in complementary pairs, and their weights.

    All 2^M - 2 with their kernel weights where `pairs` reach; else 2 `pairs`, with sizes s drawn in
    proportion to 1 / (s (M - s)), the Shapley kernel's mass, and no weights.
    """
    if segments <= 20 and 2 ** (segments - 1) - 1 <= pairs:
        codes = np.arange(1, 2 ** (segments - 1))
        half = (codes[:, None] >> np.arange(segments) & 1).astype(np.bool_)
        masks = np.stack([half, ~half], axis=1).reshape(-1, segments)
        sizes = masks.sum(axis=1)
        return masks, np.array([1.0 / (comb(segments, s) * s * (segments - s)) for s in sizes.tolist()])
    sizes = np.arange(1, segments)
    mass = 1.0 / (sizes * (segments - sizes))
    drawn = random.choice(sizes, size=pairs, p=mass / mass.sum())
    ranks = random.random((pairs, segments)).argsort(axis=1).argsort(axis=1)
    half = ranks < drawn[:, None]
    return np.stack([half, ~half], axis=1).reshape(-1, segments), None


@fork_waits
def forest(masks: Masks, values: Values, places: Pieces, seed: int = 0) -> Fit:
    """Impurity importances of a random forest of 100 trees, under the sign of the marginal effect.

    Importances sum to 1 and have no sign; the sign given is that of mean(y | kept) - mean(y | masked). R^2 is
    out of bag. Raises MissingDependencyError without scikit-learn.
    """
    importance, spread, r2 = fitted_forest(masks, values, seed)
    kept = masks.astype(np.float64)
    effect = np.sign((kept - kept.mean(axis=0)).T @ (values - values.mean()))
    return Fit(
        importance=importance * np.where(effect < 0, -1.0, 1.0),
        magnitude=importance / places.sizes,
        uncertainty=spread,
        r2=r2,
        signed=False,
    )


def fitted_forest(
    masks: Masks, values: Values, seed: int, weights: Values | None = None
) -> tuple[Values, Values, float]:
    """A random forest of 100 trees, fitted to log-odds [n] of `masks` [n, M] with sample weights [n].

    Gives impurity importances [M], which sum to 1, their standard errors over the trees, and R^2 out of bag.
    Raises MissingDependencyError without scikit-learn.
    """
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError as error:
        raise MissingDependencyError(
            f'the surrogate forest needs scikit-learn ({error}): pip install "earmark[evaluation]"'
        ) from error
    model = RandomForestRegressor(_TREES, oob_score=True, random_state=seed % 2**32, n_jobs=1)
    with warnings.catch_warnings():
        # Few masks: some may be in every bag.
        warnings.simplefilter("ignore", UserWarning)
        model.fit(masks.astype(np.float32), values, sample_weight=weights)
    importance = np.asarray(model.feature_importances_, np.float64)
    trees = np.stack([tree.feature_importances_ for tree in model.estimators_])
    return importance, trees.std(axis=0, ddof=1) / np.sqrt(_TREES), float(model.oob_score_)


def held_out_r2(values: Values, predicted: Values, smoother: Values) -> float:
    """R^2 of a linear smoother on pairs that it has not seen, without fitting again.

    predicted = H values + constant, H = `smoother` [n, n]: without the rows I the error there is
    (1 - H_II)^{-1} (y_I - predicted_I). -inf where a pair determines its own prediction.
    """
    total = float(((values - values.mean()) ** 2).sum())
    if total <= 1e-18 or len(values) < 2:
        return 0.0
    errors = _held_out(values, predicted, smoother)
    return float("-inf") if errors is None else 1.0 - float((errors[1] ** 2).sum()) / total


def surprise(values: Values, predicted: Values, smoother: Values, noise: float) -> float:
    """Mean square of held-out errors over what a posterior expects of them, at least 1.

    The predictive covariance of a pair that was left out is v (1 - H_II)^{-1}. A model that is not linear,
    or too few answers, make a posterior too sure of itself; this says by how much.
    """
    errors = _held_out(values, predicted, smoother)
    if errors is None or noise <= 1e-18:
        return 1.0
    kept, held_out = errors
    return max(1.0, float((kept * held_out).mean()) / noise)


@fork_waits
def _held_out(values: Values, predicted: Values, smoother: Values) -> tuple[Values, Values] | None:
    """Errors [pairs, 2] with and without the pair in the fit; None where a pair determines itself."""
    rows = np.arange(len(values) // 2 * 2).reshape(-1, 2)
    own = np.eye(2) - smoother[rows[:, :, None], rows[:, None, :]]
    if (np.abs(np.linalg.det(own)) < 1e-9).any():
        return None
    kept = (values - predicted)[rows]
    return kept, np.asarray(np.linalg.solve(own, kept[:, :, None])[:, :, 0], np.float64)
