"""The numbers of a front end: window, transform, mel bands, logarithm, cosine transform. All float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ...errors import SourceError
from ...runtime.values.arrays import Values
from .description import Description, Log, Mel, Mfcc, Stft


@dataclass(frozen=True)
class Numbers:
    """What the steps after the transform compute with; None where a description has no such step.

    bank: [F, M], bins of the STFT -> bands; cosines: [M, C], their logarithms -> coefficients
    log: what the natural logarithm is multiplied by
    mean, deviation: [1] or [bins], where they are given
    bins: of what the steps result in
    """

    bins: int
    bank: Values | None = None
    log: float = 1.0
    cosines: Values | None = None
    mean: Values | None = None
    deviation: Values | None = None


def numbers_of(description: Description, stft: Stft) -> Numbers:
    """The numbers of every step. Raises SourceError where a file's do not fit."""
    bank = None if description.mel is None else mel_matrix(description)
    bins = stft.bin_count if bank is None else bank.shape[1]
    cosines = None if description.mfcc is None else cepstrum_matrix(description.mfcc, bins)
    bins = bins if cosines is None else cosines.shape[1]
    log = 1.0 if description.log is None else log_factor(description.log, stft)
    how = description.normalise
    if how is None or how.over != "given":
        return Numbers(bins, bank, log, cosines)
    mean, deviation = per_bin(how.mean, bins, "mean"), per_bin(how.deviation, bins, "deviation")
    return Numbers(bins, bank, log, cosines, mean, deviation)


def window_of(stft: Stft) -> Values:
    """The window's samples [window_length]."""
    length = stft.width
    phase = 2.0 * np.pi * np.arange(length) / (length if stft.periodic else length - 1)
    if stft.window == "rectangular":
        return np.ones(length)
    if stft.window == "hamming":
        return np.asarray(0.54 - 0.46 * np.cos(phase))
    hann = 0.5 - 0.5 * np.cos(phase)
    return np.asarray(hann**0.85 if stft.window == "povey" else hann)


def transform_kernel(stft: Stft) -> Values:
    """[2 F, W]: real and imaginary part of every bin, side by side, of a frame's W samples.

    What is done to each frame before the transform is folded in: its mean is subtracted, then c times the
    sample before, then it is windowed. Where frames are centred or `n_fft` long the window lies in the middle
    of `n_fft`, as the phase of the listenable STFT has it.
    """
    length, n_fft = stft.width, stft.n_fft
    left = (n_fft - length) // 2 if stft.centring != "none" or stft.frame == "n_fft" else 0
    # The phase is reduced as an integer first: exact for any n_fft.
    turns = np.outer(np.arange(n_fft // 2 + 1), np.arange(left, left + length)) % n_fft
    angle = turns * (2.0 * np.pi / n_fft)
    kernel = np.stack([np.cos(angle), -np.sin(angle)], axis=1).reshape(-1, length) * window_of(stft)
    if stft.preemphasis:
        # The transpose of y[n] = x[n] - c x[n - 1], x[-1] = x[0].
        before = np.concatenate([kernel[:, 1:], np.zeros((len(kernel), 1))], axis=1)
        before[:, 0] += kernel[:, 0]
        kernel = kernel - stft.preemphasis * before
    if stft.remove_dc:
        kernel = kernel - kernel.mean(axis=1, keepdims=True)
    return np.asarray(kernel)


def mel_matrix(description: Description) -> Values:
    """[F, M]: bins of the STFT -> bands. Raises SourceError where a file's matrix does not fit."""
    stft, mel = description.stft, description.mel
    if stft is None or mel is None:
        raise SourceError("a front end without [stft] and [mel] has no bands")
    if mel.file is not None:
        matrix = read_array(mel.file)
        if matrix.ndim != 2 or stft.bin_count not in matrix.shape:
            raise SourceError(
                f"{mel.file}: the matrix is {list(matrix.shape)}, the STFT has {stft.bin_count} bins; give "
                f"[{stft.bin_count}, bands], or correct stft.n_fft or stft.bins"
            )
        return matrix if matrix.shape[0] == stft.bin_count else np.ascontiguousarray(matrix.T)
    return _triangles(mel, stft, description.sample_rate)


def _triangles(mel: Mel, stft: Stft, rate: int) -> Values:
    high = mel.high_hz or rate / 2
    ends = _to_mel(np.array([mel.low_hz, high]), mel)
    points: Values = np.linspace(ends[0], ends[1], mel.bins + 2)
    corners = _to_hz(points, mel)
    frequency = np.arange(stft.bin_count, dtype=np.float64) * (rate / stft.n_fft)
    at, edges = (frequency, corners) if mel.triangles == "hertz" else (_to_mel(frequency, mel), points)
    rising = (at[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - at[:, None]) / (edges[2:] - edges[1:-1])
    bank = np.maximum(0.0, np.minimum(rising, falling))
    if mel.norm == "slaney":
        bank *= 2.0 / (corners[2:] - corners[:-2])
    return np.asarray(bank)


# Slaney's scale: linear up to 1000 Hz, 15 mel; 27 steps of ln(6.4) / 27 above.
_BREAK_HZ, _BREAK_MEL, _STEP = 1000.0, 15.0, np.log(6.4) / 27.0


def _to_mel(hz: Values, mel: Mel) -> Values:
    if mel.scale == "slaney":
        above = np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _STEP
        return np.where(hz < _BREAK_HZ, hz * (_BREAK_MEL / _BREAK_HZ), _BREAK_MEL + above)
    if mel.scale == "kaldi":
        return np.asarray(1127.0 * np.log1p(hz / 700.0))
    return np.asarray(2595.0 * np.log10(1.0 + hz / 700.0))


def _to_hz(points: Values, mel: Mel) -> Values:
    if mel.scale == "slaney":
        above = _BREAK_HZ * np.exp(_STEP * (np.maximum(points, _BREAK_MEL) - _BREAK_MEL))
        return np.where(points < _BREAK_MEL, points * (_BREAK_HZ / _BREAK_MEL), above)
    if mel.scale == "kaldi":
        return np.asarray(700.0 * np.expm1(points / 1127.0))
    return np.asarray(700.0 * (10.0 ** (points / 2595.0) - 1.0))


def log_factor(log: Log, stft: Stft) -> float:
    """What the natural logarithm is multiplied by."""
    decibel = 10.0 if stft.spectrum == "power" else 20.0
    times = {"ln": 1.0, "log1p": 1.0, "log10": 1.0 / math.log(10.0), "db": decibel / math.log(10.0)}
    return times[log.kind]


def cepstrum_matrix(mfcc: Mfcc, bands: int) -> Values:
    """[M, C]: logarithms of the bands -> coefficients, the lifter folded in."""
    import scipy.fft

    norm: Literal["ortho", "backward"] = "ortho" if mfcc.norm == "ortho" else "backward"
    identity: Values = np.eye(bands, dtype=np.float64)
    built = np.asarray(scipy.fft.dct(identity, type=mfcc.dct, axis=1, norm=norm))[:, : mfcc.count]
    if mfcc.lifter:
        number = np.arange(mfcc.count) + mfcc.lifter_from
        built = built * (1.0 + mfcc.lifter / 2.0 * np.sin(np.pi * number / mfcc.lifter))
    return np.asarray(built, np.float64)


def per_bin(given: float | list[float] | str, bins: int, name: str) -> Values:
    """A value of normalisation as [1] or [F]. Raises SourceError where there are others than bins."""
    built = (
        read_array(given).reshape(-1) if isinstance(given, str) else np.atleast_1d(np.asarray(given, float))
    )
    if len(built) not in {1, bins} or not np.isfinite(built).all():
        raise SourceError(
            f"normalise.{name}: {len(built)} values for {bins} bins; give one, or one finite value a bin"
        )
    if name == "deviation" and not built.all():
        raise SourceError("normalise.deviation: is 0; give what the features are divided by")
    return built


def read_array(path: str) -> Values:
    """Numbers from a .npy file, never pickled objects. Raises SourceError."""
    try:
        with Path(path).open("rb") as stream:
            numbers = np.lib.format.read_array(stream, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SourceError(f"{path}: is no .npy file of numbers ({error}); write it by numpy.save") from error
    if numbers.dtype.kind not in "fiu" or not np.isfinite(numbers).all():
        raise SourceError(f"{path}: holds {numbers.dtype}, not finite numbers")
    return np.asarray(numbers, np.float64)
