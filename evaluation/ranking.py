"""How well scores rank what is true above what is not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..errors import DataError
from ..runtime.values.arrays import Values


def roc_auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The probability that a true item outranks another, ties counting half (Mann-Whitney U); 0..1.

    labels: [M] 1, 0, or -1 for what is left out; scores: [M] finite. NaN where one of the two is missing.
    """
    truth, values = _judged(labels, scores)
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = stats.rankdata(values)
    wins = float(ranks[truth].sum()) - positives * (positives + 1) / 2
    return wins / (positives * negatives)


def average_precision(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """sum_n (R_n - R_(n-1)) P_n over the distinct scores, from the largest down; equal scores enter together.

    labels, scores as in `roc_auc`. NaN where no item, or every one, is true.
    """
    truth, values = _judged(labels, scores)
    positives = int(truth.sum())
    if not positives or positives == len(truth):
        return float("nan")
    order = np.argsort(-values, kind="stable")
    ranked, hits = values[order], np.cumsum(truth[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    precision = hits[last] / (last + 1)
    gained = np.diff(np.concatenate([[0], hits[last]])) / positives
    return float(np.sum(gained * precision))


def _judged(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], Values]:
    known, values = np.asarray(labels), np.asarray(scores, np.float64)
    if known.shape != values.shape or known.ndim != 1:
        raise DataError(
            f"{known.shape} labels and {values.shape} importances: one of each a segment is needed"
        )
    kept = known >= 0
    if not np.isfinite(values[kept]).all():
        raise DataError("an importance is not finite; an explanation that knows nothing gives zeros")
    return known[kept] == 1, values[kept]
