"""The reference method as it was published, for comparison; its defects are kept.

Bolanos, Pepino, Meza, Ferrer (2025, arXiv 2506.04391), the pooled setting: shares p of .2, .3, .4 by runs
of w = 1, 3, 5 segments, 334 masks of each sampled directly, and the sound itself: 3007 calls.

Defects, as against `perturbation` and `surrogates`:
- runs extend to the right of their start only, so the first segments are hardly ever masked;
- on short clips a run of 5 may not fit into the share, and all masks of that combination are alike;
- a small share is masked, so that one of two events is always left;
- the forest's importances have no sign, its samples are weighted by how much the sound was changed;
- KernelSHAP's masks are not drawn by its kernel, nothing holds the empty coalition, and its constraint
  sets sum(phi) + b to the score of the first perturbed sound instead of the sound's own.
What departs from it: a seed, and closed forms where it minimises numerically.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from ....forks import fork_waits
from ...values.arrays import FloatArray, Values
from .grid import SegmentGrid
from .masks import Masks
from .surrogates import Fit, fitted_forest

SHARES, WINDOWS, EACH = (0.2, 0.3, 0.4), (1, 3, 5), 334
SURROGATES = ("forest", "least_squares", "kernel_shap")


def draw_reference_masks(random: np.random.Generator, segments: int) -> Masks:
    """Masks [1 + 9 * 334, M]: the sound itself, then 334 masks of every combination."""
    rows = [np.ones(segments, np.bool_)]
    for share in SHARES:
        for window in WINDOWS:
            rows += [_mask(random, segments, share, window) for _ in range(EACH)]
    return np.stack(rows)


def _mask(random: np.random.Generator, segments: int, share: float, window: int) -> Masks:
    """One mask: runs at random starts until ceil(M share) segments are masked; what is too much is left."""
    kept = np.ones(segments, np.bool_)
    wanted, masked = int(np.ceil(segments * share)), 0
    for start in random.permutation(segments + 1).tolist():
        if masked >= wanted:
            break
        run = kept[start : start + window]
        more = int(run.sum())
        if masked + more <= wanted:
            run[:] = False
            masked += more
    return kept


def perturb(
    random: np.random.Generator, waveform: FloatArray, grid: SegmentGrid, masks: Masks, fill: str
) -> FloatArray:
    """Sounds [B, N]: zeros, or noise N(mean, U(.1 s, s)) with a deviation of its own in every segment."""
    lengths = np.diff(grid.edges)
    kept = np.repeat(masks, lengths, axis=1)
    if fill == "zeros":
        return np.where(kept, waveform, np.float32(0.0))
    deviation = random.uniform(0.1, 1.0, masks.shape) * float(waveform.std())
    noise = random.standard_normal((len(masks), waveform.size), dtype=np.float32)
    noise *= np.repeat(deviation.astype(np.float32), lengths, axis=1)
    return np.where(kept, waveform, noise + np.float32(waveform.mean()))


@fork_waits
def fit_reference(surrogate: str, masks: Masks, values: Values, distances: Values, seed: int) -> Fit:
    """Importances by one of `SURROGATES`; rows of `masks` [n, M] as drawn.

    values: [n] log-odds; distances: [n] of each sound from the original
    R^2 is that of the fit itself, for the forest out of bag: the reference reports none.
    """
    if surrogate == "forest":
        importance, spread, r2 = fitted_forest(masks, values, seed, distances)
        return Fit(importance, importance, spread, r2, signed=False)
    if surrogate == "kernel_shap":
        return _shap(masks, values)
    design = np.column_stack([np.ones(len(masks)), masks])
    weights = np.linalg.lstsq(design, values, rcond=None)[0]
    return _linear(np.asarray(weights[1:], np.float64), values, np.asarray(design @ weights, np.float64))


@fork_waits
def _shap(masks: Masks, values: Values) -> Fit:
    """Min sum_i c_i (y_i - x_i phi - b)^2 under sum(phi) + b = y_1, which is the wrong row."""
    design = np.column_stack([masks[1:], np.ones(len(masks) - 1)]).astype(np.float64)
    target = values[1:]
    segments = masks.shape[1]
    sizes = masks[1:].sum(axis=1).astype(np.float64)
    sizes = np.clip(sizes, 1.0, segments - 1.0)
    logs = gammaln(segments + 1) - gammaln(sizes + 1) - gammaln(segments - sizes + 1)
    weights = np.exp(-logs + logs.min()) / (sizes * (segments - sizes))
    weights /= weights.mean()
    ones = np.ones((segments + 1, 1))
    gram = design.T @ (design * weights[:, None])
    system = np.block([[gram, ones], [ones.T, np.zeros((1, 1))]])
    right = np.append(design.T @ (weights * target), target[0])
    solved = np.linalg.lstsq(system, right, rcond=None)[0][:-1]
    return _linear(solved[:-1], target, design @ solved)


def _linear(importance: Values, values: Values, predicted: Values) -> Fit:
    total = max(float(((values - values.mean()) ** 2).sum()), 1e-18)
    r2 = 1.0 - float(((values - predicted) ** 2).sum()) / total
    return Fit(importance, importance, np.full(len(importance), np.nan), r2)


def distances_of(waveform: FloatArray, sounds: FloatArray) -> Values:
    """Euclidean distance of each sound [B, N] from the original."""
    return np.asarray(np.sqrt(np.square(sounds - waveform).sum(axis=1, dtype=np.float64)))
