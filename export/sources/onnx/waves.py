"""An input that takes waveforms, in the order of axes and the type that the graph wants. Never torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ....errors import SourceError
from ....runtime.bundle.nodes import Nodes
from ....runtime.values.arrays import Array, FloatArray
from ...frontends.frontend import Frontend, frontend_model
from ...graphs.files import OPSET, Dims
from .entry import FEATURES, PASSING, Entry, dims_of

# b a batch, c channels, n samples.
Layout = Literal["n", "bn", "bcn", "bnc"]
# A fixed length below this many seconds is taken for sound only where its user says so.
_SHORTEST_SECONDS = 0.25
# More channels than this are features, and more sounds at once are rows of them.
_MOST_CHANNELS = 8
_MOST_COPIES = 64
# What a sample of 1 is, by the type of the input: float as it is, integers as in a .wav file.
_INTEGERS = {"int16": (32768.0, 0.0), "uint8": (128.0, 128.0)}
_FLOATS = ("float32", "float16", "float64")


@dataclass(frozen=True, kw_only=True)
class Waves(Frontend):
    """No front end: the sound itself, as a graph takes it.

    layout: its axes; kind: its type, one of NumPy's names
    channels: how often the same sound stands side by side
    longest: samples beyond which the graph fails, and that longer sound is cut to; None: any length
    """

    layout: Layout = "bn"
    kind: str = "float32"
    channels: int = 1
    longest: int | None = None

    @property
    def batched(self) -> bool:
        """Whether there is an axis of sounds."""
        return "b" in self.layout

    @property
    def time_axis(self) -> int:
        """The axis of samples."""
        return self.layout.index("n")

    def rows(self, sound: FloatArray) -> Array:
        """The sound itself, in the graph's type and axes."""
        fed: Array = sound
        if self.kind in _INTEGERS:
            scale, middle = _INTEGERS[self.kind]
            limits = np.iinfo(self.kind)
            fed = np.clip(np.rint(sound * np.float32(scale)) + np.float32(middle), limits.min, limits.max)
        fed = fed.astype(self.kind)
        if self.layout == "n":
            return fed
        row = {"bn": fed[None], "bcn": fed[None, None], "bnc": fed[None, :, None]}[self.layout]
        return np.repeat(row, self.channels, axis=1) if self.channels > 1 else row

    def row_nodes(self, graph: Nodes, tensor: str) -> str:
        """The waveforms [B, N] in the graph's type, with an axis of channels where it has one."""
        if self.kind in _INTEGERS:
            scale, middle = _INTEGERS[self.kind]
            limits = np.iinfo(self.kind)
            scaled = graph.add("Round", graph.add("Mul", tensor, graph.constant(scale)))
            moved = graph.add("Add", scaled, graph.constant(middle))
            tensor = graph.add("Clip", moved, graph.constant(limits.min), graph.constant(limits.max))
        if self.kind != "float32":
            tensor = graph.cast(tensor, int(helper.np_dtype_to_tensor_dtype(np.dtype(self.kind))))
        if "c" in self.layout:
            axis = self.layout.index("c")
            tensor = graph.over("Unsqueeze", tensor, [axis])
            if self.channels > 1:
                tensor = graph.add("Concat", *[tensor] * self.channels, axis=axis)
        return tensor

    def model(self) -> tuple[onnx.ModelProto, Dims]:
        """The waveform: at most `longest` samples of it, or exactly these where the length is fixed."""
        graph, wave = Nodes(OPSET), "waveform"
        if self.longest is not None:
            if self.samples is not None:
                wave = graph.add("Pad", wave, graph.whole(0, 0, 0, self.longest))
            wave = graph.part(wave, 1, 0, self.longest)
        dims: Dims = ["batch", self.samples or ("samples" if self.longest is None else "heard")]
        return frontend_model(graph, wave, "features", dims), dims


def wave_input(
    value: Any, model: onnx.ModelProto, path: Path, sample_rate: int, seconds: float | None
) -> Entry[Waves]:
    """The input `value` as one of waveforms.

    seconds: the window that the user asked for; where a fixed length is that, it is meant
    Raises SourceError where it is none, saying what is needed.
    """
    dims = dims_of(value)
    shown = ", ".join(map(str, dims)) or "no declared shape"
    where = f"{path}: its input {value.name!r} [{shown}]"
    layout = _layout(dims)
    if layout is None:
        raise SourceError(
            f"{where} is no waveform ([batch, samples], [samples], [batch, channels, samples] or "
            "[batch, samples, 1]), and an .onnx file does not say how features (log-mel, STFT) are made from "
            "sound; say it by --frontend (docs/frontends.md), put the front end into the graph, or export by "
            "module:factory, whose Adapter names both"
        )
    length = dims[layout.index("n")]
    samples = length if isinstance(length, int) else None
    meant = seconds is not None and samples == round(seconds * sample_rate)
    if samples is not None and not meant:
        _ask(model, value.name, samples, sample_rate, where)
    kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
    if kind not in (*_FLOATS, *_INTEGERS):
        raise SourceError(
            f"{where} is {kind}; sound is given as {', '.join((*_FLOATS, *_INTEGERS))}: put a Cast behind "
            "an input of one of these"
        )
    channels = dims[layout.index("c")] if "c" in layout else 1
    copies = dims[0] if layout != "n" else 1
    waves = Waves(
        samples=samples, layout=layout, kind=kind, channels=channels if isinstance(channels, int) else 1
    )
    return Entry(value.name, waves, copies if isinstance(copies, int) else 1)


def _layout(dims: list[int | str]) -> Layout | None:
    """The order of axes of sound with these dims; None where they are no sound's."""
    if len(dims) == 1:
        return "n"
    if not 2 <= len(dims) <= 3 or (isinstance(dims[0], int) and dims[0] > _MOST_COPIES):
        return None
    if len(dims) == 2:
        return "bn"
    if dims[1] == 1 or (isinstance(dims[1], int) and dims[1] <= _MOST_CHANNELS and dims[2] != 1):
        return "bcn"
    return "bnc" if dims[2] == 1 else None


def _ask(model: onnx.ModelProto, name: str, samples: int, rate: int, where: str) -> None:
    """Raise SourceError where a fixed length is hardly one of sound, unless its user says that it is."""
    seconds = samples / rate
    if re.search(FEATURES, name.lower()):
        why = "has the name of features"
    elif seconds < _SHORTEST_SECONDS:
        why = "is short for sound"
    elif _dense_first(model, name, samples):
        why = f"is met by one matrix with all its {samples} values, as features and embeddings are"
    else:
        return
    raise SourceError(
        f"{where} {why}: read as a waveform it is {samples} samples, {seconds:.3g} s at {rate} Hz; if it is, "
        f"say --window {seconds:.6g}; if it takes features, say how they are made by --frontend "
        "(docs/frontends.md)"
    )


def _dense_first(model: onnx.ModelProto, name: str, samples: int) -> bool:
    """Whether a matrix that is as high as the input is long takes it whole, as none does that takes sound."""
    weights = {one.name: tuple(one.dims) for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    weights[node.output[0]] = numpy_helper.to_array(attribute.t).shape
    reached = {name}
    for node in model.graph.node:
        if not reached.intersection(node.input):
            continue
        if node.op_type in PASSING:
            reached.update(node.output)
        elif node.op_type in {"MatMul", "Gemm"}:
            shape = weights.get(node.input[1], ()) if len(node.input) > 1 else ()
            if len(shape) == 2 and samples in shape:
                return True
    return False
