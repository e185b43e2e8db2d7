"""What a sound is like, by its spectrum and its changes alone: statistics that no model had to learn.

Of the short-time transform that an explanation has computed anyway, and of the sound itself. All are relative
to the loudest, hence the same at any gain. Their groups, in the order of the vector:

- timbre: mean, deviation and mean step over time of 12 cepstral coefficients of 40 mel bands;
- rhythm: shares of the power of envelopes in octaves of modulation: of four groups of bands from 0.3 Hz to
  25 Hz;
- the same of the sound, in blocks of 5 ms up to 100 Hz (envelopes are amplitudes to the power of 0.3);
- spectrum: centroid, spread, flatness, rolloff and peaks of the bands, weighted by energy;
- texture: level and onsets over time; in five regions, how unevenly a frame's power is spread within a band,
  log(E[P^2] / E[P]^2): log 2 for noise, 0 for a click, more for tones.

In single precision, by which they cost a third of what they would in double.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ....forks import fork_waits
from ....prototypes_index.acoustics import SCORES, Statistics
from ...bundle.manifest import Manifest
from ...inference.scores import scores_of
from ...inference.window import Window
from ...values.arrays import FloatArray
from ...values.mel import mel_edges

_BANDS, _CEPSTRUM, _GROUPS = 40, 12, 4
# Bands within which power is compared, and how many of them are one region.
_WIDE_BANDS, _REGION = 10, 2
_BLOCK_S = 0.005
# Edges of the octaves of modulation.
_OCTAVES_HZ = (0.3, 0.6, 1.2, 2.4, 4.8, 9.6, 19.2, 25.0)
_FINE_OCTAVES_HZ = (0.3, 0.6, 1.2, 2.4, 4.8, 9.6, 19.2, 38.4, 76.8, 100.0)
# Seconds that modulations are analysed over at the least.
_SECONDS = 5.0
# Powers below the loudest, in dB: of cells, of envelopes, and of frames in which there is something.
_FLOOR_DB, _ENVELOPE_FLOOR_DB, _ACTIVE_DB = -80.0, -70.0, -40.0
# In bands in which there is nothing all bins are alike.
_EVEN = np.float32(1e-9)
# How far a peak stands above the bands beside it, in dB.
_PEAK_DB = np.float32(3.0)
# Multiply-adds of a product from which OpenBLAS takes several threads.
_ONE_THREAD = 1 << 18
_TINY, _LEAST = np.float32(1e-12), np.finfo(np.float32).tiny


def statistics_of(window: Window, real: int, manifest: Manifest) -> Statistics:
    """Those of the first `real` samples of a window, and its highest scores; of a regression none."""
    vector = acoustics_of(
        window.amplitude, window.waveform[:real], manifest.sample_rate, manifest.analysis.hop
    )
    labels, scores = np.full(SCORES, -1, np.int32), np.zeros(SCORES, np.float32)
    if manifest.task != "regression":
        given = scores_of(window.logits, manifest.task)
        best = np.argsort(-given, kind="stable")[:SCORES]
        labels[: len(best)], scores[: len(best)] = best, given[best]
    return Statistics(vector, labels, scores)


def acoustics_of(amplitude: FloatArray, sound: FloatArray, rate: int, hop: int) -> FloatArray:
    """The statistics [sum(SIZES)] of a sound [N], N >= 1, whose listenable STFT has the magnitudes [T, F].

    Finite for finite sound; frames beyond its end are left out.
    """
    power = np.square(amplitude[: 1 + len(sound) // hop])
    narrow, wide = _bands(power.shape[1], rate)
    bands = _product(narrow, power.T)
    bands /= max(bands.max(), _LEAST)
    level = _decibels(bands)
    active = np.flatnonzero(level.max(axis=0) > _ACTIVE_DB)
    if len(active) < 3:
        active = np.arange(len(power))
    # Every other frame says enough of the bins within bands.
    uneven = _unevenness(power[active[::2]], wide)
    groups = (
        _timbre(level[:, active]),
        _rhythm(level, sound, rate, rate / hop),
        *_spectrum(bands, level, uneven),
    )
    return np.concatenate(groups).astype(np.float32)


@lru_cache(maxsize=8)
def _bands(bins: int, rate: int) -> tuple[FloatArray, FloatArray]:
    """The weights of narrow and of wide bands, [bands, bins] each."""
    return _triangles(_BANDS, bins, rate), _triangles(_WIDE_BANDS, bins, rate)


@fork_waits
def _product(weights: FloatArray, values: FloatArray) -> FloatArray:
    """Weights [m, k] times values [k, T].

    By products so small that BLAS gives them one thread: several would wait for each other, turning, wherever
    other work runs on the machine, and take fifty times as long.
    """
    step = max(1, _ONE_THREAD // weights.size)
    product = np.empty((len(weights), values.shape[1]), np.float32)
    for start in range(0, values.shape[1], step):
        part = slice(start, start + step)
        np.matmul(weights, values[:, part], out=product[:, part])
    return product


def _triangles(bands: int, bins: int, rate: int) -> FloatArray:
    """From 0 Hz to half the rate, equally wide in mel."""
    edges = mel_edges(bands + 1, rate / 2)
    hz = np.linspace(0.0, rate / 2, bins)[:, None]
    rising, falling = (hz - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - hz) / np.diff(edges)[1:]
    return np.ascontiguousarray(np.maximum(0.0, np.minimum(rising, falling)).T, np.float32)


def _decibels(power: FloatArray) -> FloatArray:
    """Of powers 0..1, down to the floor."""
    level: FloatArray = 10.0 * np.log10(power + _TINY)
    return np.maximum(level, _FLOOR_DB, out=level)


@lru_cache(maxsize=1)
def _cosines() -> FloatArray:
    """[cepstral coefficients, bands]."""
    bands = np.arange(_BANDS) + 0.5
    cosines = np.cos(np.pi / _BANDS * np.outer(np.arange(_CEPSTRUM), bands))
    return np.asarray(np.sqrt(2.0 / _BANDS) * cosines, np.float32)


def _timbre(level: FloatArray) -> FloatArray:
    """Of active frames [M, T] in dB."""
    cepstrum = _product(_cosines(), level)
    steps = np.abs(cepstrum[:, 1:] - cepstrum[:, :-1]).sum(axis=1) / np.float32(cepstrum.shape[1])
    return np.concatenate([*_mean_and_deviation(cepstrum), steps])


def _mean_and_deviation(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Over time, of values [n, T]."""
    means = values.mean(axis=1)
    apart = values - means[:, None]
    return means, np.sqrt(np.einsum("nt,nt->n", apart, apart) / np.float32(values.shape[1]))


def _rhythm(level: FloatArray, sound: FloatArray, rate: int, frames_hz: float) -> FloatArray:
    """Of bands [M, T] in dB, and of the sound."""
    # Amplitudes to the power of 0.3.
    envelopes = np.exp(np.maximum(level, _ENVELOPE_FLOOR_DB) * np.float32(0.015 * np.log(10.0)))
    groups = _product(_groups(), envelopes)
    block = min(max(1, round(_BLOCK_S * rate)), len(sound))
    blocks = sound[: len(sound) // block * block].reshape(1, -1, block)
    energy = np.einsum("gtn,gtn->gt", blocks, blocks)
    # The power of 0.15, which NumPy takes longer for than for both of these.
    fine = np.exp(np.float32(0.15) * np.log(energy / max(energy.max(), _LEAST) + np.float32(1e-7)))
    coarse = _modulations(groups, frames_hz, _OCTAVES_HZ)
    return np.concatenate([coarse, _modulations(fine, rate / block, _FINE_OCTAVES_HZ)])


@lru_cache(maxsize=1)
def _groups() -> FloatArray:
    """Means [groups, bands] of neighbours."""
    neighbours = _BANDS // _GROUPS
    return np.asarray(np.repeat(np.eye(_GROUPS), neighbours, axis=1) / neighbours, np.float32)


@fork_waits
def _modulations(envelopes: FloatArray, rate_hz: float, edges_hz: tuple[float, ...]) -> FloatArray:
    """Log shares of the octaves in the power of envelopes [G, T] at a rate, octave after octave."""
    count = envelopes.shape[1]
    centred = (envelopes - envelopes.mean(axis=1, keepdims=True)) * _hann(count)
    length = 1 << (max(count, round(_SECONDS * rate_hz)) - 1).bit_length()
    spectrum = np.fft.rfft(centred, length, norm="forward")
    strength = np.square(spectrum.real) + np.square(spectrum.imag)
    octaves = strength @ _octaves(length, rate_hz, edges_hz)
    # Of an envelope that does not change, no octave has a share.
    shares = octaves / (octaves.sum(axis=1, keepdims=True) + _TINY)
    logs: FloatArray = np.log(shares + np.float32(1e-4))
    return logs.T.ravel()


@lru_cache(maxsize=8)
def _hann(count: int) -> FloatArray:
    return np.hanning(count + 2)[1:-1].astype(np.float32)


@lru_cache(maxsize=8)
def _octaves(length: int, rate_hz: float, edges_hz: tuple[float, ...]) -> FloatArray:
    """Which bins of a transform lie in which octave: [bins, octaves], 0 or 1."""
    octave = np.searchsorted(edges_hz, np.fft.rfftfreq(length, 1.0 / rate_hz), side="right") - 1
    return np.asarray(octave[:, None] == np.arange(len(edges_hz) - 1), np.float32)


@lru_cache(maxsize=1)
def _moments() -> FloatArray:
    """Weights [3, M]: the powers 0, 1, 2 of the place of a band, 0..1."""
    return np.asarray((np.arange(_BANDS) / _BANDS) ** np.arange(3)[:, None], np.float32)


@fork_waits
def _spectrum(bands: FloatArray, level: FloatArray, uneven: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Spectrum and texture: of bands [M, T], the same in dB, and the unevenness [W, t] of some frames."""
    energy, first, second = _product(_moments(), bands)
    centroid, square = first / (energy + _TINY), second / (energy + _TINY)
    levels = _decibels(energy / max(energy.max(), _LEAST))
    onsets = np.zeros_like(levels)
    np.maximum(level[:, 1:] - level[:, :-1], 0.0).mean(axis=0, out=onsets[1:])
    values = np.stack(
        [
            centroid,
            np.sqrt(np.maximum(square - centroid**2, 0.0)),
            level.mean(axis=0) - levels,
            _share(np.cumsum(bands, axis=0) < np.float32(0.85) * energy),
            _share(level[1:-1] > np.maximum(level[:-2], level[2:]) + _PEAK_DB),
        ]
    )
    weights = energy / (energy.sum() + _TINY)
    means = values @ weights
    deviations = np.sqrt(np.square(values - means[:, None]) @ weights)
    regions = np.concatenate(_mean_and_deviation(uneven)).reshape(-1, _REGION).mean(axis=1)
    texture = np.concatenate([*_mean_and_deviation(np.stack([levels, onsets])), regions])
    return np.concatenate([means, deviations]), texture


def _share(holds: npt.NDArray[np.bool_]) -> FloatArray:
    """Of every column [n, T], in how much of it something holds; n is below 256."""
    counts = holds.view(np.uint8).sum(axis=0, dtype=np.uint8)
    return np.asarray(counts / np.float32(len(holds)), np.float32)


def _unevenness(power: FloatArray, bands: FloatArray) -> FloatArray:
    """log(E[P^2] / E[P]^2) over the bins of each band, [W, T]; power [T, F]."""
    power = power / max(power.max(), _LEAST)
    width = bands.sum(axis=1, keepdims=True) + _TINY
    first, second = _product(bands, power.T) / width, _product(bands, np.square(power).T) / width
    # Both as if every bin had this much more.
    uneven: FloatArray = np.log((second + 2.0 * _EVEN * first + _EVEN**2) / np.square(first + _EVEN))
    return uneven
