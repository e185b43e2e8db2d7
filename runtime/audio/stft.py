"""The listenable STFT and its inverse in NumPy: centred, one-sided, unnormalised.

Conventions are those of `torch.stft(center=True)` and `torch.istft`, with frames before bins.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..bundle.manifest import MASK_FLOOR, AnalysisSpec, MaskGain
from ..values.arrays import FloatArray, Values

ComplexArray = npt.NDArray[np.complex64]

# Below this the overlapped squared windows cover nothing (torch.istft raises there).
COVERAGE_FLOOR = 1e-11
# Amplitudes below this are as good as none.
_QUIET = np.float32(1e-30)


def frame_count(samples: int, spec: AnalysisSpec) -> int:
    """Frames T of `samples` samples."""
    return 1 + samples // spec.hop


def forward(waveform: npt.ArrayLike, spec: AnalysisSpec) -> ComplexArray:
    """STFT of `waveform` [..., N] as complex64 [..., T, F], T = 1 + N // hop, F = n_fft // 2 + 1."""
    sound = np.asarray(waveform, dtype=np.float32)
    window, left = _window(spec, spec.n_fft)
    width = len(window)
    samples = sound.shape[-1]
    half = spec.n_fft // 2
    if spec.padding == "reflect" and samples > 0:
        pad = [(0, 0)] * (sound.ndim - 1) + [(half, spec.n_fft - half)]
        padded = np.pad(sound, pad, mode="reflect" if samples > 1 else "edge")
    else:
        padded = np.zeros((*sound.shape[:-1], samples + spec.n_fft), np.float32)
        padded[..., half : half + samples] = sound
    # The zero-padded part of the window never touches the sound: only its support is gathered.
    last = left + (frame_count(samples, spec) - 1) * spec.hop + width
    frames = np.lib.stride_tricks.sliding_window_view(padded[..., left:last], width, axis=-1)
    frames = frames[..., :: spec.hop, :]
    if width == spec.n_fft:
        buffer = frames * window
    else:
        buffer = np.zeros((*frames.shape[:-1], spec.n_fft), np.float32)
        np.multiply(frames, window, out=buffer[..., left : left + width])
    # The window undoes what this divides by: without a factor NumPy 2 transforms float32 in double precision.
    return np.asarray(np.fft.rfft(buffer, axis=-1, norm="forward"), dtype=np.complex64)


def inverse(spectrum: npt.ArrayLike, spec: AnalysisSpec, length: int) -> FloatArray:
    """Sound float32 [..., length] of `spectrum` [..., T, F]: least-squares overlap-add.

    Samples that no window covers are zero; past the last frame the sound is zero-padded.
    """
    stft = np.asarray(spectrum, dtype=np.complex64)
    window, left = _window(spec)
    width = len(window)
    # NumPy 1 answers in double precision.
    frames = np.asarray(np.fft.irfft(stft, n=spec.n_fft, axis=-1)[..., left : left + width], np.float32)
    frames *= window
    total = overlap_add(frames, spec.hop)
    envelope = _envelope(spec, stft.shape[-2])
    # Frame 0 of the support starts at `left` of the padded sound; the sound itself at n_fft // 2.
    start = spec.n_fft // 2 - left
    stop = min(start + length, total.shape[-1])
    out = np.zeros((*stft.shape[:-2], length), np.float32)
    if stop > start:
        np.multiply(total[..., start:stop], envelope[start:stop], out=out[..., : stop - start])
    return out


def overlap_add(frames: FloatArray, hop: int) -> FloatArray:
    """Sum of `frames` [..., T, W] laid `hop` apart: [..., (T + ceil(W / hop) - 1) * hop]."""
    count, width = frames.shape[-2:]
    chunks = -(-width // hop)
    lead = frames.shape[:-2]
    total = np.zeros((*lead, count + chunks - 1, hop), np.float32)
    for chunk in range(chunks):
        part = frames[..., chunk * hop : (chunk + 1) * hop]
        total[..., chunk : chunk + count, : part.shape[-1]] += part
    return total.reshape(*lead, -1)


def gain(
    mask: npt.ArrayLike,
    amplitude: npt.ArrayLike,
    how: MaskGain = "log",
    logarithm: FloatArray | None = None,
) -> FloatArray:
    """The gain G [..., T, F], 0..1, that a mask M, 0..1, puts on the linear magnitudes A of a spectrogram.

    how: "linear": G = M, so that what M keeps and what 1 - M keeps add up to the sound; "floored":
        G = M + MASK_FLOOR (max M - M), the largest over T and F, so that the rest stays faintly and an empty
        mask keeps nothing; "log": G = expm1(M log1p(A)) / A, the mask on the log-magnitudes of L-MAC; G = M
        where A is zero
    logarithm: log1p(A), where it is known
    """
    kept = np.asarray(mask, dtype=np.float32)
    if how == "linear":
        return kept
    if how == "floored":
        floor = np.float32(MASK_FLOOR)
        largest: FloatArray = kept.max(axis=(-2, -1), keepdims=True, initial=0.0)
        return kept * (1 - floor) + floor * largest
    magnitude = np.asarray(amplitude, dtype=np.float32)
    # Several masks of one spectrogram may come together.
    out = np.multiply(np.log1p(magnitude) if logarithm is None else logarithm, kept)
    np.expm1(out, out=out)
    # Denormal amplitudes would lose the quotient's digits; there the limit M holds to float32.
    np.divide(out, np.maximum(magnitude, _QUIET), out=out)
    if magnitude.min(initial=_QUIET) < _QUIET:
        np.copyto(out, kept, where=magnitude < _QUIET)
    return out


def gain_of_rest(kept: FloatArray, mask: FloatArray, amplitude: npt.ArrayLike, how: MaskGain) -> FloatArray:
    """The gain [..., T, F] on what a mask M removes, beside the gain G on what it keeps.

    On the magnitude 1 - G; "log": that of 1 - M, the paper's mask-out, which is not the rest of G.
    """
    return gain(1.0 - mask, amplitude, how) if how == "log" else 1.0 - kept


def energies_of(amplitude: FloatArray, gains: FloatArray) -> npt.NDArray[np.floating]:
    """Energies [3] of a spectrogram A [T, F] and of its parts by a gain G [T, F].

    sum A^2, sum (G A)^2, sum ((1 - G) A)^2
    """
    kept = gains * amplitude
    parts = (amplitude, kept, amplitude - kept)
    # Not by BLAS: its threads sum in an order of their own, and a child forked meanwhile waits for them.
    energies = np.array([np.einsum("tf,tf->t", one, one).sum(dtype=np.float64) for one in parts])
    if not np.isfinite(energies).all():
        # Squares of a sound far above full scale.
        energies = np.array([np.square(one, dtype=np.float64).sum() for one in parts])
    return energies


def as_complex(stft: FloatArray) -> ComplexArray:
    """The complex view [..., T, F] of real and imaginary parts [..., T, F, 2]; no copy if contiguous."""
    return np.ascontiguousarray(stft, dtype=np.float32).view(np.complex64)[..., 0]


def as_pairs(spectrum: ComplexArray) -> FloatArray:
    """Real and imaginary parts [..., T, F, 2] of a spectrum [..., T, F]: the way back from `as_complex`."""
    return np.ascontiguousarray(spectrum).view(np.float32).reshape(*spectrum.shape, 2)


def window_of(spec: AnalysisSpec) -> tuple[Values, int]:
    """The periodic window's samples, and where they start within n_fft."""
    length = spec.window_length
    phase = 2.0 * np.pi * np.arange(length, dtype=np.float64) / length
    offset = 0.5 if spec.window == "hann" else 0.54
    return offset - (1.0 - offset) * np.cos(phase), (spec.n_fft - length) // 2


@lru_cache(maxsize=16)
def _window(spec: AnalysisSpec, scale: float = 1.0) -> tuple[FloatArray, int]:
    """The window's samples times `scale`, in single precision, and where they start within n_fft."""
    exact, left = window_of(spec)
    window = (scale * exact).astype(np.float32)
    window.flags.writeable = False
    return window, left


@lru_cache(maxsize=16)
def _envelope(spec: AnalysisSpec, count: int) -> FloatArray:
    """1 / (sum of squared windows) for `count` frames, zero where nothing is covered."""
    window, _ = _window(spec)
    squares = np.broadcast_to(np.square(window), (count, len(window)))
    covered = overlap_add(squares, spec.hop)
    envelope = np.zeros_like(covered)
    np.divide(1.0, covered, out=envelope, where=covered > COVERAGE_FLOOR)
    envelope.flags.writeable = False
    return envelope
