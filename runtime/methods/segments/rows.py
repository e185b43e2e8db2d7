"""Rows of a result over a long sound, to which the windows that were looked into add what they have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...audio.lengths import samples_of
from ...values.arrays import Values
from .grid import SegmentGrid
from .result import LOWEST_R2
from .search import SearchResult
from .settings import SegmentSettings


def stretches_of(offsets: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Values:
    """Borders [W + 1] in samples between windows: what lies nearest to a window's centre is its own."""
    centres = 0.5 * (offsets + ends)
    between = 0.5 * (centres[1:] + centres[:-1])
    # Windows that only just meet part where they meet.
    return np.concatenate([[offsets[0]], np.clip(between, offsets[1:], ends[:-1]), [ends[-1]]])


def rows_of(
    spans: npt.NDArray[np.int64], looked: Sequence[int], settings: SegmentSettings, rate: int
) -> npt.NDArray[np.int64]:
    """Borders in samples of rows over the sound, for windows with these spans [W, 2].

    Where windows `looked` into lie, rows as long as a segment (axis frequency: between the windows' ends);
    elsewhere each window has one, the stretch nearest to its centre.
    """
    length = max(1, samples_of(settings.segment_seconds, rate))
    runs: list[list[int]] = []
    for number in looked:
        start, end = spans[number].tolist()
        if runs and start <= runs[-1][1]:
            runs[-1][1] = end
        else:
            runs.append([start, end])
    edges = np.unique(np.rint(stretches_of(spans[:, 0], spans[:, 1])).astype(np.int64))
    for start, end in runs:
        inside = (
            np.unique(spans[list(looked)])
            if settings.axis == "frequency"
            else np.append(np.arange(start, end, length), end)
        )
        outside = edges[(edges <= start) | (edges >= end)]
        edges = np.unique(np.concatenate([outside, inside[(inside >= start) & (inside <= end)]]))
    return np.asarray(edges)


class Rows:
    """Rows over a sound, to which every window adds what it has: T stretches by F bands."""

    def __init__(self, edges: npt.NDArray[np.int64], bands: int) -> None:
        self._edges = edges
        shape = (len(edges) - 1, bands)
        self._importance, self._magnitude, self._variance = (np.zeros(shape) for _ in range(3))
        self._windows = np.zeros((len(edges) - 1, 1))

    def add(
        self, span: npt.NDArray[np.int64], share: float, result: SearchResult | None, segment: float
    ) -> None:
        """Divide a window's share by the importances in it; evenly where that is nothing, or unreliable.

        span: its first and last sample; share: of the score of the sound; of a value it may be negative
        result: what a search in the window answered; None where there was none; segment: samples of one
        """
        bands = self._importance.shape[1]
        sure = np.zeros(0) if result is None else _beyond_doubt(result)
        total = float(np.abs(sure).sum())
        if result is None or total <= 0.0:
            # What it may hold is uncertain by all of it.
            edges, even = np.asarray(span), np.full((1, bands), share / bands)
            parts = (even, np.abs(even) * segment / (span[1] - span[0]), np.abs(even))
        else:
            edges, fit = result.grid.edges + span[0], result.fit
            # Signs are the importances' own.
            scale = abs(share) / float(np.abs(fit.importance).sum())
            parts = (
                sure.reshape(-1, bands) * (abs(share) / total),
                fit.magnitude.reshape(-1, bands) * scale,
                fit.uncertainty.reshape(-1, bands) * scale,
            )
        first, last = (
            np.searchsorted(self._edges, span[0], "right") - 1,
            np.searchsorted(self._edges, span[1]),
        )
        here, cuts = slice(first, last), self._edges[first : last + 1]
        seen = np.full((1, 1), float(span[1] - span[0]))
        self._windows[here] += _shared_out(seen, np.asarray(span), cuts) / np.diff(cuts)[:, None]
        self._importance[here] += _shared_out(parts[0], edges, cuts)
        # A magnitude is one of a segment's length already: what counts is how long it lasts.
        lasting = parts[1] * np.diff(edges)[:, None]
        self._magnitude[here] += _shared_out(lasting, edges, cuts) / np.diff(cuts)[:, None]
        self._variance[here] += np.square(_shared_out(parts[2], edges, cuts))

    def columns(self, bands_hz: Values, total: float, rate: int) -> tuple[Values, ...]:
        """What `COLUMNS` names, [T F] each; |importance| sums to `total`, also where windows disagreed."""
        grid = SegmentGrid(self._edges, bands_hz, rate)
        summed = float(np.abs(self._importance).sum())
        scale = total / summed if summed > 0.0 else 0.0
        magnitude = self._magnitude / np.maximum(self._windows, 1.0)
        values = (self._importance, magnitude, np.sqrt(self._variance))
        return (*grid.spans(), *(np.ascontiguousarray(one.reshape(-1) * scale) for one in values))

    def windows(self) -> Values:
        """How many windows look at each [T F]; 1 where a gap between windows leaves less."""
        return np.repeat(np.maximum(self._windows[:, 0], 1.0), self._importance.shape[1])


def _beyond_doubt(result: SearchResult) -> Values:
    """The importances, each less its uncertainty: noise of many segments would outweigh a few that count.

    Zeros where the surrogate is unreliable: it does not know where the score comes from.
    """
    fit = result.fit
    if result.constant or fit.r2 < LOWEST_R2:
        return np.zeros_like(fit.importance)
    beyond = np.abs(fit.importance) - np.nan_to_num(fit.uncertainty)
    return np.asarray(np.sign(fit.importance) * np.maximum(beyond, 0.0))


def _shared_out(values: Values, edges: npt.NDArray[np.int64], cuts: npt.NDArray[np.int64]) -> Values:
    """Amounts [P, F] over the pieces between `edges` as amounts over the pieces between `cuts`."""
    summed = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    return np.stack([np.diff(np.interp(cuts, edges, column)) for column in summed.T], axis=1)
