"""A description's features as ONNX nodes: waveform -> STFT -> features -> what the classifier takes.

No STFT operator: frames, what is done to each, and the DFT are one convolution. Kernels are computed in
float64 and held in float32.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from ...runtime.bundle.nodes import Nodes
from .description import Description, Frames, Log, Normalise, Patches, Stft
from .matrices import Numbers, numbers_of, transform_kernel


def waveform_nodes(graph: Nodes, description: Description, wave: str) -> str:
    """[B, N] -> [B, N'], as the STFT, or the classifier, gets it."""
    if description.level == "unit_variance":
        wave = graph.add("Sub", wave, graph.over("ReduceMean", wave, [1], keepdims=1))
    if description.samples is not None:
        if description.samples.pad != "zeros":
            wave = _repeated(graph, wave, description.samples.count, description.samples.pad)
        padded = graph.add("Pad", wave, graph.whole(0, 0, 0, description.samples.count))
        wave = graph.part(padded, 1, 0, description.samples.count)
    if description.preemphasis:
        late = graph.part(graph.add("Pad", wave, graph.whole(0, 1, 0, 0)), 1, 0, -1)
        wave = graph.add("Sub", wave, graph.add("Mul", late, graph.constant(description.preemphasis)))
    if description.patches is not None and description.patches.end == "pad" and description.stft is not None:
        wave = _with_whole_patches(graph, wave, description.stft, description.patches)
    # The STFT's own factor follows it: the listenable STFT is that of the sound.
    if description.stft is None and description.scale != 1.0:
        wave = graph.add("Mul", wave, graph.constant(description.scale))
    return wave


def _repeated(graph: Nodes, wave: str, count: int, how: str) -> str:
    """The sound as often as it fits into `count`, or once more."""
    times = graph.add("Div", graph.whole(count), graph.size(wave, 1))
    if how == "repeat":
        times = graph.add("Add", times, graph.whole(1))
    # Sound longer than that stays as it is.
    times = graph.add("Where", graph.add("Less", times, graph.whole(1)), graph.whole(1), times)
    return graph.add("Tile", wave, graph.add("Concat", graph.whole(1), times, axis=0))


def _with_whole_patches(graph: Nodes, wave: str, stft: Stft, patches: Patches) -> str:
    """The sound with zeros behind it, up to the end of the patch that holds its last sample."""
    edge = stft.span if stft.centring == "none" else 0
    one, hop = (patches.length - 1) * stft.hop + edge, patches.hop * stft.hop
    length = graph.size(wave, 1)
    beyond = graph.add("Sub", length, graph.whole(one))
    none = graph.whole(0)
    beyond = graph.add("Where", graph.add("Less", beyond, none), none, beyond)
    steps = graph.add("Div", graph.add("Add", beyond, graph.whole(hop - 1)), graph.whole(hop))
    wanted = graph.add("Add", graph.add("Mul", steps, graph.whole(hop)), graph.whole(one))
    missing = graph.add("Sub", wanted, length)
    missing = graph.add("Where", graph.add("Less", missing, none), none, missing)
    return graph.add("Pad", wave, graph.add("Concat", graph.whole(0, 0, 0), missing, axis=0))


def stft_nodes(graph: Nodes, stft: Stft, wave: str) -> str:
    """[B, N] -> [B, T, F, 2], real and imaginary part."""
    n_fft, width = stft.n_fft, stft.width
    left = (n_fft - width) // 2
    row = graph.over("Unsqueeze", wave, [1])
    if stft.centring != "none":
        # Only the window's own samples meet the kernel. T = 1 + N // hop; of an odd n_fft 1 + (N - 1) // hop.
        before, behind = n_fft // 2 - left, n_fft // 2 + width + left - n_fft
        mode = "reflect" if stft.centring == "reflect" else "constant"
        row = graph.add("Pad", row, graph.whole(0, 0, before, 0, 0, behind), mode=mode)
    elif stft.frame == "n_fft" and width < n_fft:
        last = -(n_fft - width - left) or np.iinfo(np.int64).max
        row = graph.part(row, 2, left, last)
    kernel = graph.constant(transform_kernel(stft)[:, None])
    spectrum = graph.add("Conv", row, kernel, strides=[stft.hop])
    turned = graph.add("Transpose", spectrum, perm=[0, 2, 1])
    return graph.add("Reshape", turned, graph.whole(0, -1, n_fft // 2 + 1, 2))


def feature_nodes(graph: Nodes, description: Description, spectrum: str) -> str:
    """STFT [B, T, F, 2] -> features [B, T, F'], or [B, P, L, F'] in patches."""
    stft = description.stft
    if stft is None:
        return spectrum
    if description.frames is not None:
        spectrum = graph.part(spectrum, 1, 0, description.frames.count)
    if stft.bin_count <= stft.n_fft // 2:
        spectrum = graph.part(spectrum, 2, 0, stft.bin_count)
    x = graph.over("ReduceSum", graph.add("Mul", spectrum, spectrum), [3], keepdims=0)
    scale = description.scale**2
    if stft.spectrum == "magnitude":
        x, scale = graph.add("Sqrt", x), description.scale
    if scale != 1.0:
        x = graph.add("Mul", x, graph.constant(scale))
    numbers = numbers_of(description, stft)
    if numbers.bank is not None:
        x = graph.add("MatMul", x, graph.constant(numbers.bank))
    if description.log is not None:
        x = _logarithm(graph, description.log, numbers.log, x)
    if numbers.cosines is not None:
        x = graph.add("MatMul", x, graph.constant(numbers.cosines))
    if description.normalise is not None:
        x = _normalised(graph, description.normalise, numbers, x)
    if description.frames is not None:
        x = _to_count(graph, description.frames, x)
    return x if description.patches is None else _patches(graph, description.patches, x)


def _logarithm(graph: Nodes, log: Log, factor: float, x: str) -> str:
    if log.gain != 1.0:
        x = graph.add("Mul", x, graph.constant(log.gain))
    if log.kind == "log1p":
        x = graph.add("Add", x, graph.constant(1.0))
    elif log.floor:
        x = graph.add("Max" if log.floor_by == "clip" else "Add", x, graph.constant(log.floor))
    x = graph.add("Log", x)
    if factor != 1.0:
        x = graph.add("Mul", x, graph.constant(factor))
    if log.reference == "max":
        x = graph.add("Sub", x, graph.over("ReduceMax", x, [1, 2], keepdims=1))
    elif log.reference != 1.0:
        floored = max(log.reference, log.floor) if log.floor_by == "clip" else log.reference + log.floor
        zero = np.log1p(log.reference) if log.kind == "log1p" else np.log(floored) * factor
        x = graph.add("Sub", x, graph.constant(zero))
    if log.range is not None:
        most = graph.over("ReduceMax", x, [1, 2], keepdims=1)
        x = graph.add("Max", x, graph.add("Sub", most, graph.constant(log.range)))
    return x


def _normalised(graph: Nodes, how: Normalise, numbers: Numbers, x: str) -> str:
    if numbers.mean is not None and numbers.deviation is not None:
        shifted = graph.add("Sub", x, graph.constant(numbers.mean))
        return graph.add("Div", shifted, graph.constant(numbers.deviation))
    axes = [1] if how.over == "bin" else [1, 2]
    shifted = graph.add("Sub", x, graph.over("ReduceMean", x, axes, keepdims=1))
    squares = graph.add("Mul", shifted, shifted)
    variance = graph.over("ReduceMean", squares, axes, keepdims=1)
    if how.correction:
        frames = graph.cast(graph.size(x, 1), TensorProto.FLOAT)
        count = graph.add("Mul", frames, graph.constant(numbers.bins if how.over == "clip" else 1))
        one = graph.constant(1.0)
        fewer = graph.add("Max", graph.add("Sub", count, one), one)
        variance = graph.add("Mul", variance, graph.add("Div", count, fewer))
    if how.epsilon:
        variance = graph.add("Add", variance, graph.constant(how.epsilon))
    return graph.add("Div", shifted, graph.add("Sqrt", variance))


def _to_count(graph: Nodes, frames: Frames, x: str) -> str:
    """[B, T, F] with T up to the count -> [B, count, F]."""
    if frames.pad == "repeat":
        indices = graph.add("Mod", graph.constant(np.arange(frames.count), np.int64), graph.size(x, 1))
        return graph.add("Gather", x, indices, axis=1)
    padded = graph.add("Pad", x, graph.whole(0, 0, 0, 0, frames.count, 0), graph.constant(frames.value))
    return graph.part(padded, 1, 0, frames.count)


def _patches(graph: Nodes, patches: Patches, x: str) -> str:
    """[B, T, F] -> [B, P, L, F], P = 1 + (T - L) // hop."""
    beyond = graph.add("Sub", graph.size(x, 1), graph.whole(patches.length))
    count = graph.add("Add", graph.add("Div", beyond, graph.whole(patches.hop)), graph.whole(1))
    number = graph.add(
        "Range",
        graph.constant(0, np.int64),
        graph.over("Squeeze", count, [0]),
        graph.constant(1, np.int64),
    )
    starts = graph.over("Unsqueeze", graph.add("Mul", number, graph.whole(patches.hop)), [1])
    within = graph.constant(np.arange(patches.length)[None], np.int64)
    return graph.add("Gather", x, graph.add("Add", starts, within), axis=1)


def row_nodes(graph: Nodes, description: Description, features: str) -> str:
    """Features, in patches or not -> rows [B P, ...] as the classifier takes them."""
    output, axes = description.output, description.output.layout
    x = features
    if description.patches is not None:
        # Patches become rows of the batch.
        sizes = graph.add("Shape", x)
        inner = graph.add("Slice", sizes, graph.whole(2), graph.whole(4))
        x = graph.add("Reshape", x, graph.add("Concat", graph.whole(-1), inner, axis=0))
    if output.stack > 1:
        stack = graph.whole(output.stack)
        whole = graph.add("Mul", graph.add("Div", graph.size(x, 1), stack), stack)
        x = graph.add("Slice", x, graph.whole(0), whole, graph.whole(1))
        bins = graph.add("Mul", graph.size(x, 2), stack)
        x = graph.add("Reshape", x, graph.add("Concat", graph.whole(0, -1), bins, axis=0))
    if "F" in axes and axes.index("F") < axes.index("T"):
        x = graph.add("Transpose", x, perm=[0, 2, 1])
    if "1" in axes:
        x = graph.over("Unsqueeze", x, [axes.index("1")])
        if output.channels > 1:
            x = graph.add("Concat", *[x] * output.channels, axis=axes.index("1"))
    if output.dtype == "float32":
        return x
    if not output.dtype.startswith("float"):
        kind = np.iinfo(output.dtype)
        x = graph.add("Round", graph.add("Div", x, graph.constant(output.scale)))
        x = graph.add("Add", x, graph.constant(output.zero_point))
        x = graph.add("Min", graph.add("Max", x, graph.constant(kind.min)), graph.constant(kind.max))
    return graph.cast(x, int(helper.np_dtype_to_tensor_dtype(np.dtype(output.dtype))))
