"""Where the evidence lies: when, in which band, how much of the spectrogram; and a picture's worth of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..bundle.manifest import AnalysisSpec, Manifest
from ..values.arrays import FloatArray, Values

# A picture needs no more columns than this, however long the sound.
_COLUMNS = 1200
# Frames whose evidence reaches this share of the strongest frame's count as evidence.
_STRONG = 0.5
# Gaps shorter than this are no silence to a listener.
_GAP_S = 0.05
# Stretches shorter than this are noise of single frames, unless they hold the strongest.
_SHORTEST_S = 0.03
# A segment that less than this of a value reaches into is beyond it.
_HARDLY = 1e-6


@dataclass(frozen=True)
class Overview:
    """Amplitude and mask [columns, bins] at a picture's resolution: maxima of the frames of a column."""

    amplitude: FloatArray
    mask: FloatArray


@dataclass(frozen=True)
class Located:
    """Where evidence lies: when, (start_s, end_s); in which band, (low_hz, high_hz); and a picture of it."""

    spans: tuple[tuple[float, float], ...]
    band: tuple[float, float]
    overview: Overview


class Evidence:
    """Sums over a sound's windows. Evidence of a cell: mask times log-magnitude, M log1p(|S|)."""

    def __init__(self, frames: int, bins: int) -> None:
        self._over_time = np.zeros(frames, np.float32)
        self._over_bins = np.zeros(bins, np.float64)
        self._per_column = max(1, -(-frames // _COLUMNS))
        columns = -(-frames // self._per_column)
        self._amplitude = np.zeros((columns, bins), np.float32)
        self._mask = np.zeros((columns, bins), np.float32)

    def weigh(self, first: int, evidence: FloatArray) -> None:
        """See evidence [T, F] from frame `first` on."""
        evidence = evidence[: len(self._over_time) - first]
        here = slice(first, first + len(evidence))
        self._over_time[here] = np.maximum(self._over_time[here], evidence.sum(1))
        self._over_bins += evidence.sum(0, dtype=np.float64)

    def show(self, first: int, values: FloatArray, *, of_mask: bool = False) -> None:
        """See what a picture shows from frame `first` on [T, F]: amplitude, or the mask on it."""
        shown = self._mask if of_mask else self._amplitude
        values = values[: len(self._over_time) - first]
        if self._per_column == 1:
            here = slice(first, first + len(values))
            np.maximum(shown[here], values, out=shown[here])
        elif len(values):
            columns = (first + np.arange(len(values))) // self._per_column
            starts = np.flatnonzero(np.diff(columns, prepend=-1))
            which = columns[starts]
            shown[which] = np.maximum(shown[which], np.maximum.reduceat(values, starts))

    def band(self, bin_hz: float) -> tuple[float, float]:
        """The central 80 % of the evidence over frequency, (low_hz, high_hz)."""
        total = self._over_bins.sum()
        if total <= 0.0:
            return (0.0, (len(self._over_bins) - 1) * bin_hz)
        share = np.cumsum(self._over_bins) / total
        low, high = int(np.searchsorted(share, 0.1)), int(np.searchsorted(share, 0.9))
        return (low * bin_hz, min(high, len(share) - 1) * bin_hz)

    @property
    def overview(self) -> Overview:
        """For a picture."""
        return Overview(self._amplitude, self._mask)

    def located(self, spec: AnalysisSpec, rate: int, samples: int) -> Located:
        """All three, of a sound of so many samples at the model's rate."""
        spans = spans_of(self._over_time, spec.hop / rate, samples / rate)
        return Located(spans, self.band(rate / spec.n_fft), self.overview)


def spans_of(over_time: FloatArray, frame_s: float, end_s: float) -> tuple[tuple[float, float], ...]:
    """Stretches (start_s, end_s) in which `over_time` [T] >= 0 is strong, frames `frame_s` apart, in order.

    Strong is half of the strongest frame; short gaps are closed, specks left out.
    """
    peak = float(over_time.max(initial=0.0))
    if peak <= 0.0:
        return ()
    strong = np.concatenate([[0], over_time >= _STRONG * peak, [0]]).astype(np.int8)
    edges = np.diff(strong)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    # A frame stands for half a hop around its centre.
    lows = np.maximum(0.0, (starts - 0.5) * frame_s)
    highs = np.minimum(end_s, (ends - 0.5) * frame_s)
    apart = lows[1:] - highs[:-1] > _GAP_S
    lows, highs = lows[np.append(True, apart)], highs[np.append(apart, True)]
    at = float(over_time.argmax()) * frame_s
    return tuple(
        (low, high)
        for low, high in zip(lows.tolist(), highs.tolist(), strict=True)
        # A hair less, so that three frames of 10 ms are 30 ms.
        if high - low >= _SHORTEST_S * 0.999 or low <= min(at, end_s) <= high
    )


def frames_over_segments(over_time: npt.ArrayLike, manifest: Manifest, edges: Values) -> Values:
    """The mean of frames [T] of the listenable STFT within each segment [M] of `edges` [M + 1], seconds."""
    return over_segments(over_time, manifest.analysis.hop / manifest.sample_rate, edges)


def over_segments(values: npt.ArrayLike, step_s: float, edges: Values) -> Values:
    """The mean within each segment [M] of values [T] that stand for `step_s` seconds around t * `step_s`.

    So a value on the border of two segments is half of either. `edges` [M + 1]: seconds, from 0 on; a segment
    beyond the last value takes that.
    """
    some = np.asarray(values, np.float64)
    borders = (np.arange(len(some) + 1) - 0.5) * step_s
    within = np.clip(edges, borders[0], borders[-1])
    lengths = np.diff(within) / step_s
    sums = np.diff(np.interp(within, borders, np.append(0.0, np.cumsum(some))))
    means = np.full(len(lengths), some[-1])
    np.divide(sums, lengths, out=means, where=lengths > _HARDLY)
    # A difference of sums is rounded; no mean lies outside.
    return np.asarray(np.clip(means, some.min(), some.max()))
