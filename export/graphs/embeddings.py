"""The embeddings graph: a feature map's views with U folded in, and the contributions of its channels.

Built node by node from numbers, since it is the same small graph for every model: of a `Source`, or of a
bundle's own graph and a U learnt over it. Never torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...errors import SourceError
from ...prototypes_index.durability import naming
from ...runtime.bundle.manifest import FeatureMapSpec, StageSpec
from ...runtime.values.arrays import FloatArray
from .files import IR_VERSION, OPSET, Dims, stage_spec
from .heads import ROTATION, Activation, Head, inverse_of


def embeddings_model(
    path: Path,
    spec: FeatureMapSpec,
    dims: Dims,
    head: Head | None,
    rotation: FloatArray | None = None,
    *,
    attention_dims: Dims | None = None,
) -> StageSpec:
    """Write the graph Z [B, C, T', F'] -> square, time, frequency (, contributions, bias) to `path`.

    dims: of the tap; head: what follows pooling, None where nothing is known of it
    rotation: U [C, C]; None: raw channels
    attention_dims: of the attention's tap, [B, T', F'] or [B, K, T', F']

    Zhat = U Z: square [B, T', F', C], time [B, T', C] (mean over bins), frequency [B, F', C] (mean over
    frames). With a head: contributions [B, K, C] and bias [K], where for a linear head
    contributions.sum(-1) + bias = logits; for a network (gradient x activation) the bias is 0 and
    nothing adds up.
    Raises SourceError where feature map and tap disagree.
    """
    bands = len(spec.bands_hz)
    if len(dims) != 4 or dims[1] != spec.channels or dims[3] != bands:
        raise SourceError(
            f"the feature map {spec.tap!r} with {spec.channels} channels and {bands} bands is not the tap "
            f"{list(dims)}; make them agree"
        )
    frames, channels = dims[2], spec.channels
    inputs: dict[str, Dims] = {spec.tap: dims}
    outputs: dict[str, Dims] = {
        "square": ["batch", frames, bands, channels],
        "time": ["batch", frames, channels],
        "frequency": ["batch", bands, channels],
    }
    graph = _Graph()
    _maps(graph, spec.tap, rotation)
    if head is not None:
        if attention_dims is not None and spec.attention is not None:
            inputs[spec.attention] = attention_dims
        classes = len(head.layers[-1].bias)
        pooled = _pooled(graph, spec, attention_dims, turned=rotation is not None)
        _account(graph, head, pooled, rotation)
        outputs["contributions"] = ["batch", classes, channels]
        outputs["bias"] = [classes]
    with naming(path):
        path.write_bytes(graph.model(inputs, outputs).SerializeToString(deterministic=True))
    return stage_spec("embeddings", path, [], OPSET, inputs, outputs)


class _Graph:
    """Nodes and constants on their way to a graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        self.notes: dict[str, str] = {}

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """One node with one output, whose name is returned."""
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, value: np.ndarray[Any, Any]) -> str:
        """A constant tensor."""
        self.constants[name] = value
        return name

    def indices(self, name: str, *values: int) -> str:
        """A constant of int64."""
        return self.constant(name, np.array(values, np.int64))

    def model(self, inputs: dict[str, Dims], outputs: dict[str, Dims]) -> onnx.ModelProto:
        """The finished model, checked."""
        built = helper.make_model(
            helper.make_graph(
                self.nodes,
                "embeddings",
                [_value(name, dims) for name, dims in inputs.items()],
                [_value(name, dims) for name, dims in outputs.items()],
                [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
            ),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="earmark",
        )
        if self.notes:
            helper.set_model_props(built, self.notes)
        onnx.checker.check_model(built)
        return built


def _value(name: str, dims: Dims) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


def _maps(graph: _Graph, tap: str, rotation: FloatArray | None) -> None:
    """The views' maps, each turned by U, with which means commute."""
    bins, frames = graph.indices("bins", 2), graph.indices("frames", 1)
    if rotation is None:
        graph.add("Transpose", [tap], "square", perm=[0, 2, 3, 1])
        graph.add("ReduceMean", ["square", bins], "time", keepdims=0)
        graph.add("ReduceMean", ["square", frames], "frequency", keepdims=0)
        return
    graph.add("Transpose", [tap], "raw", perm=[0, 2, 3, 1])
    graph.add("ReduceMean", ["raw", bins], "raw_time", keepdims=0)
    graph.add("ReduceMean", ["raw", frames], "raw_frequency", keepdims=0)
    # Transposed, as vectors are rows.
    graph.constant(ROTATION, np.ascontiguousarray(rotation.T, dtype=np.float32))
    for source, turned in (("raw", "square"), ("raw_time", "time"), ("raw_frequency", "frequency")):
        graph.add("MatMul", [source, ROTATION], turned)


def _pooled(graph: _Graph, spec: FeatureMapSpec, attention_dims: Dims | None, *, turned: bool) -> str:
    """v, raw: [B, 1, C], or with attention of classes [B, K, C]."""
    square, time = ("raw", "raw_time") if turned else ("square", "time")
    if spec.pooling == "attention" and spec.attention is not None and attention_dims is not None:
        classes = 1 if len(attention_dims) == 3 else int(attention_dims[1])
        rows = graph.add("Reshape", [square, graph.indices("cells_shape", 0, -1, spec.channels)], "cells")
        weights = graph.add(
            "Reshape", [spec.attention, graph.indices("weights_shape", 0, classes, -1)], "cell_weights"
        )
        return graph.add("MatMul", [weights, rows], "pooled_row")
    mean = "pooled" if spec.pooling == "mean" else "pooled_mean"
    graph.add("ReduceMean", [time, "frames"], mean, keepdims=0)
    if spec.pooling == "max_mean":
        graph.add("ReduceMax", [time, "frames"], "pooled_max", keepdims=0)
        graph.add("Add", ["pooled_mean", "pooled_max"], "pooled")
    return graph.add("Reshape", ["pooled", graph.indices("pooled_shape", 0, 1, spec.channels)], "pooled_row")


def _account(graph: _Graph, head: Head, pooled: str, rotation: FloatArray | None) -> None:
    """Contributions and bias."""
    back = None if rotation is None else inverse_of(rotation)
    if head.linear:
        weight, bias = head.layers[0].weight.astype(np.float64), head.layers[0].bias
        # W' = W U^-1, folded in float64.
        slope = graph.constant("head_weight", (weight if back is None else weight @ back).astype(np.float32))
    else:
        slope = _gradient(graph, head, pooled)
        bias = np.zeros(len(head.layers[-1].bias), np.float32)
        if back is not None:
            inverse = graph.constant("inverse", back.astype(np.float32))
            slope = graph.add("MatMul", [slope, inverse], "turned_gradient")
    vector = pooled if rotation is None else graph.add("MatMul", [pooled, ROTATION], "turned_row")
    graph.add("Mul", [vector, slope], "contributions")
    graph.constant("head_bias", bias.astype(np.float32))
    graph.add("Identity", ["head_bias"], "bias")


def _gradient(graph: _Graph, head: Head, pooled: str) -> str:
    """dg_k/dv [B, K, C] of a network: forwards for the slopes of its activations, then backwards."""
    slopes: list[str] = []
    x = pooled
    for index, layer in enumerate(head.layers):
        name = f"layer_{index}"
        weight = graph.constant(f"{name}_weight", np.ascontiguousarray(layer.weight.T, dtype=np.float32))
        bias = graph.constant(f"{name}_bias", layer.bias.astype(np.float32))
        x = graph.add("Add", [graph.add("MatMul", [x, weight], f"{name}_product"), bias], f"{name}_sum")
        if layer.activation == "none":
            slopes.append("")
            continue
        graph.notes[f"{name}_activation"] = layer.activation
        x, slope = _activated(graph, layer.activation, x, name)
        slopes.append(slope)
    gradient = ""
    for index in reversed(range(len(head.layers))):
        rows = graph.constant(f"layer_{index}_rows", head.layers[index].weight.astype(np.float32))
        if slopes[index]:
            # The last layer's slope belongs to classes: its rows are the diagonal's.
            if gradient:
                gradient = graph.add("Mul", [gradient, slopes[index]], f"layer_{index}_inner")
            else:
                turned = graph.add("Transpose", [slopes[index]], f"layer_{index}_column", perm=[0, 2, 1])
                gradient = graph.add("Mul", [turned, rows], f"layer_{index}_gradient")
                continue
        elif not gradient:
            gradient = rows
            continue
        gradient = graph.add("MatMul", [gradient, rows], f"layer_{index}_gradient")
    return gradient


def _activated(graph: _Graph, activation: Activation, x: str, name: str) -> tuple[str, str]:
    """The activation of x and its derivative there."""
    if activation == "relu":
        zero = graph.constant("zero", np.zeros((), np.float32))
        positive = graph.add("Greater", [x, zero], f"{name}_positive")
        return (
            graph.add("Relu", [x], f"{name}_out"),
            graph.add("Cast", [positive], f"{name}_slope", to=TensorProto.FLOAT),
        )
    one = graph.constant("one", np.ones((), np.float32))
    if activation == "tanh":
        out = graph.add("Tanh", [x], f"{name}_out")
        squared = graph.add("Mul", [out, out], f"{name}_squared")
        return out, graph.add("Sub", [one, squared], f"{name}_slope")
    # GELU: x Phi(x), with the derivative Phi(x) + x phi(x).
    half = graph.constant("half", np.full((), 0.5, np.float32))
    root = graph.constant("root_half", np.full((), np.sqrt(0.5), np.float32))
    peak = graph.constant("normal_peak", np.full((), 1.0 / np.sqrt(2.0 * np.pi), np.float32))
    error = graph.add("Erf", [graph.add("Mul", [x, root], f"{name}_scaled")], f"{name}_error")
    below = graph.add("Mul", [graph.add("Add", [error, one], f"{name}_raised"), half], f"{name}_below")
    squared = graph.add("Mul", [x, x], f"{name}_squared")
    fall = graph.add("Neg", [graph.add("Mul", [squared, half], f"{name}_halved")], f"{name}_fall")
    density = graph.add("Mul", [graph.add("Exp", [fall], f"{name}_bell"), peak], f"{name}_density")
    return (
        graph.add("Mul", [x, below], f"{name}_out"),
        graph.add("Add", [below, graph.add("Mul", [x, density], f"{name}_lean")], f"{name}_slope"),
    )
