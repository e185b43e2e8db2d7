"""Bootstrap intervals over source recordings, and paired differences.

Clips cut from one recording are not independent: what is drawn again is the recording, with all its
clips (cluster bootstrap; Davison & Hinkley 1997, section 3.8). Intervals are percentile intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
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

    @property
    def clear_of_zero(self) -> bool:
        """Whether zero lies outside the interval; False where there is none."""
        return self.low > 0.0 or self.high < 0.0

    def to_dict(self) -> dict[str, float | int | None]:
        """JSON-ready; null for NaN."""
        ends = {"estimate": self.estimate, "low": self.low, "high": self.high}
        return {
            **{name: None if np.isnan(value) else float(value) for name, value in ends.items()},
            "count": self.count,
            "groups": self.groups,
        }


def bootstrap(
    values: npt.ArrayLike,
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
    *,
    statistic: Statistic = np.mean,
    repeats: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The statistic of `values` [n] and its interval, drawing whole groups with replacement.

    groups: [n] the source recording of each value; None: each value stands for itself
    statistic: from values [m] to a number; the mean is computed from the groups' sums, any other is
        called `repeats` times
    level: share of the distribution inside the interval, 0..1
    Raises ValueError where values and groups differ in length, or repeats or level make no sense.
    """
    found = np.asarray(values, np.float64).reshape(-1)
    if groups is not None and len(groups) != len(found):
        raise ValueError(f"{len(found)} values, but {len(groups)} groups")
    if repeats < 1 or not 0.0 < level < 1.0:
        raise ValueError(
            f"{repeats} repeats at level {level:g}: give one or more, and a level between 0 and 1"
        )
    known = ~np.isnan(found)
    found = found[known]
    if groups is None:
        index, count = np.arange(len(found)), len(found)
    else:
        names, index = np.unique(np.asarray(groups)[known], return_inverse=True)
        index, count = index.reshape(-1), len(names)
    if not len(found):
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    estimate = float(statistic(found))
    if count < 2:
        return Interval(estimate, np.nan, np.nan, len(found), count)
    random = np.random.default_rng(seed)
    draw = _means if statistic is np.mean else _statistics
    drawn = draw(found, index, count, repeats, random, statistic)
    tail = 0.5 * (1.0 - level)
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return Interval(estimate, float(low), float(high), len(found), count)


def paired(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
    *,
    repeats: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The mean difference a - b of the same clips, a, b [n], and its interval; a pair with a NaN is left out.

    Raises ValueError where a and b are not pairs.
    """
    first, second = np.asarray(a, np.float64).reshape(-1), np.asarray(b, np.float64).reshape(-1)
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} values and {len(second)} values are no pairs")
    return bootstrap(first - second, groups, repeats=repeats, seed=seed, level=level)


def _means(
    values: Values,
    index: npt.NDArray[np.intp],
    count: int,
    repeats: int,
    random: np.random.Generator,
    _: Statistic,
) -> Values:
    """Means of `repeats` draws: sums and sizes of the groups drawn, without gathering their values."""
    sums = np.bincount(index, weights=values, minlength=count)
    sizes = np.bincount(index, minlength=count)
    step = max(1, _DRAWS // count)
    parts = []
    for start in range(0, repeats, step):
        drawn = random.integers(count, size=(min(step, repeats - start), count))
        parts.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return np.concatenate(parts)


def _statistics(
    values: Values,
    index: npt.NDArray[np.intp],
    count: int,
    repeats: int,
    random: np.random.Generator,
    statistic: Statistic,
) -> Values:
    """Any statistic of `repeats` draws."""
    order = np.argsort(index, kind="stable")
    members = np.split(values[order], np.cumsum(np.bincount(index, minlength=count))[:-1])
    return np.array(
        [
            float(statistic(np.concatenate([members[k] for k in random.integers(count, size=count)])))
            for _ in range(repeats)
        ]
    )
