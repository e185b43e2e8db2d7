"""Where in a window the method `prototypes` looks, and how much each place speaks for the target.

Of a head that is linear after pooling, every cell p of the feature map has a share of logit k,
e(p) = W'_k . Zhat(p), whatever U is (with attention pooling, times the cell's weight). With
m(f) = mean_t e(t, f), what a place has of it beyond what the sound sustains is

    square          e(t, f) - m(f)        time, time_frequency  mean_f e(t, f) - mean e
    frequency       m(f)                  window                mean e

In square and time_frequency what speaks for the target counts as far as the place stands out: times the share
of its energy that the sound does not sustain, |Z - F|^2 / |Z|^2 or |T - mean T|^2 / |T|^2. Of the places at
which channels peak, those with the most are looked up; those in the outermost frames, where the model hears
padding beside the sound, only if there are no others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import PrototypeIndexError
from ....forks import fork_waits
from ....prototypes_index.views import LOCALISES_TIME, Grid, Peaks, View, embed, localised, peaks_of
from ...bundle.manifest import FeatureMapSpec
from ...values.arrays import FloatArray
from ...values.lazy import lazy_property
from .prototype import Place

# The embeddings graph: its taps [B, ...] in the order of `FeatureMapSpec.taps` -> its outputs by name.
Embed = Callable[..., Mapping[str, FloatArray]]

# Constant maps from which a linear head's weights are read: of each channel, the one that shows it best.
_PROBES = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place of the input that may be looked up.

    weight: its evidence; frame, row: of the feature map, as far as the view localises time and frequency
    channels: those that peak there
    """

    weight: float
    vector: FloatArray
    place: Place
    channels: tuple[int, ...]
    frame: int
    row: int


@dataclass(frozen=True)
class ChannelWeights:
    """What the embeddings graph says of the target's logit.

    Attributes:
        shares: By view [C], what each channel weighs: its positive contribution, or where there is none, its
            positive value at its peak.
        contributions: [C] of the square view's channels; None where channels are localisation only.
        slope: [C] how a channel's value in the square map speaks for the target.

    """

    shares: Mapping[View, FloatArray]
    contributions: FloatArray | None
    slope: FloatArray


class FoldedHead:
    """The head as the embeddings graph folds it: read once, then kept."""

    def __init__(self) -> None:
        self._weights: FloatArray | None = None

    def weights_of(
        self,
        spec: FeatureMapSpec,
        run: Embed,
        taps: Sequence[FloatArray],
        outputs: Mapping[str, FloatArray],
        peaks: Mapping[View, Peaks],
        target: int,
    ) -> ChannelWeights:
        """What channels weigh in one window for the class index `target`.

        run: the embeddings graph; taps, outputs: what it was fed and gave; peaks: of the views
        """
        contributions: FloatArray | None = None
        if spec.additive or spec.gradient:
            contributions = outputs["contributions"][0, target]
        shares = {view: _shares(contributions, peaks[view].scores) for view in peaks}
        if spec.additive:
            if self._weights is None:
                self._weights = head_weights(run, taps)
            return ChannelWeights(shares, contributions, self._weights[target])
        # A channel's share lies where the channel is large.
        square = peaks["square"].scores
        weights = _shares(contributions, square)
        slope = np.divide(weights, square, out=np.zeros_like(weights), where=square > 1e-6)
        return ChannelWeights(shares, contributions, slope)


def head_weights(run: Embed, taps: Sequence[FloatArray]) -> FloatArray:
    """W' [K, C] of a linear head, but for a common factor: contributions over values, of constant maps.

    Pooling gives of a constant map its value, or with max + mean twice that.
    """
    z = taps[0]
    # Of either sign and far from each other (multiples of the golden ratio), without numpy.random, whose
    # import costs a first explanation 5 ms.
    numbers = np.arange(1, _PROBES * z.shape[1] + 1) * 0.6180339887498949
    constant = (2.0 * (numbers % 1.0) - 1.0).astype(np.float32).reshape(_PROBES, -1, 1, 1)
    probes = np.ascontiguousarray(np.broadcast_to(constant, (_PROBES, *z.shape[1:])))
    outputs = run(probes, *(np.repeat(other, _PROBES, axis=0) for other in taps[1:]))
    values, contributions = outputs["square"][:, 0, 0], outputs["contributions"]
    best = np.abs(values).argmax(axis=0)
    every = np.arange(len(best))
    shown = values[best, every, None]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        weights: FloatArray = (contributions[best, :, every] / shown).T
    if not np.isfinite(weights).all():
        raise PrototypeIndexError(
            "the embeddings graph shows no weight of a channel, though its head is said to be linear; build "
            "the prototypes again with earmark index --rebuild"
        )
    return np.ascontiguousarray(weights)


class WindowPlaces:
    """One window's places: `maps` are its real ones, `span` its start and duration in seconds."""

    @fork_waits
    def __init__(
        self,
        maps: Mapping[str, FloatArray],
        peaks: Mapping[View, Peaks],
        weights: ChannelWeights,
        attention: FloatArray | None,
        *,
        grid: Grid,
        span: tuple[float, float],
    ) -> None:
        """attention: [T, F], the cells' weights where there are any.

        Raises PrototypeIndexError where the head's weights are so large that a cell's contribution overflows.
        """
        self.peaks, self.weights, self.span = peaks, weights, span
        self._maps, self._grid = maps, grid
        with np.errstate(over="ignore", invalid="ignore"):
            self._evidence: FloatArray = maps["square"] @ weights.slope
            if attention is not None:
                self._evidence = self._evidence * attention[: len(self._evidence)]
            # Sums and differences of it are taken as well.
            bounded = np.isfinite(np.abs(self._evidence).sum())
        if not bounded:
            raise PrototypeIndexError(
                "embeddings.onnx: what cells of the feature map contribute is not finite; export the bundle "
                "again"
            )

    @lazy_property
    def _sustained(self) -> FloatArray:
        """What each band sustains, m [F]."""
        sustained: FloatArray = self._evidence.mean(axis=0)
        return sustained

    @lazy_property
    def _cells(self) -> FloatArray:
        """What a cell has beyond what its band sustains, as far as it stands out, [T, F]."""
        return _outstanding(self._evidence - self._sustained, self._maps["square"], self._maps["frequency"])

    @lazy_property
    def _passages(self) -> FloatArray:
        """What a passage has beyond the mean, [T]."""
        over_time = self._evidence.mean(axis=1)
        passages: FloatArray = over_time - over_time.mean()
        return passages

    @lazy_property
    def _outstanding_passages(self) -> FloatArray:
        """The same as far as they stand out, [T]."""
        time = self._maps["time"]
        return _outstanding(self._passages, time, time.mean(axis=0))

    def _at(self, view: View, frame: npt.NDArray[Any], row: npt.NDArray[Any]) -> FloatArray:
        """Evidence of cells."""
        if view == "square":
            evidence: FloatArray = self._cells[frame, row]
        elif view == "frequency":
            evidence = self._sustained[row]
        elif view == "window":
            evidence = np.full(len(frame), self._evidence.mean(), np.float32)
        else:
            evidence = (self._passages if view == "time" else self._outstanding_passages)[frame]
        return evidence

    def best(self, view: View, count: int, most_channels: int) -> list[Candidate]:
        """The `count` places of the view with the most evidence; of equals, the first channel's."""
        peaks, shares = self.peaks[view], self.weights.shares[view]
        evidence = self._at(view, peaks.frame, peaks.row)
        if view in LOCALISES_TIME:
            outermost = (peaks.frame == 0) | (peaks.frame == len(self._evidence) - 1)
            if not outermost.all():
                evidence[outermost] = -np.inf
        # One number a place: what the view does not pin down does not count.
        cell = (
            peaks.row
            if view == "frequency"
            else peaks.frame
            if view == "time"
            else peaks.frame * self._evidence.shape[1] + peaks.row
        )
        chosen: list[int] = []
        evidence_of: list[tuple[float, tuple[int, ...]]] = []
        while len(chosen) < count:
            channel = int(evidence.argmax())
            weight = float(evidence[channel])
            if weight == -np.inf:
                break
            members = np.flatnonzero(cell == cell[channel])
            ranked = members[np.argsort(-shares[members], kind="stable")[:most_channels]]
            chosen.append(channel)
            evidence_of.append((weight, tuple(ranked.tolist())))
            evidence[members] = -np.inf
        which = np.array(chosen)
        vectors, places = self.vectors(view, which), self.at(view, which)
        return [
            Candidate(weight, vector, place, members, frame, row)
            for (weight, members), vector, place, frame, row in zip(
                evidence_of,
                vectors,
                places,
                peaks.frame[which].tolist(),
                peaks.row[which].tolist(),
                strict=True,
            )
        ]

    def vectors(self, view: View, channels: npt.NDArray[Any]) -> FloatArray:
        """Vectors [n, D] of where these channels [n] peak."""
        return embed(view, self._maps, self._peak_cells(view, channels))

    def at(self, view: View, channels: npt.NDArray[Any]) -> list[Place]:
        """The places at which these channels [n] peak."""
        regions = self._grid.regions(localised(view, self._peak_cells(view, channels)), *self.span)
        return [Place(*region) for region in regions.tolist()]

    def _peak_cells(self, view: View, channels: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        peaks = self.peaks[view]
        cells = np.empty((len(channels), 2), dtype=np.int32)
        cells[:, 0], cells[:, 1] = peaks.frame[channels], peaks.row[channels]
        return cells


def places_of(maps: Mapping[str, FloatArray], views: Sequence[View]) -> dict[View, Peaks]:
    """The peaks of the views, square's among them in any case: contributions are by its channels."""
    return peaks_of(dict.fromkeys(("square", *views)), maps)


def _outstanding(evidence: FloatArray, vectors: FloatArray, common: FloatArray) -> FloatArray:
    """Evidence [T, ...]; where positive, times the share of vectors' energy [T, ..., C] beyond the common."""
    whole = np.einsum("...c,...c->...", vectors, vectors)
    shared = np.einsum("t...c,...c->t...", vectors, common)
    beyond = whole - 2 * shared + np.einsum("...c,...c->...", common, common)
    share = np.clip(beyond, 0.0, None) / np.maximum(whole, 1e-12)
    weighted: FloatArray = np.where(evidence > 0.0, evidence * share, evidence)
    return weighted


def _shares(contributions: FloatArray | None, scores: FloatArray) -> FloatArray:
    """Positive contributions; where there are none, positive scores."""
    if contributions is not None and float(contributions.max(initial=0.0)) > 0.0:
        return np.maximum(contributions, 0.0)
    return np.maximum(scores, 0.0)
