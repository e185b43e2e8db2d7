"""Pitches of components: the fundamental of a column's harmonics, and how the pitch of a track moves."""

from __future__ import annotations

import numpy as np

from ...values.arrays import FloatArray, Values

# Frequencies (first, last) in Hz between which a sound moves.
Glide = tuple[float, float]

# A fundamental lies between these; below the first, in bins, the window's main lobe fills the gaps.
_LOWEST_BINS, _HIGHEST_HZ = 3.3, 2000.0
_STEP_BINS = 0.05
# Harmonics looked at; those there must be, and how strong, as a share of the column's largest weight.
_MOST, _FEWEST, _STRONG = 12, 4, 0.08
# How much the harmonics stand out against the gaps between them, 0..1, and their share of the energy.
_CONTRAST, _SHARE = 0.3, 0.6
# A harmonic takes this many bins to either side, or a quarter of the spacing.
_HALF_WIDTH = 1.5
# Frames of a track that count, by their energy against the strongest; how many there must be; how steadily
# their frequency has to move (rank correlation with time).
_AUDIBLE, _FRAMES, _STEADY = 0.02, 5, 0.85


def fundamentals(columns: FloatArray, bin_hz: float) -> FloatArray:
    """The fundamental of each column [F, K] in Hz, 0 where it is no harmonic stack: a comb over frequencies.

    A frequency f scores by C S: C = (a - b) / (a + b) for the mean weight a at n f and b at (n - 1/2) f, and
    the share S of the column's energy within 1.5 bins of n f. The best f counts where C is at least .3, S at
    least .6, and four harmonics or more are there.
    """
    bins, count = columns.shape
    energy = np.square(columns.astype(np.float64))
    whole = energy.sum(axis=0) + 1e-30
    tallest = columns.max(axis=0, initial=0.0) + 1e-30
    places = np.arange(bins)
    best, found = np.zeros(count), np.zeros(count)
    for spacing in np.arange(_LOWEST_BINS, min(_HIGHEST_HZ / bin_hz, (bins - 2) / _FEWEST), _STEP_BINS):
        n = np.arange(1, min(_MOST, int((bins - 2) / spacing)) + 1)
        on, off = _at(columns, n * spacing), _at(columns, (n - 0.5) * spacing)
        contrast = (on.mean(axis=0) - off.mean(axis=0)) / (on.mean(axis=0) + off.mean(axis=0) + 1e-30)
        near = np.abs(places[:, None] - n * spacing).min(axis=1) <= min(_HALF_WIDTH, spacing / 4)
        share = energy[near].sum(axis=0) / whole
        there = (on >= _STRONG * tallest).sum(axis=0) >= _FEWEST
        score = np.where(there & (contrast >= _CONTRAST) & (share >= _SHARE), contrast * share, 0.0)
        better = score > best
        best[better], found[better] = score[better], spacing * bin_hz
    return found.astype(np.float32)


def glide(centroid: Values, energy: Values) -> Glide | None:
    """Between which frequencies (first, last) in Hz a track moves steadily; None where it does not.

    By its frequency [T] in Hz and its energy [T] at each frame; too few loud frames say nothing.
    """
    loud = np.flatnonzero(energy > _AUDIBLE * energy.max(initial=0.0))
    if len(loud) < _FRAMES:
        return None
    pitch = centroid[loud].astype(np.float64)
    ranks = pitch.argsort(kind="stable").argsort(kind="stable")
    if abs(float(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1])) < _STEADY:
        return None
    ends = max(1, len(pitch) // 16)
    return float(np.median(pitch[:ends])), float(np.median(pitch[-ends:]))


def _at(columns: FloatArray, bins: Values) -> Values:
    """The columns between their bins, [n, K], by straight lines."""
    low = np.floor(bins).astype(np.int64)
    part = (bins - low)[:, None]
    between: Values = columns[low] * (1.0 - part) + columns[low + 1] * part
    return between
