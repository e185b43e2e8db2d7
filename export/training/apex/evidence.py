"""What raw channels contribute to the logit of the class predicted, window by window; and how U gathers it.

Of a window with pooled v, whose highest logit k has the slope s = dlogit_k / dv (of a linear head W_k), the
contribution of channel c of Zhat = U Z is (U s)_c (U v)_c. However U turns, the sum is s . v: of a linear
head what the logit has beyond the bias. With x_c the contributions as shares of that sum, and the five
largest of them listed, U should leave little in the others:

    rest(U) = mean over windows of sum_{c not listed} |x_c|

The largest alone could be made to exceed the logit, the others taking off again; the absolute values do not
allow that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ....runtime.bundle.manifest import FeatureMapSpec
from ....runtime.methods.prototypes.looking import CHANNELS
from ....runtime.values.arrays import Array, Values

# Of a share; below it the absolute value is rounded off.
_SMOOTH = 1e-3
# Of the scale of a sum: a window in which less speaks for the class is left out.
_LEAST = 1e-6


@dataclass(frozen=True)
class ApexEvidence:
    """Slopes and pooled vectors [windows, C] for the class predicted, where channels speak for it."""

    slopes: Values
    pooled: Values

    @classmethod
    def of(cls, slopes: Array, pooled: Array) -> ApexEvidence | None:
        """Of all windows, those in which channels speak for the class on the whole; None without any."""
        slopes, pooled = slopes.astype(np.float64), pooled.astype(np.float64)
        scale = np.linalg.norm(slopes, axis=1) * np.linalg.norm(pooled, axis=1)
        speak = (slopes * pooled).sum(axis=1) > _LEAST * scale
        return cls(slopes[speak], pooled[speak]) if speak.any() else None

    @property
    def sums(self) -> Values:
        """What the channels of each window contribute together, [windows]; U does not change it."""
        sums: Values = (self.slopes * self.pooled).sum(axis=1)
        return sums

    def shares(self, rotation: Array) -> Values:
        """What each channel of U Z contributes, [windows, C], as a share of the sum."""
        u = rotation.astype(np.float64)
        shares: Values = (self.slopes @ u.T) * (self.pooled @ u.T) / self.sums[:, None]
        return shares

    def listed(self, rotation: Array) -> tuple[float, float]:
        """Means over windows: the share of the sum in the five largest contributions, and that in all others.

        Of the others absolute values count, so that both together exceed 1 where contributions cancel.
        """
        shares = np.sort(self.shares(rotation), axis=1)
        others = max(0, shares.shape[1] - CHANNELS)
        listed, rest = shares[:, others:].sum(axis=1), np.abs(shares[:, :others]).sum(axis=1)
        return float(listed.mean()), float(rest.mean())

    def rest(self, u: Values) -> tuple[float, Values]:
        """What U leaves outside the five largest, absolute values rounded off, and its gradient [C, C]."""
        a, b = self.slopes @ u.T, self.pooled @ u.T
        sums = self.sums[:, None]
        shares = a * b / sums
        count = min(CHANNELS, shares.shape[1])
        least = np.partition(shares, -count, axis=1)[:, -count, None]
        lengths = np.where(shares < least, np.sqrt(shares**2 + _SMOOTH**2), 0.0)
        signs = np.where(shares < least, shares / np.maximum(lengths, _SMOOTH), 0.0)
        pull = signs / sums / len(shares)
        gradient: Values = (pull * b).T @ self.slopes + (pull * a).T @ self.pooled
        return float(lengths.sum(axis=1).mean()), gradient


def pooled_of(z: Array, spec: FeatureMapSpec, taps: Mapping[str, Array]) -> Array:
    """The pooled v of a window, in float64.

    Args:
        z: Its feature map [C, T, F].
        spec: How it is pooled.
        taps: Of the window, [1, ...] each; attention is one of them.

    Returns:
        [1, 1, C], or where each class has its own attention [1, K, C].

    """
    z = z.astype(np.float64)
    if spec.pooling == "attention" and spec.attention is not None:
        weights = taps[spec.attention][0].astype(np.float64)
        weights = weights[None] if weights.ndim == 2 else weights
        attended: Array = np.einsum("ktf,ctf->kc", weights, z)[None]
        return attended
    frames = z.mean(axis=2)
    pooled = frames.mean(axis=1)
    if spec.pooling == "max_mean":
        pooled = pooled + frames.max(axis=1)
    row: Array = pooled[None, None]
    return row
