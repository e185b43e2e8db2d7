"""Parts of the fused graph that are no stages: level, padding, STFT; masked sound is made as on devices.

`runtime/audio/level.py` and `runtime/audio/stft.py` are the same in NumPy; `check` holds one to the other.
"""

from __future__ import annotations

import numpy as np

from ...runtime.audio.stft import window_of
from ...runtime.bundle.manifest import AnalysisSpec, Level
from ...runtime.bundle.nodes import Nodes
from ...runtime.inference.masked_sound import angles_of

# As in `runtime/audio/level.py`: a signed peak below this share of the peak is none; added to variances.
_FAINTEST = 1e-4
_LEAST_VARIANCE = 1e-7


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
    window, left = window_of(spec)
    bins, half = spec.n_fft // 2 + 1, spec.n_fft // 2
    angle = angles_of(spec)
    kernel = np.stack([np.cos(angle) * window, -np.sin(angle) * window], axis=1)
    mode = "reflect" if spec.padding == "reflect" else "constant"
    pads = nodes.whole(0, 0, half - left, 0, 0, len(window) - half + left)
    padded = nodes.add("Pad", nodes.over("Unsqueeze", waveform, [1]), pads, mode=mode)
    weight = nodes.constant(kernel.reshape(2 * bins, 1, len(window)))
    spectrum = nodes.add("Conv", padded, weight, strides=[spec.hop])
    turned = nodes.add("Transpose", spectrum, perm=[0, 2, 1])
    return nodes.add("Reshape", turned, nodes.whole(0, -1, bins, 2))


def frames_of(nodes: Nodes, samples: str, spec: AnalysisSpec) -> str:
    """How many frames so many samples have: 1 + N // hop, int64 [1]."""
    return nodes.add("Add", nodes.add("Div", samples, nodes.whole(spec.hop)), nodes.whole(1))
