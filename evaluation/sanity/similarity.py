"""How alike two masks of one window are, in the measures of the literature."""

from __future__ import annotations

import numpy as np

from ...runtime.values.arrays import FloatArray, Values

# Side of SSIM's square window in cells, and its constants for values within 0..1 (Wang et al. 2004).
_SIDE = 7
_C1, _C2 = 0.01**2, 0.03**2


def rank_correlation(one: FloatArray, other: FloatArray) -> float:
    """Spearman's rank correlation of all cells, -1..1; NaN where a mask has one value only."""
    from scipy.stats import rankdata

    first, second = (rankdata(mask.ravel()) for mask in (one, other))
    if first[0] == first.max() == first.min() or second.max() == second.min():
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def structural_similarity(one: FloatArray, other: FloatArray) -> float:
    """SSIM of two masks [T, F] within 0..1: mean over windows of 7 x 7 cells (Wang et al. 2004), -1..1.

    NaN where a mask is smaller than such a window.
    """
    from scipy.ndimage import uniform_filter

    if min(one.shape) < _SIDE:
        return float("nan")
    first, second = one.astype(np.float64), other.astype(np.float64)
    # Sample covariance, as in the paper's code.
    unbiased = _SIDE**2 / (_SIDE**2 - 1)

    def mean(values: Values) -> Values:
        filtered: Values = uniform_filter(values, _SIDE)
        return filtered

    a, b = mean(first), mean(second)
    of_a = unbiased * (mean(first * first) - a * a)
    of_b = unbiased * (mean(second * second) - b * b)
    both = unbiased * (mean(first * second) - a * b)
    index = (2 * a * b + _C1) * (2 * both + _C2) / ((a * a + b * b + _C1) * (of_a + of_b + _C2))
    edge = _SIDE // 2
    return float(index[edge:-edge, edge:-edge].mean())


def overlap(one: FloatArray, other: FloatArray) -> float:
    """Sum of the lesser over sum of the greater values, 0..1 (a soft intersection over union)."""
    greater = float(np.maximum(one, other).sum(dtype=np.float64))
    return float(np.minimum(one, other).sum(dtype=np.float64)) / greater if greater else 1.0


def relative_change(one: FloatArray, other: FloatArray) -> float:
    """|M - M'| / |M| in the Frobenius norm, 0 and more: of small changes the largest is max-sensitivity."""
    size = float(np.linalg.norm(one))
    return float(np.linalg.norm(one - other)) / size if size else float("nan")


MEASURES = {
    "rank": rank_correlation,
    "ssim": structural_similarity,
    "overlap": overlap,
    "change": relative_change,
}
