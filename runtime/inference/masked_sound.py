"""The sound that masks keep as a graph, for providers other than the CPU: gain and inverse STFT. Never torch.

`runtime/audio/stft.py` is the same in NumPy. A device would otherwise wait while one core of the host makes
the sound of a batch that it has classified and masked in a fraction of the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..audio.stft import COVERAGE_FLOOR, window_of
from ..bundle.manifest import MASK_FLOOR, AnalysisSpec, MaskGain
from ..bundle.nodes import Nodes
from ..values.arrays import Values

# Of the operators used here all versions from this one on are alike.
_OPSET, _IR_VERSION = 18, 8
# Amplitudes below this: expm1(M log1p(A)) / A is M but for a relative A / 2.
_QUIET = 1e-5


def masked_sound(spec: AnalysisSpec, how: MaskGain) -> bytes:
    """A graph `stft` [B, T, F, 2], `mask` [B, T, F] -> `kept` [B, T hop], serialised; as long as any sound.

    And `energies` [B, 3] of `audio.stft.energies_of`: of the sound, of what is kept and of what is removed.
    """
    from onnx import TensorProto, helper

    nodes, bins = Nodes(_OPSET), spec.n_fft // 2 + 1
    mask = nodes.add("Clip", "mask", nodes.constant(0.0), nodes.constant(1.0))
    samples = nodes.add("Mul", nodes.size("stft", 1), nodes.whole(spec.hop))
    gain = _gain_of(nodes, "stft", mask, how)
    nodes.named("Identity", "kept", inverse(nodes, _times(nodes, "stft", gain), spec, samples))
    nodes.named("Identity", "energies", _energies(nodes, "stft", gain))
    dims: dict[str, list[str | int]] = {
        "stft": ["batch", "frames", bins, 2],
        "mask": ["batch", "frames", bins],
        "kept": ["batch", "samples"],
        "energies": ["batch", 3],
    }
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, given) for name, given in dims.items()]
    graph = helper.make_graph(nodes.take(), "masked sound", tensors[:2], tensors[2:], nodes.initializers())
    for number, node in enumerate(graph.node):
        # Without names nobody could say which of them compute shapes alone.
        node.name = f"masked sound {number}"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    serialised: bytes = model.SerializeToString()
    return serialised


def masked(nodes: Nodes, spectrum: str, mask: str, how: MaskGain) -> str:
    """A spectrum [B, T, F, 2] times the gain of a mask [B, T, F]."""
    return _times(nodes, spectrum, _gain_of(nodes, spectrum, mask, how))


def _times(nodes: Nodes, spectrum: str, gain: str) -> str:
    """A spectrum [B, T, F, 2] times a gain [B, T, F]."""
    return nodes.add("Mul", spectrum, nodes.over("Unsqueeze", gain, [3]))


def _gain_of(nodes: Nodes, spectrum: str, mask: str, how: MaskGain) -> str:
    """The gain [B, T, F] of a mask [B, T, F] on a spectrum [B, T, F, 2]."""
    gain = mask
    if how == "floored":
        floor = nodes.over(
            "ReduceMax", nodes.add("Mul", mask, nodes.constant(MASK_FLOOR)), [1, 2], keepdims=1
        )
        gain = nodes.add("Add", nodes.add("Mul", mask, nodes.constant(1.0 - MASK_FLOOR)), floor)
    elif how == "log":
        squares = nodes.over("ReduceSum", nodes.add("Mul", spectrum, spectrum), [3], keepdims=0)
        amplitude = nodes.add("Sqrt", squares)
        one = nodes.constant(1.0)
        logarithm = nodes.add("Log", nodes.add("Add", amplitude, one))
        grown = nodes.add("Sub", nodes.add("Exp", nodes.add("Mul", mask, logarithm)), one)
        quiet = nodes.constant(_QUIET)
        ratio = nodes.add("Div", grown, nodes.add("Max", amplitude, quiet))
        gain = nodes.add("Where", nodes.add("Less", amplitude, quiet), mask, ratio)
    return gain


def _energies(nodes: Nodes, spectrum: str, gain: str) -> str:
    """[B, 3]: sum |S|^2, sum (G |S|)^2 and sum ((1 - G) |S|)^2."""
    power = nodes.over("ReduceSum", nodes.add("Mul", spectrum, spectrum), [3], keepdims=0)
    rest = nodes.add("Sub", nodes.constant(1.0), gain)
    parts = [power] + [nodes.add("Mul", power, nodes.add("Mul", one, one)) for one in (gain, rest)]
    frames = [nodes.over("ReduceSum", one, [2], keepdims=0) for one in parts]
    return nodes.add("Concat", *(nodes.over("ReduceSum", one, [1], keepdims=1) for one in frames), axis=1)


def inverse(nodes: Nodes, spectrum: str, spec: AnalysisSpec, samples: str) -> str:
    """Sound [B, N] of a spectrum [B, T, F, 2]: least-squares overlap-add, by a matrix product.

    samples: name of N, int64 [1], at most T hop. Samples that no window covers are 0.
    """
    window, left = window_of(spec)
    bins, width = spec.n_fft // 2 + 1, len(window)
    angle = angles_of(spec)
    # A bin between 0 and half the rate stands for its mirror image, too.
    twice = np.full((bins, 1), 2.0)
    twice[0] = twice[-1] = 1.0
    basis = np.stack([twice * np.cos(angle), -twice * np.sin(angle)], axis=1) * (window / spec.n_fft)
    flat = nodes.add("Reshape", spectrum, nodes.whole(0, -1, 2 * bins))
    frames = nodes.add("MatMul", flat, nodes.constant(basis.reshape(2 * bins, width)))
    total = _overlap_add(nodes, frames, width, spec.hop)
    first = nodes.part(nodes.part(frames, 0, 0, 1), 2, 0, 1)
    ones = nodes.add("Add", nodes.add("Mul", first, nodes.constant(0.0)), nodes.constant(1.0))
    squares = nodes.add("Mul", ones, nodes.constant(np.square(window)))
    envelope = _overlap_add(nodes, squares, width, spec.hop)
    floor = nodes.constant(COVERAGE_FLOOR)
    level = nodes.add("Div", total, nodes.add("Max", envelope, floor))
    sound = nodes.add("Where", nodes.add("Greater", envelope, floor), level, nodes.constant(0.0))
    # Frame 0 starts at `left` of the padded sound; behind the last frame there may be less than a hop.
    behind = nodes.add("Pad", sound, nodes.whole(0, 0, 0, spec.hop))
    start = nodes.whole(spec.n_fft // 2 - left)
    return nodes.add("Slice", behind, start, nodes.add("Add", samples, start), nodes.whole(1))


def _overlap_add(nodes: Nodes, frames: str, width: int, hop: int) -> str:
    """The sum [B, (T + chunks - 1) hop] of frames [B, T, width] laid `hop` apart, in chunks of `hop`."""
    chunks = -(-width // hop)
    whole = nodes.add("Pad", frames, nodes.whole(0, 0, 0, 0, 0, chunks * hop - width))
    laid = [
        nodes.add(
            "Pad",
            nodes.part(whole, 2, chunk * hop, (chunk + 1) * hop),
            nodes.whole(0, chunk, 0, 0, chunks - 1 - chunk, 0),
        )
        for chunk in range(chunks)
    ]
    return nodes.add("Reshape", nodes.add("Sum", *laid), nodes.whole(0, -1))


def angles_of(spec: AnalysisSpec) -> Values:
    """2 pi k n / n_fft of bins k [F] and the window's samples n, the phase reduced as an integer first."""
    _, left = window_of(spec)
    position = np.arange(left, left + spec.window_length)
    turns: Any = np.outer(np.arange(spec.n_fft // 2 + 1), position) % spec.n_fft
    return np.asarray(turns * (2.0 * np.pi / spec.n_fft), np.float64)
