"""What is known of each component from training, which its name is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...runtime.bundle.manifest import ComponentSpec
from ...runtime.values.arrays import FloatArray

# Part of a column's energy that its band holds, and of an activation's peak that its stretch of time keeps.
_BAND, _STRETCH = 0.75, 0.5
# Separate bands: energies are averaged over so many octaves, or bins to either side where these are more; it
# falls between them to this share of the lesser peak; each has at least this share of the whole energy.
_OCTAVES, _BINS, _VALLEY, _SHARE = 1 / 3, 3, 0.3, 0.2
# A band reaches from one to the other of these shares of its energy.
_EDGES = (0.1, 0.9)


@dataclass
class _Loudest:
    value: float = 0.0
    clip: str = ""
    start_s: float = 0.0
    end_s: float = 0.0


def component_facts(
    dictionary: FloatArray,
    theta: FloatArray,
    labels: list[str],
    *,
    sample_rate: int,
    frame_seconds: float,
    windows: Iterable[tuple[str, float, FloatArray]] = (),
) -> list[ComponentSpec]:
    """Describe each component: peak and bands of its column, its label, the clip that activates it most.

    Args:
        dictionary: W [F, K] >= 0.
        theta: [C, K]; a component's label is the one with its largest theta, none where no theta is positive.
        labels: The C classes.
        sample_rate: Hz.
        frame_seconds: From one frame of the activations to the next.
        windows: (clip, seconds at which the window begins, activations [K, T]); a component keeps the clip
            that activates it most, and the stretch around that moment in which it keeps half of its strength.

    Returns:
        A record for each component, in order.

    """
    bins, count = dictionary.shape
    hz = np.arange(bins) * (sample_rate / 2.0 / (bins - 1))
    loudest = [_Loudest() for _ in range(count)]
    for clip, begins, activations in windows:
        for record, row in zip(loudest, activations, strict=True):
            moment = int(row.argmax())
            if row[moment] > record.value:
                low, high = _around(row, moment)
                record.value, record.clip = float(row[moment]), clip
                record.start_s = round(max(0.0, begins + (low - 0.5) * frame_seconds), 3)
                record.end_s = round(begins + (high + 0.5) * frame_seconds, 3)
    facts = []
    for index, record in enumerate(loudest):
        low, high = _band(dictionary[:, index])
        bands = _bands(dictionary[:, index])
        label = int(theta[:, index].argmax())
        facts.append(
            ComponentSpec(
                peak_hz=round(float(hz[dictionary[:, index].argmax()]), 1),
                bandwidth_hz=round(float(hz[high] - hz[low] + hz[1]), 1),
                bands_hz=tuple((round(float(hz[a]), 1), round(float(hz[b]), 1)) for a, b in bands),
                label=labels[label] if theta[label, index] > 0 else "",
                clip=record.clip,
                start_s=record.start_s,
                end_s=record.end_s,
            )
        )
    return facts


def _around(row: FloatArray, moment: int) -> tuple[int, int]:
    """First and last frame around `moment` that keep half of its value."""
    quiet = np.flatnonzero(row < _STRETCH * row[moment])
    before, after = quiet[quiet < moment], quiet[quiet > moment]
    return (
        int(before[-1]) + 1 if len(before) else 0,
        int(after[0]) - 1 if len(after) else len(row) - 1,
    )


def _band(column: FloatArray) -> tuple[int, int]:
    """First and last bin of the band around the peak that holds most of the energy, grown bin by bin."""
    energy = np.square(column.astype(np.float64))
    wanted = _BAND * energy.sum()
    low = high = int(energy.argmax())
    held = energy[low]
    while held < wanted:
        below = energy[low - 1] if low else -1.0
        above = energy[high + 1] if high + 1 < len(energy) else -1.0
        if below >= above:
            low -= 1
            held += below
        else:
            high += 1
            held += above
    return low, high


def _bands(column: FloatArray) -> list[tuple[int, int]]:
    """First and last bin of the two separate bands in which the energy lies, or of the one."""
    from scipy.signal import find_peaks, peak_prominences

    energy = np.square(column.astype(np.float64))
    padded = np.pad(_averaged(energy), 1)
    peaks, _ = find_peaks(padded)
    separate = peaks[peak_prominences(padded, peaks)[0] >= (1.0 - _VALLEY) * padded[peaks]] - 1
    valleys = [a + int(padded[a + 1 : b + 2].argmin()) for a, b in pairwise(separate)]
    parts = [
        (first, last)
        for first, last in pairwise([0, *valleys, len(energy)])
        if energy[first:last].sum() >= _SHARE * energy.sum()
    ]
    return [_edges(energy, *part) for part in (parts if len(parts) == 2 else [(0, len(energy))])]


def _averaged(energy: FloatArray) -> FloatArray:
    """The mean over a part of an octave around each bin."""
    places = np.arange(len(energy))
    half = np.maximum(np.rint(places * (2 ** (0.5 * _OCTAVES) - 1)), _BINS).astype(np.int64)
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, len(energy))
    summed = np.concatenate([[0.0], np.cumsum(energy)])
    averaged: FloatArray = (summed[high] - summed[low]) / (high - low)
    return averaged


def _edges(energy: FloatArray, first: int, last: int) -> tuple[int, int]:
    """The bins between which most of the energy of bins `first` to before `last` lies."""
    shares = np.cumsum(energy[first:last])
    low, high = np.searchsorted(shares, shares[-1] * np.array(_EDGES))
    return first + int(low), first + int(high)
