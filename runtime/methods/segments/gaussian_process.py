"""The default surrogate: linear in the segments, with coefficients that are smooth over time.

Log-odds y = b + X w + e of masks X [n, M], with a Gaussian-process prior w ~ N(0, s K) over the segments'
places and noise e ~ N(0, v). Scale s / v and the length of K are those of the largest marginal likelihood,
b is free; over how far K follows a mask (`expectation.py`) the posterior is averaged, weighted by marginal
likelihood. The posterior of w is the importance and its uncertainty (Rasmussen, Williams, "Gaussian
Processes for Machine Learning", 2006, sections 2.1 and 5.4; Hoeting et al., "Bayesian Model Averaging:
A Tutorial", 1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from ....forks import fork_waits
from ...values.arrays import Values
from .expectation import Belief, beliefs_of
from .masks import Masks

# Lengths of the prior in segments of time, and in bands; 0: segments that know nothing of each other.
LENGTHS = (0.0, 0.7, 1.2, 2.0, 3.5, 6.0)
ROUGH_LENGTHS = (0.0, 1.2, 3.5)
_BAND_LENGTHS = (0.0, 1.5)
# Share of the prior's variance that single segments have for themselves.
_OWN = 0.1
# Candidates of s / v, times the number of segments.
_RATIOS = np.logspace(-3.0, 4.0, 29)


@dataclass(frozen=True)
class Pieces:
    """Where the coefficients lie: pieces of time, a whole number of segments long each, by bands.

    Attributes:
        lengths: [T] of each piece, in segments, all 1 where every segment is for itself.
        bands: F.

    """

    lengths: npt.NDArray[np.int64]
    bands: int = 1

    @classmethod
    def uniform(cls, stretches: int, bands: int = 1) -> Pieces:
        """The places of T single segments by F bands."""
        return cls(np.ones(stretches, np.int64), bands)

    @property
    def centres(self) -> tuple[float, ...]:
        """Centre of each piece, in segments."""
        return tuple((np.cumsum(self.lengths) - 0.5 * self.lengths).tolist())

    @property
    def sizes(self) -> Values:
        """Length [T F] of every coefficient's piece, in segments."""
        return np.repeat(self.lengths, self.bands).astype(np.float64)

    @property
    def scales(self) -> tuple[float, ...]:
        """What lengths of the prior are counted in: segments, and the median piece where that is longer."""
        median = float(np.median(self.lengths))
        return (1.0, median) if median > 1.0 else (1.0,)


@dataclass(frozen=True)
class Posterior:
    """What is known of the coefficients.

    mean [M], covariance [M, M]; noise: variance v of a single answer; smoother: [n, n] with
    predictions = mean(y) + smoother (y - mean(y)); length: chosen length of the prior, in segments; scale:
    [M] deviations of the prior, of a mean square of 1, where there is a mask
    """

    mean: Values
    covariance: Values
    noise: float
    smoother: Values
    length: float
    scale: Values | None = None


@fork_waits
def posterior(
    masks: Masks,
    values: Values,
    places: Pieces,
    lengths: Sequence[float] = LENGTHS,
    expected: Values | None = None,
) -> Posterior:
    """The posterior of w, given log-odds `values` [n] of `masks` [n, M].

    Args:
        masks: [n, M], True where a segment is kept.
        values: [n] log-odds.
        places: Where the coefficients lie.
        lengths: Candidates of the prior's length, in segments; 0 alone is Bayesian ridge regression.
        expected: [M], 0 or more, where evidence is expected (`expectation.py`); None: anywhere.

    """
    # A piece of independent segments varies as the root of its length.
    weight = np.sqrt(places.sizes)
    design = masks.astype(np.float64) * weight
    design -= design.mean(axis=0)
    target = values - values.mean()
    shapes = [
        (length, across)
        for length in _lengths(lengths, places)
        for across in (_BAND_LENGTHS if places.bands > 1 else (0.0,))
    ]
    best = [
        min(
            (_Candidate.of(design, target, places, *shape, belief) for shape in shapes),
            key=attrgetter("score"),
        )
        for belief in beliefs_of(expected)
    ]
    return _averaged(best, [one.posterior(design, weight) for one in best])


@fork_waits
def _averaged(candidates: Sequence[_Candidate], posteriors: Sequence[Posterior]) -> Posterior:
    """The mixture of posteriors, weighted by the marginal likelihoods of their priors."""
    scores = np.array([one.score for one in candidates])
    likely = np.exp(scores.min() - scores)
    parts = list(zip((likely / likely.sum()).tolist(), posteriors, strict=True))
    mean = np.asarray(sum(share * one.mean for share, one in parts))
    spreads = [(share, one.covariance + np.outer(one.mean - mean, one.mean - mean)) for share, one in parts]
    squares = [(share, 1.0 if one.scale is None else one.scale**2) for share, one in parts]
    return Posterior(
        mean=mean,
        covariance=np.asarray(sum(share * one for share, one in spreads)),
        noise=sum(share * one.noise for share, one in parts),
        smoother=np.asarray(sum(share * one.smoother for share, one in parts)),
        length=posteriors[int(scores.argmin())].length,
        scale=np.sqrt(sum(share * one for share, one in squares)) if len(parts) > 1 else None,
    )


def _lengths(lengths: Sequence[float], places: Pieces) -> list[float]:
    """The candidates of the prior's length for these places, in segments."""
    if len(places.lengths) < 2:
        return [0.0]
    return sorted({length * scale for length in lengths for scale in places.scales})


@dataclass(frozen=True)
class _Candidate:
    """One length of the prior: its negative log marginal likelihood, and what a posterior needs."""

    score: float
    ratio: float
    noise: float
    length: float
    belief: Belief
    root: Values
    spread: Values
    vectors: Values
    projected: Values

    @classmethod
    @fork_waits
    def of(
        cls,
        design: Values,
        target: Values,
        places: Pieces,
        length: float,
        across: float,
        belief: Belief,
    ) -> _Candidate:
        """The candidate at its best s / v; `design` [n, M] and `target` [n] are centred."""
        root = belief.root(prior_root(places.centres, places.bands, length, across))
        spread, vectors, projected = _decompose(design @ root, target)
        score, ratio, noise = _most_likely(spread, projected, target)
        return cls(score, ratio, noise, length, belief, root, spread, vectors, projected)

    @fork_waits
    def posterior(self, design: Values, weight: Values) -> Posterior:
        """Its posterior of the coefficients, each times its `weight` [M]; `design` [n, M] as in `of`."""
        shrunk = self.ratio / (1.0 + self.ratio * self.spread)
        directions = self.root @ self.vectors
        mean = directions @ (shrunk * self.projected)
        # What no mask has touched keeps its prior.
        prior = self.noise * self.ratio * (self.root @ self.root.T)
        covariance = (directions * (self.noise * (shrunk - self.ratio))) @ directions.T + prior
        half = design @ directions
        return Posterior(
            mean=mean * weight,
            covariance=covariance * np.outer(weight, weight),
            noise=self.noise,
            smoother=(half * shrunk) @ half.T + 1.0 / len(design),
            length=self.length,
            scale=self.belief.scale,
        )


@fork_waits
def _decompose(half: Values, target: Values) -> tuple[Values, Values, Values]:
    """Eigenvalues [r] and vectors U [M, r] of A^T A for A [n, M], and U^T A^T y, by the smaller side."""
    if half.shape[1] <= half.shape[0]:
        spread, vectors = np.linalg.eigh(half.T @ half)
        spread = np.maximum(spread, 0.0)
        return spread, vectors, vectors.T @ (half.T @ target)
    spread, left = np.linalg.eigh(half @ half.T)
    real = spread > 1e-9 * max(float(spread[-1]), 1e-12)
    spread, left = spread[real], left[:, real]
    root = np.sqrt(spread)
    return spread, (half.T @ left) / root, root * (left.T @ target)


@fork_waits
def _most_likely(spread: Values, projected: Values, target: Values) -> tuple[float, float, float]:
    """Negative log marginal likelihood, s / v and v at the best of the candidate ratios.

    spread [r]: eigenvalues of A^T A, projected [r]: U^T A^T y. v is profiled out.
    """
    degrees = len(target) - 1
    total = float(target @ target)
    scale = max(float(spread.sum()) / max(1, len(spread)), 1e-12)
    ratios = _RATIOS / scale
    grown = 1.0 + ratios[:, None] * spread
    left = total - (ratios[:, None] * projected**2 / grown).sum(axis=1)
    left = np.maximum(left, 1e-9 * total + 1e-18)
    scores = 0.5 * degrees * np.log(left / degrees) + 0.5 * np.log(grown).sum(axis=1)
    best = int(scores.argmin())
    return float(scores[best]), float(ratios[best]), float(left[best]) / degrees


@lru_cache(maxsize=64)
@fork_waits
def prior_root(centres: tuple[float, ...], bands: int, length: float, across: float) -> Values:
    """R [M, M] with R R^T = K: a squared-exponential kernel over time and bands, and a share of its own."""
    kernel = np.kron(_kernel(np.array(centres), length), _kernel(np.arange(bands), across))
    kernel = (1.0 - _OWN) * kernel + _OWN * np.eye(len(kernel))
    root = np.asarray(np.linalg.cholesky(kernel), np.float64)
    root.flags.writeable = False
    return root


def _kernel(at: npt.NDArray[np.generic], length: float) -> Values:
    if length == 0.0:
        return np.eye(len(at))
    distance = np.subtract.outer(at, at) / length
    return np.asarray(np.exp(-0.5 * distance**2))
