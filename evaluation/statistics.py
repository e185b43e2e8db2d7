"""Bootstrap intervals over source recordings, paired differences, and how well scores rank.

Clips cut from one recording are not independent: what is drawn again is the recording, with all its
clips (cluster bootstrap; Davison & Hinkley 1997, section 3.8). Intervals are percentile intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..runtime.values.arrays import Array, Values

Statistic = Callable[[Values], Any]

# Draws held at once: repeats times groups.
_DRAWS = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its bootstrap interval.

    estimate: the statistic of all values; NaN without any
    low, high: the interval's ends; NaN with fewer than two groups, which say nothing of the spread
    count: values that took part (NaN are left out); groups: source recordings among them
    """

    estimate: float
    low: float
    high: float
    count: int
    groups: int

    def __format__(self, spec: str) -> str:
        """Estimate [low, high], each number by `spec`; the estimate alone where there is no interval."""
        estimate = format(self.estimate, spec)
        return estimate if np.isnan(self.low) else f"{estimate} [{self.low:{spec}}, {self.high:{spec}}]"

    @property
    def clear_of_zero(self) -> bool:
        """Whether zero lies outside the interval; False where there is none."""
        return self.low > 0.0 or self.high < 0.0


def bootstrap(
    values: npt.ArrayLike,
    groups: Sequence[Any] | Array | None = None,
    *,
    statistic: Statistic = np.mean,
    repeats: int = 2000,
    seed: int = 0,
) -> Interval:
    """The statistic of `values` [n] and its 95 % interval, drawing whole groups with replacement.

    groups: [n] the source recording of each value; None: each value stands for itself
    statistic: from values [m] to a number; the mean is computed from the groups' sums, any other is
        called `repeats` times
    Raises ValueError where values and groups differ in length, or repeats are fewer than two.
    """
    numbers = np.asarray(values, np.float64).reshape(-1)
    if groups is not None and len(groups) != len(numbers):
        raise ValueError(f"{len(numbers)} values, but {len(groups)} groups")
    if repeats < 2:
        raise ValueError(f"{repeats} repeats: give two or more")
    known = ~np.isnan(numbers)
    numbers = numbers[known]
    if groups is None:
        index, count = np.arange(len(numbers)), len(numbers)
    else:
        names, index = np.unique(np.asarray(groups)[known], return_inverse=True)
        index, count = index.reshape(-1), len(names)
    if not len(numbers):
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    estimate = float(statistic(numbers))
    if count < 2:
        return Interval(estimate, np.nan, np.nan, len(numbers), count)
    # Late: scipy.stats takes many times as long to import as all else here.
    from scipy import stats

    resample = partial(
        stats.bootstrap,
        n_resamples=repeats,
        batch=max(1, _DRAWS // count),
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    if statistic is np.mean:
        sums, sizes = (
            np.bincount(index, weights=numbers, minlength=count),
            np.bincount(index, minlength=count),
        )
        drawn = resample((sums, sizes), _mean_of_groups, paired=True)
    else:
        order = np.argsort(index, kind="stable")
        members = np.split(numbers[order], np.cumsum(np.bincount(index, minlength=count))[:-1])

        def of_groups(drawn: npt.NDArray[np.intp]) -> float:
            return float(statistic(np.concatenate([members[group] for group in drawn])))

        drawn = resample((np.arange(count),), of_groups, vectorized=False)
    interval = drawn.confidence_interval
    return Interval(estimate, float(interval.low), float(interval.high), len(numbers), count)


def by_recording(values: npt.ArrayLike, records: Sequence[Any], seed: int) -> Interval:
    """The mean of a value for each record, and its interval over the records' source recordings."""
    return bootstrap(values, [one.recording for one in records], seed=seed)


def paired(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    groups: Sequence[Any] | Array | None = None,
    *,
    seed: int = 0,
) -> Interval:
    """The mean difference a - b of the same clips, a, b [n], and its interval; a pair with a NaN is left out.

    Raises ValueError where a and b are not pairs.
    """
    first, second = np.asarray(a, np.float64).reshape(-1), np.asarray(b, np.float64).reshape(-1)
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} values and {len(second)} values are no pairs")
    return bootstrap(first - second, groups, seed=seed)


def _mean_of_groups(sums: Values, sizes: Values, axis: int) -> Values:
    """The mean of all values of the groups drawn, from their sums and sizes along `axis`."""
    return np.asarray(sums.sum(axis=axis) / sizes.sum(axis=axis))


def roc_auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The probability that a true item outranks another, ties counting half (Mann-Whitney U); 0..1.

    labels: [M] 1, 0, or -1 for what is left out; scores: [M] finite. NaN where one of the two is missing.
    """
    wins, pairs = ranked_pairs(*_judged(labels, scores))
    return wins / pairs if pairs else float("nan")


def ranked_pairs(truth: npt.NDArray[np.bool_], values: Values) -> tuple[float, int]:
    """In how many pairs of a true item and another the true one is higher, ties half; how many there are."""
    from scipy.stats import rankdata

    positives = int(truth.sum())
    wins = float(rankdata(values)[truth].sum()) - positives * (positives + 1) / 2
    return wins, positives * (len(truth) - positives)


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
