"""How alike training sounds are to the nearest of *other* recordings: what is usual for a sound of this kind.

A sound is familiar as far as its nearest prototypes are as near as those of training sounds are. Of each
view, the similarities of a sample of training clips to the nearest entry of another recording are kept as
quantiles, so that the similarity of a new sound becomes a share: 0 where it is farther from all training
sounds than any of them is from the others. Over all views, the shares are averaged, and the mean is compared
with the means of the training clips, which gives one share. Measures by statistics alone (`acoustics`) give
two others for each class, of clips held out, and the model's score stands beside them. All are joined as in
Fisher's method, by the sum of log(share + 0.05), to which what the model knows (views, score) gives half. The
class counts that has the highest sum, which is compared with the sums of the training clips.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from .acoustics import MEASURES, Held, Measure
from .views import FloatArray, View, dimension

# Clips of which the queries are kept: those with the smallest ids, which begin with the hash of their sound,
# so that the same clips are chosen in whichever order they come.
MOST_CLIPS = 500
# With fewer clips that have a match in another recording nothing is said.
FEWEST_CLIPS = 20
# Quantiles kept of each distribution, the least and the greatest among them.
_QUANTILES = 101
# What a share of 0 counts as: no single measure decides alone.
_LEAST_SHARE = 0.05
# What counts of logarithms of shares: of the views; of `MEASURES`, of which the score is the model's own.
_VIEWS_WEIGHT, _WEIGHTS = 0.5, (1.0, 1.0, 0.5)
_COLUMN = np.array(_WEIGHTS)[:, None]
# Measures whose shares are those of the training clips; the score is a share as it is.
_RANKED: tuple[Measure, ...] = ("sound", "margin")

Quantiles = Annotated[tuple[float, ...], msgspec.Meta(min_length=2, max_length=1001)]


def query_type(view: View, channels: int) -> np.dtype[Any]:
    """A record of `<view>.queries.npy`: a place of a training clip that an explanation would look up.

    clip: row of the clips table; row: of the feature map, -1 where the view spans all; vector: its embedding
    """
    return np.dtype([("clip", "<i4"), ("row", "<i4"), ("vector", "<f4", (dimension(view, channels),))])


class Queries(msgspec.Struct, frozen=True, eq=False):
    """The places of one sound that are looked up in one view: rows [q] of the map, vectors [q, D]."""

    rows: npt.NDArray[np.int32]
    vectors: FloatArray


class Usual(msgspec.Struct, frozen=True):
    """What is usual among training sounds, as `index_info.json` keeps it.

    Attributes:
        clips: Training clips that it was measured with.
        views: View -> quantiles of the similarity to the nearest of other recordings, ascending.
        overall: Quantiles of the mean of the views' shares, ascending.
        acoustics: Measure -> quantiles over clips held out, ascending; empty where nobody measured them.
            Older indexes have others.
        joint: Quantiles of the sum of logarithms over views and acoustics, ascending; empty with these.

    """

    clips: Annotated[int, msgspec.Meta(ge=1)]
    views: dict[View, Quantiles]
    overall: Quantiles
    acoustics: dict[str, Quantiles] = {}
    joint: tuple[float, ...] = ()

    @classmethod
    def of(
        cls,
        similarities: Mapping[View, Sequence[float]],
        acoustics: Sequence[Held | None] = (),
    ) -> Usual | None:
        """What is usual, by similarities of the same clips [n] in every view; None: they are too few.

        acoustics: the measures of these clips [n], None of a clip without; or nothing
        """
        counts = {len(values) for values in similarities.values()}
        if len(counts) != 1 or min(counts) < FEWEST_CLIPS:
            return None
        views = {view: _quantiles(values) for view, values in similarities.items()}
        shares = [[share(views[view], value) for value in values] for view, values in similarities.items()]
        means = np.mean(shares, axis=0)
        usual = cls(counts.pop(), views, _quantiles(means))
        known = [(mean, one) for mean, one in zip(means.tolist(), acoustics, strict=False) if one is not None]
        if len(known) < FEWEST_CLIPS:
            return usual
        own = np.array([one.measures[:, one.own] for _, one in known])
        measured: dict[str, Quantiles] = {name: _quantiles(own[:, MEASURES.index(name)]) for name in _RANKED}
        usual = msgspec.structs.replace(usual, acoustics=measured)
        sums = [
            _joint(share(usual.overall, mean), usual.acoustic_shares(one.measures)) for mean, one in known
        ]
        return msgspec.structs.replace(usual, joint=_quantiles(sums))

    def shares(self, similarities: Mapping[View, float]) -> dict[View, float]:
        """View -> share 0..1 of the training clips that are less alike to the others."""
        return {
            view: share(self.views[view], one) for view, one in similarities.items() if view in self.views
        }

    def acoustic_shares(self, measures: npt.NDArray[np.float64]) -> dict[Measure, float]:
        """Measure -> share 0..1 of the training clips, held out, less like their class; or the score.

        measures: [M, K] of every class; of these, the one that the sound is most like
        """
        shares = measures.copy()
        for name in _RANKED:
            row = MEASURES.index(name)
            shares[row] = np.interp(shares[row], *_distribution(self.acoustics[name]))
        logs = np.log(shares + _LEAST_SHARE) * _COLUMN
        best = shares[:, logs.sum(axis=0).argmax()]
        return dict(zip(MEASURES, best.tolist(), strict=True))

    def whole(self, shares: Mapping[View, float], acoustics: Mapping[Measure, float] | None = None) -> float:
        """The same over all views, 0..1; acoustics: and by the shares of all measures."""
        views = share(self.overall, sum(shares.values()) / len(shares))
        return share(self.joint, _joint(views, acoustics)) if acoustics else views

    def check(self) -> None:
        """Raise ValueError where numbers are no quantiles."""
        known = self.acoustics.keys() >= set(_RANKED) if self.joint else not self.acoustics
        if not known or len(self.joint) == 1:
            raise ValueError("quantiles of some measures that are not those of all")
        for values in (*self.views.values(), *self.acoustics.values(), self.overall, self.joint):
            if not np.isfinite(values).all() or (np.diff(values) < 0.0).any():
                raise ValueError("quantiles of similarity that do not ascend")


@lru_cache(maxsize=64)
def _distribution(quantiles: Quantiles) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Quantiles, and the share that lies below each."""
    return np.array(quantiles), np.linspace(0.0, 1.0, len(quantiles))


def _joint(views: float, acoustics: Mapping[Measure, float]) -> float:
    """The sum of logarithms of the share of the views and of those of the acoustics."""
    logs = np.log(np.array([views, *(acoustics[name] for name in MEASURES)]) + _LEAST_SHARE)
    return float((logs * (_VIEWS_WEIGHT, *_WEIGHTS)).sum())


def share(quantiles: Sequence[float], value: float) -> float:
    """Which share 0..1 of a distribution lies below `value`; of equal values, half."""
    steps = len(quantiles) - 1
    below, upto = bisect_left(quantiles, value), bisect_right(quantiles, value)
    if below < upto:
        return 0.5 * (below + upto - 1) / steps
    if not 0 < below <= steps:
        return float(below > 0)
    low, high = quantiles[below - 1], quantiles[below]
    return (below - 1 + (value - low) / (high - low)) / steps


def _quantiles(values: npt.ArrayLike) -> tuple[float, ...]:
    ascending = np.quantile(np.asarray(values, np.float64), np.linspace(0.0, 1.0, _QUANTILES))
    return tuple(round(float(one), 6) for one in ascending)
