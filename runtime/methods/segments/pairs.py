"""Evidence that occurs more than once: which stretches stand in for each other, and which need each other.

A linear surrogate cannot tell "one or the other" from "a little of both". So the stretches that it finds are
removed one by one and two by two, all else in place. With d(S) the loss of log-odds without S, the
interaction of A and B is

    I = d(A) + d(B) - d(A and B):  -d(A and B) where either suffices, d(A and B) where both are needed,
                                    0 where they add up.

Where removing all stretches found leaves most of what the masks could take away, there is more: a round of
masks with these stretches removed throughout finds the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ...values.arrays import Values
from .gaussian_process import Pieces
from .masks import Masks
from .result import LOWEST_R2
from .surrogates import Fit, smooth

# Stretches of time as first and last + 1 piece of the partition.
Stretch = tuple[int, int]

# Calls of a search that may go into this; most stretches; fills that an answer is the mean of.
SHARE, MOST, _FILLS = 6, 3, 2
# Masks of a round without what was found; even.
_ROUND = 24
# A stretch has at least this share of the largest magnitude; gaps of so many segments are closed.
_STRONG, _GAP = 0.25, 2
# Removing what was found is enough where it takes this share of what the masks could take away.
_ENOUGH = 0.5
# A stretch that takes less than this share of what the pair takes is none of its two.
_COUNTS = 0.1


@dataclass(frozen=True)
class StretchPair:
    """Two stretches, removed one by one and together.

    Attributes:
        first, second: As borders of pieces.
        without_first, without_second, without_both: Losses of log-odds, each the mean over fills.
        uncertainty: Standard error of the interaction over fills.

    """

    first: Stretch
    second: Stretch
    without_first: float
    without_second: float
    without_both: float
    uncertainty: float


@dataclass(frozen=True)
class SecondLook:
    """Pairs of stretches, and the magnitude [M] that only came out when others were removed."""

    pairs: tuple[StretchPair, ...]
    beyond: Values


# Masks [n, M] over the partition, and draws of them in complementary pairs.
Ask = Callable[[Masks], Values]
Draw = Callable[[int], Masks]


def look_again(
    fit: Fit,
    places: Pieces,
    ask: Ask,
    draw: Draw,
    *,
    full: float,
    span: float,
    calls: int,
    expected: Values | None = None,
) -> SecondLook:
    """Remove the stretches that a fit over the partition finds, one by one and two by two.

    full: log-odds of the whole sound; span: what masks took away at the most; calls: how often may be asked
    """
    look = _Look(places, ask, full, calls)
    found = stretches_of(fit, places)[:MOST]
    beyond = np.zeros_like(fit.magnitude)
    while found and len(found) < MOST and look.left >= _FILLS + _ROUND:
        if look.loss(found).mean() >= _ENOUGH * span:
            break
        more = _without(found, places, draw, look, expected)
        fresh = [] if more is None else [one for one in stretches_of(more, places) if _apart(one, found)]
        if more is None or not fresh:
            break
        found = [*found, fresh[0]]
        beyond = np.maximum(beyond, more.magnitude)
    return SecondLook(tuple(_pairs(found, look)), beyond)


class _Look:
    """What the model says without some stretches; each set of them is asked about once."""

    def __init__(self, places: Pieces, ask: Ask, full: float, calls: int) -> None:
        self._places, self._ask, self._full = places, ask, full
        self._known: dict[frozenset[Stretch], Values] = {}
        self.left = calls

    def ask(self, masks: Masks) -> Values:
        """Log-odds [n] of masks [n, M]."""
        self.left -= len(masks)
        return self._ask(masks)

    def loss(self, stretches: Sequence[Stretch]) -> Values:
        """Losses of log-odds without these stretches, one a fill."""
        key = frozenset(stretches)
        if key not in self._known:
            mask = self.kept(stretches)[None]
            # One by one: sounds that are asked about together share a fill.
            self._known[key] = self._full - np.concatenate([self.ask(mask) for _ in range(_FILLS)])
        return self._known[key]

    def affords(self, sets: Sequence[Sequence[Stretch]]) -> bool:
        """Whether there are calls left for the losses of these sets."""
        return self.left >= _FILLS * sum(frozenset(one) not in self._known for one in sets)

    def kept(self, stretches: Sequence[Stretch]) -> npt.NDArray[np.bool_]:
        """The mask [M] that removes them."""
        mask = np.ones((len(self._places.lengths), self._places.bands), np.bool_)
        for first, last in stretches:
            mask[first:last] = False
        return mask.reshape(-1)


def stretches_of(fit: Fit, places: Pieces) -> list[Stretch]:
    """The stretches of time that speak for the target, the strongest first."""
    power = fit.magnitude.reshape(-1, places.bands).sum(axis=1)
    importance = fit.importance.reshape(-1, places.bands).sum(axis=1)
    if not float(power.max()) > 0.0:
        return []
    strong = np.flatnonzero(power >= _STRONG * power.max())
    parts = np.split(strong, np.flatnonzero(np.diff(strong) > 1 + _GAP) + 1)
    spans = [(int(part[0]), int(part[-1]) + 1) for part in parts]
    weights = {span: float(importance[slice(*span)].sum()) for span in spans}
    return sorted((span for span in spans if weights[span] > 0.0), key=lambda span: -weights[span])


def _without(
    found: Sequence[Stretch], places: Pieces, draw: Draw, look: _Look, expected: Values | None
) -> Fit | None:
    """A fit of a round of masks without what was found; None where it predicts too little."""
    kept = look.kept(found)
    masks = draw(_ROUND // 2) & kept
    values = look.ask(masks)
    there = None if expected is None else expected * kept
    fit = smooth(masks, values, places, expected=there if there is not None and there.any() else None)
    return fit if fit.r2 >= LOWEST_R2 else None


def _apart(one: Stretch, found: Sequence[Stretch]) -> bool:
    return all(one[1] <= first or one[0] >= last for first, last in found)


def _pairs(found: Sequence[Stretch], look: _Look) -> list[StretchPair]:
    """Every pair of the stretches, in order of time, as far as the calls go."""
    pairs: list[StretchPair] = []
    for chosen in combinations(found, 2):
        first, second = sorted(chosen)
        sets = ([first], [second], [first, second])
        if not look.affords(sets):
            break
        one, other, both = (look.loss(some) for some in sets)
        if not _both_count(float(one.mean()), float(other.mean()), float(both.mean())):
            continue
        spread = float((one + other - both).std(ddof=1)) / _FILLS**0.5
        pairs.append(
            StretchPair(first, second, float(one.mean()), float(other.mean()), float(both.mean()), spread)
        )
    return pairs


def _both_count(one: float, other: float, both: float) -> bool:
    """Whether each of two stretches takes something away, alone or where the other is gone already."""
    return min(max(one, both - other), max(other, both - one)) >= _COUNTS * max(one, other, both) > 0.0
