"""What a sound is like, by its spectrum and its changes alone: statistics that no model had to learn.

Of the short-time transform that an explanation has computed anyway, and of the sound itself. All are relative
to the loudest, hence the same at any gain. Their groups, in the order of the vector:

- timbre: mean, deviation and mean step over time of 12 cepstral coefficients of 40 mel bands;
- rhythm: shares of the power of envelopes in octaves of modulation: of four groups of bands from 0.3 Hz to
  25 Hz;
- the same of the sound and of its differences in blocks of 5 ms up to 100 Hz (envelopes are amplitudes to the
  power of 0.3);
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
_TINY, _LEAST = np.float32(1e-12), np.finfo(np.float32).tiny


def statistics_of(window: Window, real: int, manifest: Manifest) -> Statistics:
    """Those of the first `real` samples of a window, and its highest scores; of a regression none."""
    vector = acoustics_of(window.stft, window.waveform[:real], manifest.sample_rate, manifest.analysis.hop)
    labels, scores = np.full(SCORES, -1, np.int32), np.zeros(SCORES, np.float32)
    if manifest.task != "regression":
        given = scores_of(window.logits, manifest.task)
        best = np.argsort(-given, kind="stable")[:SCORES]
        labels[: len(best)], scores[: len(best)] = best, given[best]
    return Statistics(vector, labels, scores)


@fork_waits
def acoustics_of(stft: FloatArray, sound: FloatArray, rate: int, hop: int) -> FloatArray:
    """The statistics [sum(SIZES)] of a sound; finite for finite sound.

    Args:
        stft: Real and imaginary parts [T, F, 2] of its listenable STFT; frames beyond its end are left out.
        sound: [N], N >= 1.
        rate: In Hz.
        hop: From one frame to the next, in samples.

    """
    frames = stft[: 1 + len(sound) // hop]
    power = np.square(frames[..., 0])
    power += np.square(frames[..., 1])
    narrow, wide = _bands(power.shape[1], rate)
    bands = power @ narrow
    level = _below_loudest(bands)
    active = level.max(axis=1) > _ACTIVE_DB
    if np.count_nonzero(active) < 3:
        active[:] = True
    # Every other frame says enough of the bins within bands.
    uneven = _unevenness(power[np.flatnonzero(active)[::2]] / max(power.max(), _LEAST), wide)
    groups = (
        _timbre(level[active]),
        _rhythm(level, sound, rate, rate / hop),
        *_spectrum(bands / max(bands.max(), _LEAST), level, uneven),
    )
    return np.concatenate(groups).astype(np.float32)


@lru_cache(maxsize=8)
def _bands(bins: int, rate: int) -> tuple[FloatArray, FloatArray]:
    """The weights of narrow and of wide bands, [bins, bands] each."""
    return _triangles(_BANDS, bins, rate), _triangles(_WIDE_BANDS, bins, rate)


def _triangles(bands: int, bins: int, rate: int) -> FloatArray:
    """From 0 Hz to half the rate, equally wide in mel."""
    edges = mel_edges(bands + 1, rate / 2)
    hz = np.linspace(0.0, rate / 2, bins)[:, None]
    rising, falling = (hz - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - hz) / np.diff(edges)[1:]
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def _below_loudest(power: FloatArray) -> FloatArray:
    """In dB below the loudest, down to the floor."""
    level: FloatArray = 10.0 * np.log10(power / max(power.max(), _LEAST) + _TINY)
    return np.maximum(level, _FLOOR_DB, out=level)


@lru_cache(maxsize=1)
def _cosines() -> FloatArray:
    """[bands, cepstral coefficients]."""
    bands = np.arange(_BANDS) + 0.5
    cosines = np.cos(np.pi / _BANDS * np.outer(bands, np.arange(_CEPSTRUM)))
    return np.asarray(np.sqrt(2.0 / _BANDS) * cosines, np.float32)


@fork_waits
def _timbre(level: FloatArray) -> FloatArray:
    """Of active frames [T, M] in dB."""
    cepstrum = level @ _cosines()
    steps = np.abs(cepstrum[1:] - cepstrum[:-1]).sum(axis=0) / np.float32(len(cepstrum))
    return np.concatenate([cepstrum.mean(axis=0), cepstrum.std(axis=0), steps])


@fork_waits
def _rhythm(level: FloatArray, sound: FloatArray, rate: int, frames_hz: float) -> FloatArray:
    """Of bands [T, M] in dB, and of a sound and its differences."""
    # Amplitudes to the power of 0.3.
    envelopes = np.exp(np.maximum(level, _ENVELOPE_FLOOR_DB) * np.float32(0.015 * np.log(10.0)))
    groups = _groups() @ envelopes.T
    if len(sound) < 2:
        sound = np.zeros(2, np.float32)
    block = min(max(1, round(_BLOCK_S * rate)), len(sound) - 1)
    blocks = (len(sound) - 1) // block
    steps = sound[1:] - sound[:-1]
    both = (one[: blocks * block].reshape(blocks, block) for one in (sound, steps))
    energy = np.stack([np.einsum("tn,tn->t", one, one) for one in both])
    energy /= np.maximum(energy.max(axis=1, keepdims=True), _LEAST)
    # The power of 0.15, which NumPy takes longer for than for both of these.
    fine = np.exp(np.float32(0.15) * np.log(energy + np.float32(1e-7)))
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
def _sums() -> FloatArray:
    """What bands [M] are multiplied with: for moments of their place, 0..1, and for the energy up to each."""
    place = np.arange(_BANDS) / _BANDS
    moments = place[:, None] ** np.arange(3)
    return np.concatenate([moments, np.triu(np.ones((_BANDS, _BANDS)))], axis=1).astype(np.float32)


@fork_waits
def _spectrum(bands: FloatArray, level: FloatArray, uneven: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Spectrum and texture: of bands [T, M], the same in dB, and the unevenness of some frames [t, W]."""
    sums = bands @ _sums()
    energy = sums[:, 0]
    centroid, square = sums[:, 1:3].T / (energy + _TINY)
    spread = np.sqrt(np.maximum(square - centroid**2, 0.0))
    levels = _below_loudest(energy)
    flatness = np.einsum("tm->t", level) / np.float32(_BANDS) - levels
    rolloff = _share(sums[:, 3:] < np.float32(0.85) * energy[:, None])
    peaks = _share(level[:, 1:-1] > np.maximum(level[:, :-2], level[:, 2:]) + _PEAK_DB)
    values = np.stack([centroid, spread, flatness, rolloff, peaks])
    weights = energy / (np.add.reduce(energy) + _TINY)
    means = values @ weights
    deviations = np.sqrt(np.square(values - means[:, None]) @ weights)
    onsets = np.zeros_like(levels)
    onsets[1:] = np.einsum("tm->t", np.maximum(level[1:] - level[:-1], 0.0)) / np.float32(_BANDS)
    over_time = np.stack([levels, onsets])
    regions = np.concatenate([uneven.mean(axis=0), uneven.std(axis=0)]).reshape(-1, _REGION).mean(axis=1)
    texture = np.concatenate([over_time.mean(axis=1), over_time.std(axis=1), regions])
    return np.concatenate([means, deviations]), texture


def _share(holds: npt.NDArray[np.bool_]) -> FloatArray:
    """Of every row [T, n], in how much of it something holds."""
    return np.asarray(np.count_nonzero(holds, axis=1) / np.float32(holds.shape[1]), np.float32)


@fork_waits
def _unevenness(power: FloatArray, bands: FloatArray) -> FloatArray:
    """log(E[P^2] / E[P]^2) over the bins of each band [T, W]; power [T, F]."""
    width = bands.sum(axis=0) + _TINY
    first = power @ bands / width
    second = np.square(power) @ bands / width
    # Both as if every bin had this much more.
    uneven: FloatArray = np.log((second + 2.0 * _EVEN * first + _EVEN**2) / np.square(first + _EVEN))
    return uneven
