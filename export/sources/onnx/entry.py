"""What a graph from a file takes, and how sound gets into it: as it is, or by a front end. Never torch."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ....errors import SourceError
from ....runtime.bundle.manifest import AnalysisSpec
from ...frontends.frontend import Frontend, Join
from ...frontends.nodes import Nodes
from ...graphs.files import IR_VERSION, OPSET, Dims
from ...source.exportable import FloatArray

# A fixed length below this many seconds is taken for sound only where its user says so.
_SHORTEST_SECONDS = 0.25
# Words in names of tensors and dims that are features'.
FEATURES = r"mel|mfcc|fbank|filterbank|spec|stft|embed|coeff|cepstr|(^|_)(bands?|bins?|freqs?|frames?)($|_)"
# Operators that hand their values on as they are.
PASSING = frozenset(
    ["Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout"]
)


class Entry(ABC):
    """How sound gets into the graph.

    name: of the graph's input; samples: the length that sound is cut and padded to, None: any
    """

    name: str
    samples: int | None

    @property
    def border(self) -> Literal["stft", "features"]:
        """The tensor between front end and classifier."""
        return "features"

    @property
    def analysis(self) -> AnalysisSpec | None:
        """The listenable STFT, where the graph takes what is computed from it."""
        return None

    @property
    def join(self) -> Join | None:
        """How the scores of a sound's rows are joined; None: a sound is one row."""
        return None

    @property
    def batched(self) -> bool:
        """Whether the graph's input has an axis of sounds, or of rows."""
        return True

    @property
    @abstractmethod
    def dims(self) -> Dims:
        """Dims of the border tensor."""

    @abstractmethod
    def feed(self, sound: FloatArray) -> npt.NDArray[Any]:
        """What the graph takes for one sound [N]. Raises SourceError where it is too short."""

    @abstractmethod
    def rows(self, graph: Nodes, tensor: str) -> str:
        """Nodes from the border tensor to rows as the graph takes them."""

    @abstractmethod
    def frontend(self) -> onnx.ModelProto:
        """frontend.onnx, "waveform" -> the border tensor."""


@dataclass(frozen=True)
class WaveInput(Entry):
    """The graph's only input: [N] (rank 1), [B, N] (2) or [B, 1, N] (3); N fixed, or None where any goes.

    longest: samples beyond which the graph fails, and that longer sound is cut to; None: any length
    """

    name: str
    rank: int
    samples: int | None
    longest: int | None = None

    @property
    def batched(self) -> bool:
        """Whether there is an axis of sounds."""
        return self.rank > 1

    @property
    def dims(self) -> Dims:
        """[B, N]."""
        return ["batch", self.samples or ("samples" if self.longest is None else "heard")]

    def feed(self, sound: FloatArray) -> FloatArray:
        """The sound itself."""
        return sound.reshape({1: (-1,), 2: (1, -1), 3: (1, 1, -1)}[self.rank])

    def rows(self, graph: Nodes, tensor: str) -> str:
        """The waveforms, with an axis of channels where the graph has one."""
        return graph.over("Unsqueeze", tensor, [1]) if self.rank == 3 else tensor

    def frontend(self) -> onnx.ModelProto:
        """The waveform: at most `longest` samples of it, or exactly these where the length is fixed."""
        return _waveform_graph(self.longest, self.dims, pad=self.samples is not None)


@dataclass(frozen=True)
class FeatureInput(Entry):
    """The graph's only input takes features that a front end makes."""

    name: str
    front: Frontend

    @property
    def samples(self) -> int | None:  # type: ignore[override]
        """Of the front end."""
        return self.front.samples

    @property
    def border(self) -> Literal["stft", "features"]:
        """The listenable STFT, where the features begin with it."""
        return "features" if self.front.analysis is None else "stft"

    @property
    def analysis(self) -> AnalysisSpec | None:
        """Of the front end."""
        return self.front.analysis

    @property
    def join(self) -> Join | None:
        """Of the front end's patches."""
        return self.front.join

    @cached_property
    def _stage(self) -> tuple[onnx.ModelProto, Dims]:
        return self.front.model()

    @property
    def dims(self) -> Dims:
        """Of what the front end gives."""
        return self._stage[1]

    def feed(self, sound: FloatArray) -> npt.NDArray[Any]:
        """The reference's features."""
        return self.front.rows(sound)

    def rows(self, graph: Nodes, tensor: str) -> str:
        """What the front end leaves to do."""
        return self.front.row_nodes(graph, tensor)

    def frontend(self) -> onnx.ModelProto:
        """The front end, which knows itself how long sound may be."""
        return self._stage[0]


def only_input(model: onnx.ModelProto, path: Path) -> Any:
    """The graph's one input beside its weights. Raises SourceError where there are others."""
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs) or "none"
        raise SourceError(
            f"{path}: takes {len(inputs)} inputs ({names}); export it again with the sound, or its features, "
            "as its only one"
        )
    (value,) = inputs
    return value


def dims_of(value: Any) -> list[int | str]:
    """Dims of an input: numbers, names, or "?"."""
    return [dim.dim_value or dim.dim_param or "?" for dim in value.type.tensor_type.shape.dim]


def wave_input(model: onnx.ModelProto, path: Path, sample_rate: int, seconds: float | None) -> WaveInput:
    """The input that takes waveforms. Raises SourceError where there is none, saying what is needed.

    seconds: the window that the user asked for; where a fixed length is that, it is meant
    """
    value = only_input(model, path)
    tensor, dims = value.type.tensor_type, dims_of(value)
    samples = dims[-1] if dims and isinstance(dims[-1], int) else None
    shown = ", ".join(map(str, dims)) or "no declared shape"
    shaped = (
        len(dims) in (1, 2, 3)
        and (len(dims) == 1 or dims[0] == 1 or isinstance(dims[0], str))
        and (len(dims) < 3 or dims[1] == 1)
    )
    if not shaped:
        raise SourceError(
            f"{path}: its input {value.name!r} [{shown}] is no waveform ([batch, samples], [samples] or "
            "[batch, 1, samples]), and an .onnx file does not say how features (log-mel, STFT) are made from "
            "sound; say it by --frontend (docs/frontends.md), put the front end into the graph, or export by "
            "module:factory, whose Adapter names both"
        )
    meant = seconds is not None and samples == round(seconds * sample_rate)
    if samples is not None and not meant:
        _ask(model, value.name, samples, sample_rate, f"{path}: its input {value.name!r} [{shown}]")
    if tensor.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise SourceError(
            f"{path}: its input {value.name!r} is {kind}; export it again with float32 waveforms"
        )
    return WaveInput(value.name, len(dims), samples)


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


def feature_input(
    model: onnx.ModelProto, path: Path, front: Frontend, window: int, sound: FloatArray
) -> FeatureInput:
    """The input that takes the features of `front`, of which `sound` [window] is an example.

    Where the graph's own dims fix how many frames it takes, windows get their length.
    Raises SourceError where features and input disagree, naming both.
    """
    value = only_input(model, path)
    dims = dims_of(value)
    wanted = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    front = front.suited(dims, wanted)
    rows = front.rows(sound)
    shown, given = ", ".join(map(str, dims)), ", ".join(map(str, rows.shape[1:]))
    where = f"{path}: its input {value.name!r} takes {wanted} [{shown}]"
    if not dims or len(dims) != rows.ndim:
        raise SourceError(
            f"{where}, the front end gives [batch, {given}]; correct output.layout, or the front end"
        )
    wrong = [
        axis
        for axis, (have, want) in enumerate(zip(rows.shape, dims, strict=True))
        if axis and isinstance(want, int) and have != want
    ]
    if wrong:
        raise SourceError(
            f"{where}, the front end gives [batch, {given}] for {len(sound)} samples; correct the bins or "
            "output.layout, or fix the number of frames by frames.count or --window"
        )
    if rows.dtype != wanted:
        raise SourceError(f"{where}, the front end gives {rows.dtype}; set output.dtype")
    if isinstance(dims[0], int) and dims[0] > 1:
        raise SourceError(f"{where}: {dims[0]} rows at once; export it with a batch of 1, or of any size")
    built = FeatureInput(value.name, front)
    if front.samples is None and _changes(front, sound, dims):
        built = FeatureInput(value.name, replace(front, samples=window))
    return built


def _changes(front: Frontend, sound: FloatArray, dims: list[int | str]) -> bool:
    """Whether a shorter sound would give what the graph's fixed dims do not take."""
    for part in (0.97, 0.75, 0.5):
        try:
            shape = front.rows(sound[: int(part * len(sound))]).shape
        except SourceError:
            return False
        if any(
            axis and isinstance(want, int) and have != want
            for axis, (have, want) in enumerate(zip(shape, dims, strict=True))
        ):
            return True
    return False


def _waveform_graph(window: int | None, dims: Dims, *, pad: bool) -> onnx.ModelProto:
    """Waveform [B, N] -> features: the waveform, at most `window` samples of it, or exactly these (`pad`)."""
    nodes = []
    constants: dict[str, npt.NDArray[np.int64]] = {}
    built = "waveform"
    if window is not None and pad:
        constants["pads"] = np.array([0, 0, 0, window], np.int64)
        nodes.append(helper.make_node("Pad", [built, "pads"], ["padded"]))
        built = "padded"
    if window is not None:
        constants |= {
            name: np.array([at], np.int64) for name, at in (("first", 0), ("end", window), ("axis", 1))
        }
        nodes.append(helper.make_node("Slice", [built, "first", "end", "axis"], ["features"]))
    else:
        nodes.append(helper.make_node("Identity", [built], ["features"]))
    graph = helper.make_graph(
        nodes,
        "frontend",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", "samples"])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, list(dims))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="earmark"
    )
