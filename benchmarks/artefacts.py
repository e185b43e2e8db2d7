"""How clean a kept sound is, where its parts are known: two measures beside the clean event.

- Frequency-weighted segmental SNR (Hu & Loizou, "Evaluation of Objective Quality Measures for Speech
  Enhancement", IEEE TASLP 16(1), 2008, section III): how near the spectrum of the kept sound is to that of
  the event alone, in critical bands of frames of 30 ms, each band weighted by the event's magnitude to the
  power of 0.2.
- Log kurtosis ratio (Uemura et al., "Automatic Optimization Scheme of Spectral Subtraction Based on Musical
  Noise Assessment via Higher-Order Statistics", IWAENC 2008): musical noise is isolated peaks that come and
  go, which raise the kurtosis of the power of a frequency bin over time. Noise left as it was has 0; a mask
  that keeps each cell with probability p, independently, has ln(1 / p).
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

from earmark.runtime.values.arrays import Values

_FRAME_S, _HOP_S = 0.030, 0.0075
# Of Hu & Loizou: the exponent of the weights, and the limits of a frame in dB.
_GAMMA, _LOWEST_DB, _HIGHEST_DB = 0.2, -10.0, 35.0
# Frames in which the event is so far below its loudest one hold no event.
_SILENT_DB = 60.0
# Widths of the critical bands of Hu & Loizou in Hz; a width on from a band's centre is the next one's.
_LOWEST_HZ = 50.0
_WIDTHS_HZ = (
    *(70.0,) * 7,
    *(77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423, 153.823, 168.154),
    *(183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136),
)


def critical_bands(highest_hz: float) -> Values:
    """Centres and widths [B, 2] in Hz of the critical bands that end below a frequency.

    The 25 of Hu & Loizou, up to 3.8 kHz; above, each is wider by the ratio of the last two of them.
    """
    ratio = _WIDTHS_HZ[-1] / _WIDTHS_HZ[-2]
    wider = (_WIDTHS_HZ[-1] * ratio**power for power in itertools.count(1))
    centre, bands = _LOWEST_HZ, []
    for width in itertools.chain(_WIDTHS_HZ, wider):
        if centre + 0.5 * width > highest_hz:
            break
        bands.append((centre, width))
        centre += width
    return np.array(bands)


def frequency_weighted_segmental_snr(clean: npt.ArrayLike, kept: npt.ArrayLike, rate: int) -> float:
    """How near a kept sound is to the clean event, in dB.

    Per frame, with the band magnitudes X of the event and Y of the kept sound, each of a spectrum of unit
    area (so the level of the kept sound does not matter): sum_j X_j^0.2 10 log10(X_j^2 / (X_j - Y_j)^2) /
    sum_j X_j^0.2, limited to -10..35. Frames in which the event is 60 dB below its loudest are left out.

    Args:
        clean: The event alone [N].
        kept: The kept sound [N].
        rate: In Hz.

    Returns:
        The mean over frames, -10..35; NaN where the event is silent or shorter than a frame.

    """
    true, got = (_magnitudes(np.asarray(one, np.float64), rate) for one in (clean, kept))
    loud = true.sum(axis=1)
    if not len(loud) or not loud.max() > 0:
        return math.nan
    sounding = loud > loud.max() * 10.0 ** (-_SILENT_DB / 20.0)
    filters = _filters(true.shape[1], rate)
    tiny = np.finfo(np.float64).eps
    true, got = (
        (one[sounding] / np.maximum(one[sounding].sum(axis=1, keepdims=True), tiny)) @ filters.T
        for one in (true, got)
    )
    ratio = 10.0 * np.log10(np.maximum(true**2, tiny) / np.maximum((true - got) ** 2, tiny))
    weights = true**_GAMMA
    frames = (weights * ratio).sum(axis=1) / weights.sum(axis=1)
    return float(np.clip(frames, _LOWEST_DB, _HIGHEST_DB).mean())


def log_kurtosis_ratio(before: npt.ArrayLike, after: npt.ArrayLike) -> float:
    """How much a mask raises the kurtosis of what should be gone: musical noise.

    The kurtosis of a frequency bin is E[P^4] / E[P^2]^2 of its powers P over time (6 of Gaussian noise).

    Args:
        before: Magnitudes [T, F] of the sound that the mask should take away, 0 or more.
        after: What the mask leaves of them, [T, F].

    Returns:
        ln of the ratio after / before, the mean over the bins that sound in both; NaN where none does.

    """
    first, second = (np.asarray(one, np.float64) ** 2 for one in (before, after))
    sounding = (first.max(axis=0) > 0) & (second.max(axis=0) > 0)
    if not sounding.any():
        return math.nan
    return float((np.log(_kurtosis(second[:, sounding])) - np.log(_kurtosis(first[:, sounding]))).mean())


def _kurtosis(power: Values) -> Values:
    """[F] of powers [T, F], none of whose bins is silent."""
    scaled = power / power.max(axis=0)
    return np.asarray((scaled**4).mean(axis=0) / (scaled**2).mean(axis=0) ** 2)


def _magnitudes(wave: Values, rate: int) -> Values:
    """Magnitudes [T, F] of frames of 30 ms, three quarters overlapping; the Nyquist bin is left out."""
    length, hop = round(_FRAME_S * rate), math.floor(_HOP_S * rate)
    if len(wave) < length:
        return np.zeros((0, 1))
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(1, length + 1) / (length + 1))
    frames = np.lib.stride_tricks.sliding_window_view(wave, length)[::hop]
    points = 2 ** math.ceil(math.log2(2 * length))
    return np.asarray(np.abs(np.fft.rfft(frames * window, points)))[:, :-1]


def _filters(bins: int, rate: int) -> Values:
    """Gaussian filters [B, F] of the critical bands, cut where they have fallen by 30 dB."""
    bands = critical_bands(0.5 * rate)
    centres, widths = (bands * (bins / (0.5 * rate))).T
    apart = (np.arange(bins) - np.floor(centres)[:, None]) / widths[:, None]
    filters = np.exp(-11.0 * apart**2 + np.log(widths[0] / widths)[:, None])
    return np.asarray(filters * (filters > math.exp(-30.0 / (2.0 * 2.303))))
