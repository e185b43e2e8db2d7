"""Where evidence is expected before the model is asked: a mask, as the prior of the surrogate.

A decoder's mask costs one pass and mostly points at the evidence, but it may be wrong, and it has neither
signs nor log-odds. So it only enters the Gaussian process's prior, w = m u z + d r. With q the mask's mean
in each segment and r the process without it, d_i^2 = 1 - a + a q_i / mean(q) lets importances be larger where
the mask is, and z ~ N(0, 1) lets them follow u = q / rms(q) as a whole. The marginal likelihood of the
answers weighs this against the scale d alone, and against a prior that knows nothing of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...values.arrays import FloatArray, Values
from ..evidence import over_segments
from .grid import SegmentGrid

# The share a of the prior's variance that follows the mask, and the deviation m along it.
_FOLLOWING = ((0.9, 0.0), (0.9, 3.0**0.5))
# A mask of less than this in its largest segment keeps nothing.
_EMPTY = 1e-3


@dataclass(frozen=True)
class Belief:
    """One prior that the marginal likelihood weighs.

    Attributes:
        scale: [M] deviation of each importance, of a mean square of 1; None: all alike.
        along: [M] direction in which they may follow the mask together; None: there is none.

    """

    scale: Values | None = None
    along: Values | None = None

    def root(self, plain: Values) -> Values:
        """A root [M, r] of the covariance of w, from one of the covariance of r, `plain` [M, M]."""
        scaled = plain if self.scale is None else plain * self.scale[:, None]
        return scaled if self.along is None else np.column_stack([scaled, self.along])


def beliefs_of(expected: Values | None) -> Sequence[Belief]:
    """The priors to be weighed: one without a mask, and those that follow `expected` [M], 0 or more."""
    if expected is None:
        return (Belief(),)
    share, unit = expected / expected.mean(), expected / np.sqrt(np.square(expected).mean())
    following = (
        Belief(np.sqrt(1.0 - part + part * share), together * unit if together else None)
        for part, together in _FOLLOWING
    )
    return (Belief(), *following)


def expected_of(mask: FloatArray, hop: int, grid: SegmentGrid) -> Values | None:
    """The mean of a mask [frames, bins] of the listenable STFT in each segment [M]; None where it is empty.

    mask: 0..1, its bins from 0 Hz to half the rate; hop: samples between frames
    """
    hertz = np.linspace(0.0, 0.5 * grid.sample_rate, mask.shape[1])
    owner = np.clip(np.searchsorted(grid.bands_hz, hertz, side="right") - 1, 0, grid.shape[1] - 1)
    step, edges = hop / grid.sample_rate, grid.edges / grid.sample_rate
    columns = [over_segments(_mean(mask[:, owner == band]), step, edges) for band in range(grid.shape[1])]
    expected = np.stack(columns, axis=1).reshape(-1)
    return expected if float(expected.max()) >= _EMPTY else None


def _mean(mask: FloatArray) -> Values:
    """The mean [frames] over bins; zeros where a band is narrower than a bin."""
    return mask.mean(axis=1, dtype=np.float64) if mask.shape[1] else np.zeros(len(mask))
