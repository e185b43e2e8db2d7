"""What a sound is like, by its spectrum and its changes alone: statistics that no model had to learn.

All are of levels below the loudest, hence the same at any gain. Their groups, in the order of the vector:

- timbre: mean, deviation and mean step over time of 14 cepstral coefficients of 40 mel bands (40 ms);
- rhythm: shares of the power of eight groups of bands' envelopes, in octaves of modulation from 0.3 Hz to
  100 Hz (20 ms, hop 5 ms; the envelope is amplitude to the power of 0.3);
- texture: how much stands out from its surroundings, max(0, G_s X - G_2s X) of the mel spectrogram X in dB
  and Gaussians G of s = 1 frame and 1 or 4 bands: means in five ranges of bands, and the deviation;
- shape: centroid, spread, flatness, rolloff and tonal peaks of the spectrum, weighted by energy; how level
  and onsets are distributed over time; shares of the time above three levels; onsets.

In single precision, by which they cost a third of what they would in double.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ....forks import fork_waits
from ...values.arrays import FloatArray
from ...values.mel import mel_edges

# Seconds: windows and hops of the two analyses.
_COARSE, _COARSE_HOP = 0.04, 0.02
_FINE, _FINE_HOP = 0.02, 0.005
_BANDS, _CEPSTRUM, _REGIONS = 40, 14, 5
_FINE_BANDS, _GROUPS = 24, 8
# Where octaves begin; the last goes up to 100 Hz.
_MODULATIONS_HZ = (0.3, 0.6, 1.2, 2.4, 4.8, 9.6, 19.2, 38.4, 76.8)
_MODULATION_FRAMES = 1024
# Powers below the loudest, in dB: of cells, and of frames in which there is something.
_FLOOR_DB, _ACTIVE_DB = -80.0, -40.0
_WIDTHS = (1, 4)
_QUANTILES = (0.1, 0.5, 0.9)
# How far a tonal peak stands above its neighbours, natural logarithm.
_TONAL = np.float32(1.5)
_TINY = np.float32(1e-12)


@fork_waits
def acoustics_of(waveform: FloatArray, rate: int) -> FloatArray:
    """The statistics [sum(SIZES)] of a sound [N], N >= 1, at its rate in Hz; finite for finite sound."""
    sound = np.asarray(waveform, np.float32)
    sound = sound / max(np.abs(sound).max(), _TINY)
    power = _power(sound, rate, _COARSE, _COARSE_HOP)
    bands = power @ _mel_bands(_BANDS, power.shape[1], rate)
    level = _below_loudest(bands)
    active = level.max(axis=1) > _ACTIVE_DB
    if active.sum() < 3:
        active[:] = True
    onsets = np.maximum(np.diff(level, axis=0, prepend=level[:1]), 0.0).mean(axis=1)
    shape = _shape(power, bands, rate, active, onsets)
    groups = (_timbre(level[active]), _rhythm(sound, rate), _texture(level), shape)
    return np.concatenate(groups).astype(np.float32)


def _power(sound: FloatArray, rate: int, window_s: float, hop_s: float) -> FloatArray:
    """Power spectrogram [T, F] of frames around every hop, zeros beyond the ends."""
    length, hop = max(4, round(window_s * rate)), max(1, round(hop_s * rate))
    padded = np.pad(sound, length // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::hop]
    window = np.hanning(length + 1)[:-1].astype(np.float32)
    # NumPy transforms float32 in single precision only where the factor is asked for.
    spectrum = np.fft.rfft(frames * window, axis=1, norm="forward")
    return np.asarray(spectrum.real**2 + spectrum.imag**2, np.float32)


@lru_cache(maxsize=8)
def _mel_bands(bands: int, bins: int, rate: int) -> FloatArray:
    """Triangles [bins, bands] from 0 Hz to half the rate."""
    edges = mel_edges(bands + 1, rate / 2)
    hz = np.linspace(0.0, rate / 2, bins)[:, None]
    rising, falling = (hz - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - hz) / np.diff(edges)[1:]
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def _below_loudest(power: FloatArray) -> FloatArray:
    """In dB below the loudest, down to the floor."""
    level: FloatArray = np.maximum(10.0 * np.log10(power / (power.max() + _TINY) + _TINY), _FLOOR_DB)
    return level


@fork_waits
def _timbre(level: FloatArray) -> FloatArray:
    """Of active frames [T, M] in dB."""
    bands = np.arange(_BANDS) + 0.5
    cosines = np.sqrt(2.0 / _BANDS) * np.cos(np.pi / _BANDS * np.outer(bands, np.arange(_CEPSTRUM)))
    cepstrum = level @ cosines.astype(np.float32)
    steps = np.abs(np.diff(cepstrum, axis=0, prepend=cepstrum[:1])).mean(axis=0)
    return np.concatenate([cepstrum.mean(axis=0), cepstrum.std(axis=0), steps])


@fork_waits
def _rhythm(sound: FloatArray, rate: int) -> FloatArray:
    """Log shares of the modulation's octaves in every group of bands."""
    power = _power(sound, rate, _FINE, _FINE_HOP)
    power = power @ _mel_bands(_FINE_BANDS, power.shape[1], rate)
    envelopes = (power / (power.max() + _TINY) + np.float32(1e-7)) ** np.float32(0.15)
    groups = envelopes.reshape(len(envelopes), _GROUPS, -1).mean(axis=2)
    groups = (groups - groups.mean(axis=0)) * np.hanning(len(groups) + 2)[1:-1, None]
    length = max(_MODULATION_FRAMES, len(groups))
    strength = np.abs(np.fft.rfft(groups, length, axis=0)) ** 2
    first = np.searchsorted(np.fft.rfftfreq(length, _FINE_HOP), _MODULATIONS_HZ)
    octaves = np.add.reduceat(strength, first, axis=0)
    shares: FloatArray = np.log(octaves / (octaves.sum(axis=0) + 1e-9) + 1e-4).ravel()
    return shares


@lru_cache(maxsize=8)
def _over_bands(width: int) -> FloatArray:
    """Smoothing [bands, bands] along the bands; at the ends by what is there."""
    places = np.arange(_BANDS) / width
    weights = np.exp(-0.5 * (places[:, None] - places) ** 2)
    return np.asarray(weights / weights.sum(axis=0), np.float32)


@fork_waits
def _texture(level: FloatArray) -> FloatArray:
    """What stands out from its surroundings, in how many bands."""
    near, around = _over_time(level, 1), _over_time(level, 2)
    out = []
    for width in _WIDTHS:
        excess = np.maximum(near @ _over_bands(width) - around @ _over_bands(2 * width), 0.0)
        out += [*excess.mean(axis=0).reshape(_REGIONS, -1).mean(axis=1), excess.std()]
    return np.log(np.array(out) + 0.01)


@fork_waits
def _over_time(level: FloatArray, deviation: int) -> FloatArray:
    """Smoothed by a Gaussian of so many frames; mirrored beyond the ends."""
    reach = 4 * deviation
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    mirrored = np.pad(level, ((reach, reach), (0, 0)), "symmetric")
    around = np.lib.stride_tricks.sliding_window_view(mirrored, len(weights), axis=0)
    smooth: FloatArray = around @ (weights / weights.sum()).astype(np.float32)
    return smooth


@fork_waits
def _shape(
    power: FloatArray, bands: FloatArray, rate: int, active: npt.NDArray[np.bool_], onsets: FloatArray
) -> FloatArray:
    """Of spectra [T, F], the same in bands [T, M], and of how level and onsets go."""
    hz = np.linspace(0.0, rate / 2, power.shape[1], dtype=np.float32)
    # Of order 1, whatever the window: what is added against zeros is far below.
    power = power / (power.max() + _TINY)
    energy = power.sum(axis=1)
    shares = power / (energy[:, None] + _TINY)
    centroid = shares @ hz
    spread = np.sqrt(np.maximum(shares @ hz**2 - centroid**2, 0.0))
    log = np.log(power + _TINY)
    flatness = log.mean(axis=1) - np.log(power.mean(axis=1) + _TINY)
    rising = np.cumsum(bands, axis=1)
    rolloff = (rising < 0.85 * rising[:, -1:]).mean(axis=1)
    tonal = (log[:, 1:-1] > np.maximum(log[:, :-2], log[:, 2:]) + _TONAL).mean(axis=1)
    weights = energy / (energy.sum() + _TINY)
    spectra = (np.log(centroid + 50.0), np.log(spread + 50.0), flatness, rolloff, tonal)
    levels = _below_loudest(energy)
    starts = (active[1:] & ~active[:-1]).sum()
    limit = onsets.mean() + 2.0 * onsets.std()
    peaks = (onsets[1:-1] > np.maximum(np.maximum(onsets[:-2], onsets[2:]), limit)).sum()
    return np.array(
        [
            *(value for one in spectra for value in _weighted(one, weights)),
            *(value for one in (levels, onsets) for value in _distribution(one)),
            *(active.mean(), (levels > -20.0).mean(), (levels > -60.0).mean()),
            *(starts**0.5, onsets.max(), np.log1p(peaks)),
        ],
        np.float32,
    )


@fork_waits
def _weighted(values: FloatArray, weights: FloatArray) -> tuple[float, float]:
    """Mean and deviation."""
    mean = float(weights @ values)
    return mean, max(float(weights @ values**2) - mean**2, 0.0) ** 0.5


def _distribution(values: FloatArray) -> list[float]:
    """Mean, deviation and quantiles, for which np.quantile would import numpy.ma."""
    last = len(values) - 1
    quantiles = np.interp(np.multiply(_QUANTILES, last), np.arange(last + 1), np.sort(values))
    return [values.mean(), values.std(), *quantiles]
