"""Which masks to ask the model about, and when to stop asking.

Rounds of masks: the first are drawn at random, the next chosen from a random pool by what they would
teach; rounds end at the budget, or earlier once the segments' ranks are settled.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from ....errors import MethodError
from ....forks import fork_waits
from ...values.arrays import FloatArray, Values
from .answers import LOG_ODDS, Answers, CountedModel, LogOdds
from .gaussian_process import LENGTHS, ROUGH_LENGTHS, Pieces
from .grid import SegmentGrid
from .masks import Masks, Perturbation, batch_of, draw_masks
from .pairs import SHARE, StretchPair, look_again
from .settings import FEWEST_CALLS, Progress, SegmentSettings
from .surrogates import Fit, draw_coalitions, forest, kernel_shap, least_squares, ridge, smooth


@dataclass(frozen=True)
class _Pace:
    """Masks of the first round and of every later one, both even; the fewest before a search ends itself."""

    first: int
    further: int
    least: int


# No search ends by itself before a second round has borne out the first. A mask knows much of it beforehand.
_PACE, _PACE_WITH_MASK = _Pace(64, 32, 96), _Pace(16, 8, 40)
# Pairs that a chosen pair is the best of.
_POOL = 256
# More segments than this are looked into from coarse to fine.
MOST_SEGMENTS = 128
# Pieces of the coarsest partition; how many of them are split each time, and into how many.
_PIECES, _SPLIT, _PARTS = 48, 12, 4
# Batches of coalitions between two looks at the deadline.
_BATCHES_AT_ONCE = 8
# Tiles that a surrogate is fitted to; the time grows with their square.
MOST_TILES = 4096
# Squared correlation of what was found with what is to be found, at which asking ends.
SETTLED = 0.9


@dataclass(frozen=True)
class SearchResult:
    """A surrogate fitted to a clip.

    Attributes:
        grid: The segments that it speaks of.
        full: Log-odds of the whole clip.
        own_seconds, scoring_seconds: The explainer's and the model's.
        constant: No mask changed the answer.
        from_mask: A mask said where evidence is expected.
        pairs: Stretches that were removed one by one and together, as borders of the grid's stretches.

    """

    fit: Fit
    grid: SegmentGrid
    full: float
    calls: int
    own_seconds: float
    scoring_seconds: float
    constant: bool
    from_mask: bool = False
    pairs: tuple[StretchPair, ...] = ()


def search(
    waveform: FloatArray,
    sample_rate: int,
    log_odds: LogOdds,
    settings: SegmentSettings,
    seed: int,
    progress: Progress | None = None,
    stopped: Callable[[], bool] = lambda: False,
    answers: Answers = LOG_ODDS,
    expected: Values | None = None,
) -> SearchResult:
    """Explain one clip [N] that a model takes as a whole.

    log_odds: sounds [B, N] to log-odds [B], or what `answers` says; progress: called with (done, budget)
    stopped: True ends the questions after the first round; the fit is of what was asked so far
    expected: [M], 0 or more, where evidence is expected, as by a mask; None: anywhere. Only the surrogate
        smooth has a use for it.
    Raises AudioError where it is too short, MethodError where it has more tiles than can be told apart.
    """
    start = time.perf_counter()
    asked = CountedModel(log_odds, settings.budget, progress, answers)
    grid = SegmentGrid.of(waveform.size, sample_rate, settings)
    if grid.shape[1] > 1 and grid.size > MOST_TILES:
        raise MethodError(
            f"segments: {grid.shape[0]} segments of {grid.shape[1]} bands are {grid.size} tiles, and at most "
            f"{MOST_TILES} can be told apart: give longer segments or fewer bands"
        )
    random = np.random.default_rng(seed)
    if settings.preset:
        fit, full, constant = _reference(waveform, grid, asked, settings, random, seed, stopped)
        own = time.perf_counter() - start - asked.seconds
        return SearchResult(fit, grid, full, asked.calls, own, asked.seconds, constant)
    perturbation = Perturbation(waveform, grid, settings, random)
    one = _MaskSearch(asked, grid, perturbation, settings, random, expected)
    full = float(asked(waveform[None])[0])
    fit = one.shapley(full, stopped) if settings.surrogate == "kernel_shap" else one.rounds(seed, stopped)
    pairs: tuple[StretchPair, ...] = ()
    if _pairs_wanted(settings, grid) and not one.constant and not stopped():
        fit, pairs = one.second_look(fit, full, seed, stopped)
    return SearchResult(
        fit=fit,
        grid=replace(grid, edges=grid.edges[one.borders]),
        full=full,
        calls=asked.calls,
        own_seconds=time.perf_counter() - start - asked.seconds,
        scoring_seconds=asked.seconds,
        constant=one.constant,
        from_mask=one.from_mask,
        pairs=pairs,
    )


def _pairs_wanted(settings: SegmentSettings, grid: SegmentGrid) -> bool:
    """Whether stretches are to be removed one by one and together."""
    # Of pieces that are still being split, stretches would be too long.
    few = 1 < grid.shape[0] <= MOST_SEGMENTS
    return settings.pairs and settings.surrogate == "smooth" and few


def _reference(
    waveform: FloatArray,
    grid: SegmentGrid,
    asked: CountedModel,
    settings: SegmentSettings,
    random: np.random.Generator,
    seed: int,
    stopped: Callable[[], bool],
) -> tuple[Fit, float, bool]:
    """The published method: its fit, the log-odds of the clip, and whether no mask changed them.

    Stopped, the fit is of the masks answered by then, at least `FEWEST_CALLS`.
    """
    from .bolanos2025 import distances_of, draw_reference_masks, fit_reference, perturb

    masks = draw_reference_masks(random, grid.size)
    size = settings.batch or batch_of(waveform.size)
    values, distances = [], []
    for start in range(0, len(masks), size):
        if start >= FEWEST_CALLS and stopped():
            break
        sounds = perturb(random, waveform, grid, masks[start : start + size], settings.fill)
        distances.append(distances_of(waveform, sounds))
        values.append(asked(sounds))
    answers = np.concatenate(values)
    surrogate = "forest" if settings.forest else settings.surrogate
    fit = fit_reference(surrogate, masks[: len(answers)], answers, np.concatenate(distances), seed)
    return fit, float(answers[0]), asked.answers.constant(answers)


class _MaskSearch:
    """The masks asked about so far, over a partition of the grid that grows finer."""

    def __init__(
        self,
        asked: CountedModel,
        grid: SegmentGrid,
        perturbation: Perturbation,
        settings: SegmentSettings,
        random: np.random.Generator,
        expected: Values | None = None,
    ) -> None:
        self._asked, self._grid, self._perturbation = asked, grid, perturbation
        self._expected = expected if settings.surrogate == "smooth" else None
        self._pace = _PACE if self._expected is None else _PACE_WITH_MASK
        # Calls kept back for pairs of stretches; what they leave is for masks again.
        kept_back = settings.calls // SHARE if _pairs_wanted(settings, grid) else 0
        self._budget = settings.calls - kept_back
        self._settings, self._random = settings, random
        stretches = grid.shape[0]
        whole = stretches <= MOST_SEGMENTS or settings.surrogate != "smooth"
        pieces = stretches if whole else _PIECES
        # borders [P + 1]: the pieces of the partition, as indices into the grid's stretches.
        self.borders = np.rint(np.linspace(0, stretches, pieces + 1)).astype(np.int64)
        # At how many calls the partition is next split.
        parts = 1 + math.ceil(math.log(stretches / pieces) / math.log(_PARTS) - 1e-9)
        self._levels = [settings.calls * level // parts for level in range(1, parts)]
        self._masks = np.zeros((0, pieces * grid.shape[1]), np.bool_)
        self._values = np.zeros(0)

    @property
    def places(self) -> Pieces:
        """Where the pieces lie."""
        return Pieces(np.diff(self.borders), self._grid.shape[1])

    @property
    def from_mask(self) -> bool:
        """Whether it is known where evidence is expected."""
        return self._expected is not None

    @property
    def constant(self) -> bool:
        """Whether no mask has changed the answer."""
        return len(self._values) > 0 and self._asked.answers.constant(self._values)

    def _on_pieces(self) -> Values | None:
        """Where evidence is expected, averaged over each piece of the partition."""
        if self._expected is None:
            return None
        lengths = np.diff(self.borders)
        summed = np.add.reduceat(self._expected.reshape(-1, self._grid.shape[1]), self.borders[:-1], axis=0)
        return np.asarray(summed / lengths[:, None]).reshape(-1)

    def rounds(self, seed: int, stopped: Callable[[], bool]) -> Fit:
        """Ask round by round, up to the budget or until stopped."""
        self._ask(self._drawn(min(self._pace.first, self._budget - self._asked.calls) // 2))
        return self._further_rounds(seed, stopped)

    def _further_rounds(self, seed: int, stopped: Callable[[], bool]) -> Fit:
        settings, asked, pace = self._settings, self._asked, self._pace
        # Only a surrogate that knows what it does not know can choose, split and stop.
        guided = settings.surrogate in {"smooth", "ridge"}
        lengths: Sequence[float] = ROUGH_LENGTHS
        while (left := self._budget - asked.calls) >= 2 and not stopped():
            # On the way a rough prior serves, chosen once; the answer is fitted with all of them.
            fit = self._fit(seed, lengths) if guided else None
            if fit is not None:
                lengths = (fit.length,)
                if self._due():
                    self._split(fit)
                    fit = self._fit(seed, ROUGH_LENGTHS)
                    lengths = (fit.length,)
                elif settings.early_stop and asked.calls >= pace.least and not self._levels and settled(fit):
                    break
            self._ask(self._chosen(min(pace.further, left) // 2, fit))
        return self._fit(seed)

    def second_look(
        self, fit: Fit, full: float, seed: int, stopped: Callable[[], bool]
    ) -> tuple[Fit, tuple[StretchPair, ...]]:
        """Remove the stretches of a fit one by one and together; calls that this leaves go into masks again.

        Returns the fit, and pairs of stretches.
        """
        unsettled = self._budget - self._asked.calls < 2
        look = look_again(
            fit,
            self.places,
            self._answers,
            self._drawn,
            full=full,
            span=full - float(self._values.min()),
            calls=self._settings.calls - self._asked.calls,
            expected=self._on_pieces(),
        )
        if unsettled:
            self._budget = self._settings.calls
            fit = self._further_rounds(seed, stopped)
        return replace(fit, magnitude=np.maximum(fit.magnitude, look.beyond)), look.pairs

    def shapley(self, full: float, stopped: Callable[[], bool]) -> Fit:
        """KernelSHAP on coalitions of its own kind; stopped, on those answered by then."""
        empty = float(self._asked(self._perturbation.sounds(np.zeros((1, self._grid.size), np.bool_)))[0])
        pairs = (self._settings.calls - self._asked.calls) // 2
        masks, weights = draw_coalitions(self._random, pairs, self._grid.size)
        step = _BATCHES_AT_ONCE * self._perturbation.batch
        for start in range(0, len(masks), step):
            if start and stopped():
                break
            self._ask(masks[start : start + step])
        weights = None if weights is None else weights[: len(self._values)]
        return kernel_shap(self._masks, self._values, full, empty, weights)

    def _fit(self, seed: int, lengths: Sequence[float] = LENGTHS) -> Fit:
        kind, places = self._settings.surrogate, self.places
        if kind == "smooth":
            return smooth(self._masks, self._values, places, lengths, self._on_pieces())
        if kind == "forest":
            return forest(self._masks, self._values, places, seed)
        how = {"ridge": ridge, "least_squares": least_squares}[kind]
        return how(self._masks, self._values, places)

    def _drawn(self, pairs: int) -> Masks:
        shape = (len(self.borders) - 1, self._grid.shape[1])
        return draw_masks(self._random, pairs, shape, self._settings.windows, self._settings.shares)

    def _chosen(self, pairs: int, fit: Fit | None) -> Masks:
        """The pairs that, one after the other, would lessen the uncertainty most."""
        if fit is None or fit.covariance is None or not self._settings.active:
            return self._drawn(pairs)
        pool = self._drawn(_POOL)
        picked = choose(pool[::2], fit.covariance, fit.noise, pairs)
        return np.stack([pool[::2][picked], pool[1::2][picked]], axis=1).reshape(2 * pairs, -1)

    def _ask(self, masks: Masks) -> None:
        """Have the model answer to `masks` [n, M] of the partition, and remember what it says."""
        answers = self._answers(masks)
        self._masks = np.concatenate([self._masks, masks])
        self._values = np.concatenate([self._values, answers])

    def _answers(self, masks: Masks) -> Values:
        """What the model says [n] of `masks` [n, M] of the partition, a batch at a time.

        While it thinks about one batch, a thread makes the sounds of the next, in the same order as ever.
        """
        fine = self._on_grid(masks)
        size = self._perturbation.batch
        batches = [fine[start : start + size] for start in range(0, len(fine), size)]
        answers: list[Values] = []
        with ThreadPoolExecutor(1, "earmark-segments") as ahead:
            made: list[Future[FloatArray]] = []
            for batch in [*batches, None]:
                sounds = made.pop().result() if made else None
                if batch is not None:
                    made.append(ahead.submit(self._perturbation.sounds, batch))
                if sounds is not None:
                    answers.append(self._asked(sounds))
        return np.concatenate([np.zeros(0), *answers])

    def _on_grid(self, masks: Masks) -> Masks:
        """Masks over the partition as masks over the grid."""
        bands = self._grid.shape[1]
        pieces = masks.reshape(len(masks), -1, bands)
        return np.repeat(pieces, np.diff(self.borders), axis=1).reshape(len(masks), -1)

    def _due(self) -> bool:
        """Whether this level of the partition has had its share of the calls."""
        return bool(self._levels) and self._asked.calls >= self._levels[0]

    def _split(self, fit: Fit) -> None:
        """Split the pieces that matter most; the answers so far hold for the finer partition as well."""
        self._levels.pop(0)
        lengths = np.diff(self.borders)
        magnitude = fit.magnitude.reshape(len(lengths), -1).max(axis=1) * lengths
        magnitude[lengths < 2] = -1.0
        counts = np.ones(len(lengths), np.int64)
        for index in np.argsort(-magnitude, kind="stable")[:_SPLIT].tolist():
            counts[index] = min(_PARTS, int(lengths[index]))
        pieces = [
            np.rint(np.linspace(low, high, count + 1)).astype(np.int64)[:-1]
            for low, high, count in zip(self.borders[:-1], self.borders[1:], counts.tolist(), strict=True)
        ]
        self.borders = np.append(np.concatenate(pieces), self.borders[-1])
        masks = self._masks.reshape(len(self._masks), len(counts), -1)
        self._masks = np.repeat(masks, counts, axis=1).reshape(len(masks), -1)


def settled(fit: Fit) -> bool:
    """Whether more masks would hardly change the ranks.

    With m the importances and u their uncertainties, var(m) / (var(m) + mean(u^2)) is the squared
    correlation to be expected between the importances found and those an endless budget would find.
    """
    variance = float(fit.importance.var())
    return variance > SETTLED * (variance + float(np.square(fit.uncertainty).mean()))


@fork_waits
def choose(pool: Masks, covariance: Values, noise: float, pairs: int) -> list[int]:
    """Indices of masks [n, M] out of `pool` that together lessen the uncertainty of a linear model most.

    Greedy: the mask whose prediction is most uncertain under the covariance [M, M], given those chosen
    before; that is the largest gain in log-determinant (D-optimality). noise: variance of an answer.
    """
    signs = pool.astype(np.float64) - 0.5
    reach = signs @ covariance
    spread = np.einsum("ij,ij->i", reach, signs)
    picked: list[int] = []
    for _ in range(min(pairs, len(pool))):
        best = int(spread.argmax())
        picked.append(best)
        # A pair is asked, two answers that differ by twice the mask's effect: half the noise of one.
        scale = 1.0 / (0.5 * noise + reach[best] @ signs[best] + 1e-12)
        shared = reach @ signs[best]
        reach = reach - np.outer(shared, reach[best]) * scale
        spread = np.where(np.isneginf(spread), spread, spread - shared**2 * scale)
        spread[best] = -np.inf
    return picked
