"""Parts of the fused graph that are no stages: level, padding, STFT, gain, inverse STFT. Never torch.

`runtime/audio/level.py` and `runtime/audio/stft.py` are the same in NumPy; `check` holds one to the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.bundle.manifest import AnalysisSpec, Level, MaskGain
from ..frontends.nodes import Nodes

Array = npt.NDArray[np.float64]

# As in `runtime/audio/level.py`: a signed peak below this share of the peak is none; added to variances.
_FAINTEST = 1e-4
_LEAST_VARIANCE = 1e-7
# Below this the overlapped squared windows cover nothing.
_COVERAGE_FLOOR = 1e-11
# Amplitudes below this: expm1(M log1p(A)) / A is M but for a relative A / 2.
_QUIET = 1e-5


def level(nodes: Nodes, waveform: str, how: Level) -> str | None:
    """What each row of a waveform [B, N] is divided by, [B, 1]; None where it is nothing."""
    if how == "none":
        return None
    one = nodes.constant([[1.0]])
    if how == "unit_variance":
        apart = nodes.add("Sub", waveform, nodes.over("ReduceMean", waveform, [1], keepdims=1))
        variance = nodes.over("ReduceMean", nodes.add("Mul", apart, apart), [1], keepdims=1)
        deviation = nodes.add("Sqrt", nodes.add("Add", variance, nodes.constant([[_LEAST_VARIANCE]])))
        return nodes.add("Where", nodes.add("Greater", variance, nodes.constant([[0.0]])), deviation, one)
    peak = nodes.over("ReduceMax", nodes.add("Abs", waveform), [1], keepdims=1)
    if how == "peak":
        return nodes.add("Where", nodes.add("Greater", peak, nodes.constant([[0.0]])), peak, one)
    highest = nodes.over("ReduceMax", waveform, [1], keepdims=1)
    faintest = nodes.add("Mul", peak, nodes.constant([[_FAINTEST]]))
    return nodes.add("Where", nodes.add("Greater", highest, faintest), highest, one)


def at_least(nodes: Nodes, waveform: str, shortest: int) -> str:
    """A waveform [B, N] with zeros behind it up to `shortest` samples."""
    missing = nodes.add("Sub", nodes.whole(shortest), nodes.size(waveform, 1))
    behind = nodes.add("Max", missing, nodes.whole(0))
    pads = nodes.add("Concat", nodes.whole(0, 0, 0), behind, axis=0)
    return nodes.add("Pad", waveform, pads)


def stft(nodes: Nodes, waveform: str, spec: AnalysisSpec) -> str:
    """The listenable STFT [B, T, F, 2] of a waveform [B, N], as a convolution."""
    window, left = _window(spec)
    bins, half = spec.n_fft // 2 + 1, spec.n_fft // 2
    angle = _angles(spec)
    kernel = np.stack([np.cos(angle) * window, -np.sin(angle) * window], axis=1)
    mode = "reflect" if spec.padding == "reflect" else "constant"
    pads = nodes.whole(0, 0, half - left, 0, 0, len(window) - half + left)
    padded = nodes.add("Pad", nodes.over("Unsqueeze", waveform, [1]), pads, mode=mode)
    weight = nodes.constant(kernel.reshape(2 * bins, 1, len(window)))
    spectrum = nodes.add("Conv", padded, weight, strides=[spec.hop])
    turned = nodes.add("Transpose", spectrum, perm=[0, 2, 1])
    return nodes.add("Reshape", turned, nodes.whole(0, -1, bins, 2))


def masked(nodes: Nodes, spectrum: str, mask: str, how: MaskGain) -> str:
    """A spectrum [B, T, F, 2] times the gain of a mask [B, T, F]."""
    gain = mask
    if how == "log":
        squares = nodes.over("ReduceSum", nodes.add("Mul", spectrum, spectrum), [3], keepdims=0)
        amplitude = nodes.add("Sqrt", squares)
        one = nodes.constant(1.0)
        logarithm = nodes.add("Log", nodes.add("Add", amplitude, one))
        grown = nodes.add("Sub", nodes.add("Exp", nodes.add("Mul", mask, logarithm)), one)
        quiet = nodes.constant(_QUIET)
        ratio = nodes.add("Div", grown, nodes.add("Max", amplitude, quiet))
        gain = nodes.add("Where", nodes.add("Less", amplitude, quiet), mask, ratio)
    return nodes.add("Mul", spectrum, nodes.over("Unsqueeze", gain, [3]))


def inverse(nodes: Nodes, spectrum: str, spec: AnalysisSpec, samples: str) -> str:
    """Sound [B, N] of a spectrum [B, T, F, 2]: least-squares overlap-add, by transposed convolutions.

    Args:
        nodes: Where nodes are added.
        spectrum: Name of the spectrum.
        spec: The STFT.
        samples: Name of N, int64 [1].

    Returns:
        The name of the sound; samples that no window covers are 0.

    """
    window, left = _window(spec)
    bins, width = spec.n_fft // 2 + 1, len(window)
    angle = _angles(spec)
    # A bin between 0 and half the rate stands for its mirror image, too.
    twice = np.full((bins, 1), 2.0)
    twice[0] = twice[-1] = 1.0
    basis = np.stack([twice * np.cos(angle), -twice * np.sin(angle)], axis=1) * (window / spec.n_fft)
    flat = nodes.add("Reshape", spectrum, nodes.whole(0, -1, 2 * bins))
    rows = nodes.add("Transpose", flat, perm=[0, 2, 1])
    weight = nodes.constant(basis.reshape(2 * bins, 1, width))
    total = nodes.add("ConvTranspose", rows, weight, strides=[spec.hop])
    first = nodes.part(nodes.part(rows, 0, 0, 1), 1, 0, 1)
    ones = nodes.add("Add", nodes.add("Mul", first, nodes.constant(0.0)), nodes.constant(1.0))
    squares = nodes.constant(np.square(window).reshape(1, 1, width))
    envelope = nodes.add("ConvTranspose", ones, squares, strides=[spec.hop])
    floor = nodes.constant(_COVERAGE_FLOOR)
    level = nodes.add("Div", total, nodes.add("Max", envelope, floor))
    sound = nodes.add("Where", nodes.add("Greater", envelope, floor), level, nodes.constant(0.0))
    # Frame 0 starts at `left` of the padded sound; behind the last frame there may be less than a hop.
    behind = nodes.add("Pad", nodes.over("Squeeze", sound, [1]), nodes.whole(0, 0, 0, spec.hop))
    start = nodes.whole(spec.n_fft // 2 - left)
    return nodes.add("Slice", behind, start, nodes.add("Add", samples, start), nodes.whole(1))


def frames_of(nodes: Nodes, samples: str, spec: AnalysisSpec) -> str:
    """How many frames so many samples have: 1 + N // hop, int64 [1]."""
    return nodes.add("Add", nodes.add("Div", samples, nodes.whole(spec.hop)), nodes.whole(1))


def _window(spec: AnalysisSpec) -> tuple[Array, int]:
    """The periodic window, and where it starts within n_fft."""
    phase = 2.0 * np.pi * np.arange(spec.window_length) / spec.window_length
    offset = 0.5 if spec.window == "hann" else 0.54
    return offset - (1.0 - offset) * np.cos(phase), (spec.n_fft - spec.window_length) // 2


def _angles(spec: AnalysisSpec) -> Array:
    """2 pi k n / n_fft of bins k [F] and the window's samples n, the phase reduced as an integer first."""
    _, left = _window(spec)
    position = np.arange(left, left + spec.window_length)
    turns: Any = np.outer(np.arange(spec.n_fft // 2 + 1), position) % spec.n_fft
    return np.asarray(turns * (2.0 * np.pi / spec.n_fft), np.float64)
