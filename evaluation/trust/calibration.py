"""Logistic models of whether something holds, and how well their probabilities are calibrated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ...runtime.values.arrays import Values
from ..statistics import ranked_pairs

# Of features [W, n], which windows hold, and their recordings: bias and weights [n].
Model = Callable[[Values, npt.NDArray[np.bool_], Sequence[str]], tuple[float, Values]]

# Newton's steps, of which a handful suffices.
_STEPS = 50
# Weights of the squared coefficients, of standardised features, that are tried; the last leaves hardly any.
_RIDGES = (1.0, 5.0, 25.0, 125.0, 625.0, 3125.0)
# Bins of equal count that a calibration error is measured in, and parts that recordings are split into.
BINS, PARTS = 5, 5
# Log-odds beyond which a step goes no further.
_MOST = 30.0


def fit(features: Values, holds: npt.NDArray[np.bool_], recordings: Sequence[str]) -> tuple[float, Values]:
    """The simplest logistic model that foretells windows of other recordings about as well as the best one.

    Features that tell windows of the same recordings apart need not do so for a new one, and the spread that
    they give its probabilities is then an error of calibration. So the ridge is the largest whose log loss on
    recordings left out is within one standard error, over recordings, of the least (the one-standard-error
    rule of Breiman et al. 1984). Where no feature tells anything, nearly the share that holds is left.

    Args:
        features: [W, n].
        holds: [W].
        recordings: Of each window.

    Returns:
        bias, weights [n]: for features as they are.

    """
    names, row = np.unique(np.asarray(recordings), return_inverse=True)
    losses = []
    for ridge in _RIDGES:
        likely = _left_out(_with_ridge(ridge), features, holds, recordings)
        loss = -np.log(np.clip(np.where(holds, likely, 1.0 - likely), 1e-9, None))
        losses.append(np.bincount(row, loss) / np.bincount(row))
    means = [float(one.mean()) for one in losses]
    best = int(np.argmin(means))
    most = means[best] + float(losses[best].std()) / np.sqrt(len(names))
    ridge = max(ridge for ridge, mean in zip(_RIDGES, means, strict=True) if mean <= most)
    return ridged(features, holds, ridge)


def _with_ridge(ridge: float) -> Model:
    return lambda features, holds, _: ridged(features, holds, ridge)


def ridged(features: Values, holds: npt.NDArray[np.bool_], ridge: float) -> tuple[float, Values]:
    """A logistic regression with a ridge: (bias, weights [n]) for features [W, n] as they are.

    A uniform prior adds one window that holds and one that does not, so that probabilities stay within 0..1
    where all are alike.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    inputs = np.concatenate([(features - mean) / scale, np.zeros((2, features.shape[1]))])
    inputs = np.concatenate([np.ones((len(inputs), 1)), inputs], axis=1)
    wanted = np.concatenate([holds.astype(np.float64), [0.0, 1.0]])
    penalty = np.full(inputs.shape[1], ridge)
    penalty[0] = 1e-6
    weights = np.zeros(inputs.shape[1])
    for _ in range(_STEPS):
        likely = logistic(inputs @ weights)
        slope = inputs.T @ (likely - wanted) + penalty * weights
        bend = (inputs * (likely * (1.0 - likely))[:, None]).T @ inputs + np.diag(penalty)
        step = np.linalg.solve(bend, slope)
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    plain = weights[1:] / scale
    return float(weights[0] - plain @ mean), plain


def logistic(values: Values) -> Values:
    """1 / (1 + exp(-x))."""
    result: Values = 0.5 * (1.0 + np.tanh(0.5 * np.clip(values, -_MOST, _MOST)))
    return result


def cross_fitted(features: Values, holds: npt.NDArray[np.bool_], recordings: Sequence[str]) -> Values:
    """Probabilities [W] of each window by a model that saw none of its recording (five parts)."""
    return _left_out(fit, features, holds, recordings)


def parts_of(recordings: Sequence[str]) -> npt.NDArray[np.int64]:
    """[W]: which of the five parts each window is in; a recording's windows are in the same."""
    names = {name: number % PARTS for number, name in enumerate(sorted(set(recordings)))}
    return np.array([names[name] for name in recordings], np.int64)


def _left_out(
    model: Model, features: Values, holds: npt.NDArray[np.bool_], recordings: Sequence[str]
) -> Values:
    part = parts_of(recordings)
    # Of a single recording nothing is known: as likely as not.
    likely = np.full(len(holds), 0.5)
    for number in range(PARTS):
        held = part == number
        if not held.any() or held.all():
            continue
        rest = [name for name, out in zip(recordings, held, strict=True) if not out]
        bias, weights = model(features[~held], holds[~held], rest)
        likely[held] = logistic(bias + features[held] @ weights)
    return likely


def calibration_error(
    likely: Values, holds: npt.NDArray[np.bool_], bins: int = BINS, parts: npt.NDArray[np.int64] | None = None
) -> float:
    """Expected calibration error: mean over windows of |mean probability - share that holds| of its bin.

    Bins are of equal count (Nguyen & O'Connor 2015).

    Args:
        likely: Probabilities [W].
        holds: [W].
        bins: How many.
        parts: [W], where each part has a model of its own (`parts_of`): windows are ordered within it, and
            a bin takes its share of every part. A model that has not seen a part in which little holds
            expects more of it than the other models of theirs; across parts that would be taken for ranking
            them wrongly (Parker, Günter & Bedo 2007).

    Returns:
        0..1; NaN without any window.

    """
    if not len(likely):
        return float("nan")
    bin_of = np.zeros(len(likely), np.int64)
    for part in _rows_of(parts, len(likely)):
        ranks = np.argsort(np.argsort(likely[part], kind="stable"), kind="stable")
        bin_of[part] = ranks * bins // len(part)
    counts = np.bincount(bin_of, minlength=bins)
    gaps = np.bincount(bin_of, likely, bins) - np.bincount(bin_of, holds, bins)
    return float(np.abs(gaps[counts > 0]).sum() / len(likely))


def ranking(
    likely: Values, holds: npt.NDArray[np.bool_], parts: npt.NDArray[np.int64] | None = None
) -> float:
    """ROC AUC: how often a window that holds has the higher probability; NaN where all are alike.

    parts: as in `calibration_error`; pairs are compared within a part
    """
    counted = [ranked_pairs(holds[part], likely[part]) for part in _rows_of(parts, len(likely))]
    wins, pairs = (sum(some) for some in zip(*counted, strict=True))
    return wins / pairs if pairs else float("nan")


def _rows_of(parts: npt.NDArray[np.int64] | None, count: int) -> list[npt.NDArray[np.int64]]:
    """The rows of each part; all of them where there are no parts."""
    if parts is None:
        return [np.arange(count)]
    return [np.flatnonzero(parts == part) for part in np.unique(parts)]
