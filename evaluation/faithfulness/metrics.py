"""The metrics by which a mask is judged: what they compute, in which range, and which direction is better.

Paissan, Ravanelli, Subakan, "Listenable Maps for Audio Classifiers", ICML 2024, section 4.1. With p, q, o
the scores for the sound, its mask-in and its mask-out, and c = argmax p the class explained; every
metric is a number a window, its mean is what tables show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...runtime.values.arrays import FloatArray, Values

Better = Literal["higher", "lower"]

# As in the recipe: no division by zero.
_TINY = 1e-10
# Added to every cell before the Gini index, as quantus does.
_FLOOR = 1e-7


@dataclass(frozen=True)
class MaskedScores:
    """What the classifier says of n windows, and the masks that were put on them.

    full, kept, removed: [n, K] scores (probabilities, 0..1) of the sound, the mask-in and the mask-out
    target: [n] index of the class explained, argmax of `full`
    masks: [n, T, F] 0..1
    task: single_label (scores sum to 1) or multi_label (each label for itself)
    """

    full: FloatArray
    kept: FloatArray
    removed: FloatArray
    target: npt.NDArray[np.intp]
    masks: FloatArray
    task: str = "single_label"

    @property
    def p(self) -> Values:
        """The target's score for the sound, [n]."""
        return _of(self.full, self.target)

    @property
    def q(self) -> Values:
        """The target's score for the mask-in, [n]."""
        return _of(self.kept, self.target)

    @property
    def o(self) -> Values:
        """The target's score for the mask-out, [n]."""
        return _of(self.removed, self.target)


@dataclass(frozen=True)
class Metric:
    """A declared metric.

    key: its name in JSON; name: the short one of tables; low, high: its range (inf: no bound)
    better: the direction in which a mask is better; None where neither is
    formula: one line; compute: from `MaskedScores` to a value a window, [n] float64
    """

    key: str
    name: str
    low: float
    high: float
    better: Better | None
    formula: str
    compute: Callable[[MaskedScores], Values]


def _declared(
    key: str, name: str, low: float, high: float, better: Better | None
) -> Callable[[Callable[[MaskedScores], Values]], Metric]:
    """A metric out of a function whose docstring is its formula."""

    def declare(compute: Callable[[MaskedScores], Values]) -> Metric:
        return Metric(key, name, low, high, better, (compute.__doc__ or "").strip(), compute)

    return declare


@_declared("average_increase", "AI", 0.0, 100.0, "higher")
def _average_increase(judged: MaskedScores) -> Values:
    """100 [p_c < q_c]: whether the mask-in is more surely of the class than the whole, in %."""
    return np.where(judged.p < judged.q, 100.0, 0.0)


@_declared("average_drop", "AD", 0.0, 100.0, "lower")
def _average_drop(judged: MaskedScores) -> Values:
    """100 relu(p_c - q_c) / (p_c + 1e-10): the share of the score that the mask-in loses, in %."""
    return 100.0 * np.maximum(judged.p - judged.q, 0.0) / (judged.p + _TINY)


@_declared("average_gain", "AG", 0.0, 100.0, "higher")
def _average_gain(judged: MaskedScores) -> Values:
    """100 relu(q_c - p_c) / (1 - p_c + 1e-10): the share of what was missing that it gains, in %."""
    return 100.0 * np.maximum(judged.q - judged.p, 0.0) / (1.0 - judged.p + _TINY)


@_declared("faithfulness", "FF", -1.0, 1.0, "higher")
def _faithfulness(judged: MaskedScores) -> Values:
    """p_c - o_c: what the class's score loses when the mask's part is removed."""
    return judged.p - judged.o


@_declared("input_fidelity", "Fid-In", 0.0, 1.0, "higher")
def _input_fidelity(judged: MaskedScores) -> Values:
    """[argmax q = c]; several labels: [q_c >= 0.5] where p_c >= 0.5: the mask-in keeps the decision."""
    agrees = judged.kept.argmax(axis=1) == judged.target
    if judged.task == "multi_label":
        agrees = np.where(judged.p >= 0.5, judged.q >= 0.5, agrees)
    return np.asarray(agrees, np.float64)


@_declared("sparseness", "SPS", 0.0, 1.0, "higher")
def _sparseness(judged: MaskedScores) -> Values:
    """Gini index of abs(M) + 1e-7: sum_i (2 i - n - 1) m_i / (n sum_i m_i), m sorted, i = 1..n."""
    return np.array([gini(mask) for mask in judged.masks], np.float64)


@_declared("complexity", "COMP", 0.0, np.inf, "lower")
def _complexity(judged: MaskedScores) -> Values:
    """Entropy of abs(M) / sum abs(M), in nats: at most log(T F); NaN for an empty mask."""
    return np.array([entropy(mask) for mask in judged.masks], np.float64)


@_declared("area", "area", 0.0, 1.0, None)
def _area(judged: MaskedScores) -> Values:
    """mean(M): the part of the spectrogram that is kept. Rows compare only at about equal area."""
    return np.asarray(judged.masks.mean(axis=(1, 2), dtype=np.float64))


@_declared("average_drop", "AD", 0.0, 100.0 * (1.0 - np.exp(-1.0)), "lower")
def _reference_average_drop(judged: MaskedScores) -> Values:
    """As the recipe computes AD: of the softmax of scores that are probabilities already, so at most 63.2."""
    p, q = (_of(_softmax(scores), judged.target) for scores in (judged.full, judged.kept))
    return 100.0 * np.maximum(p - q, 0.0) / (p + _TINY)


METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        _average_increase,
        _average_drop,
        _average_gain,
        _faithfulness,
        _input_fidelity,
        _sparseness,
        _complexity,
        _area,
    )
}

# What depends on the mask alone, whatever the classifier says of it.
OF_MASK = ("sparseness", "complexity", "area")


def metrics(*, reference: bool = False) -> dict[str, Metric]:
    """The metrics by key. `reference` takes the recipe's AD, for comparison with its tables alone."""
    return {**METRICS, _reference_average_drop.key: _reference_average_drop} if reference else dict(METRICS)


def gini(mask: npt.ArrayLike) -> float:
    """Gini index of abs(mask) + 1e-7, 0 (all cells alike) to nearly 1 (one cell). Hurley & Rickard 2009."""
    cells = np.sort(np.abs(np.asarray(mask, np.float64)).reshape(-1) + _FLOOR)
    rank = 2.0 * np.arange(1, cells.size + 1) - cells.size - 1.0
    return float(rank @ cells / (cells.size * cells.sum()))


def entropy(mask: npt.ArrayLike) -> float:
    """Entropy of abs(mask) / sum in nats; NaN where the mask is empty."""
    cells = np.abs(np.asarray(mask, np.float64)).reshape(-1)
    total = cells.sum()
    if total == 0.0:
        return float("nan")
    share = cells[cells > 0.0] / total
    return float(-(share @ np.log(share)))


def _of(scores: FloatArray, target: npt.NDArray[np.intp]) -> Values:
    """The target's scores [n] out of [n, K]."""
    return scores[np.arange(len(scores)), target].astype(np.float64)


def _softmax(scores: FloatArray) -> FloatArray:
    """Softmax over the last axis, in float64."""
    # Late: scipy.special takes several times as long to import as numpy.
    from scipy.special import softmax

    return np.asarray(softmax(scores.astype(np.float64), axis=-1), np.float32)
