"""Logistic models of whether something holds, and how well their probabilities are calibrated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

# Newton's steps, of which a handful suffices; weight of the squared coefficients, of standardised features.
_STEPS = 50
_RIDGE = 5.0
# Bins of equal count that a calibration error is measured in, and parts that recordings are split into.
BINS, PARTS = 5, 5
# Log-odds beyond which a step goes no further.
_MOST = 30.0


def fit(features: Values, holds: npt.NDArray[np.bool_]) -> tuple[float, Values]:
    """A logistic regression with a ridge: (bias, weights [n]) for features [W, n] as they are.

    A uniform prior adds one window that holds and one that does not, so that probabilities stay within 0..1
    where all are alike.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    inputs = np.concatenate([(features - mean) / scale, np.zeros((2, features.shape[1]))])
    inputs = np.concatenate([np.ones((len(inputs), 1)), inputs], axis=1)
    wanted = np.concatenate([holds.astype(np.float64), [0.0, 1.0]])
    ridge = np.full(inputs.shape[1], _RIDGE)
    ridge[0] = 1e-6
    weights = np.zeros(inputs.shape[1])
    for _ in range(_STEPS):
        likely = logistic(inputs @ weights)
        slope = inputs.T @ (likely - wanted) + ridge * weights
        bend = (inputs * (likely * (1.0 - likely))[:, None]).T @ inputs + np.diag(ridge)
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
    names = {name: number % PARTS for number, name in enumerate(sorted(set(recordings)))}
    part = np.array([names[name] for name in recordings])
    likely = np.zeros(len(holds))
    for number in range(PARTS):
        held = part == number
        if not held.any() or held.all():
            continue
        bias, weights = fit(features[~held], holds[~held])
        likely[held] = logistic(bias + features[held] @ weights)
    return likely


def calibration_error(likely: Values, holds: npt.NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error: mean over windows of |mean probability - share that holds| of its bin.

    Bins are of equal count (Nguyen & O'Connor 2015); NaN without any window.
    """
    if not len(likely):
        return float("nan")
    order = np.argsort(likely, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    gaps = [len(one) * abs(float(likely[one].mean()) - float(holds[one].mean())) for one in parts]
    return float(sum(gaps) / len(order))


def ranking(likely: Values, holds: npt.NDArray[np.bool_]) -> float:
    """ROC AUC: how often a window that holds has the higher probability; NaN where all are alike."""
    from scipy.stats import rankdata

    right = int(holds.sum())
    if right in (0, len(holds)):
        return float("nan")
    ranks = rankdata(likely)
    return float((ranks[holds].sum() - right * (right + 1) / 2) / (right * (len(holds) - right)))
