"""The embeddings graph: a feature map's views with U folded in, and the contributions of its channels.

Built node by node from numbers, since it is the same small graph for every model: of a `Source`, or of a
bundle's own graph and a U learnt over it. Never torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from ...errors import SourceError
from ...prototypes_index.durability import naming
from ...runtime.bundle.manifest import FeatureMapSpec, StageSpec
from ...runtime.bundle.nodes import Nodes
from ...runtime.values.arrays import FloatArray
from .apex_report import write_report
from .files import OPSET, Dims, model_of, stage_spec
from .heads import ROTATION, Activation, Head, LearntRotation, inverse_of


def write_embeddings(
    folder: Path,
    spec: FeatureMapSpec,
    taps: Mapping[str, Dims],
    head: Head | None,
    apex: LearntRotation | None,
) -> StageSpec:
    """Write the embeddings graph of a source, with the learnt U where there is one, and that U's report.

    taps: the classifier's, by name. Raises SourceError where the feature map is not among them or disagrees.
    """
    for name in spec.taps:
        if name not in taps:
            raise SourceError(
                f"the feature map's {name!r} is not among the taps {list(taps)}; make them agree"
            )
    if apex is not None:
        write_report(folder, apex.report)
    return embeddings_model(
        folder / "embeddings.onnx",
        spec,
        taps[spec.tap],
        head,
        None if apex is None else apex.rotation,
        attention_dims=None if spec.attention is None else taps[spec.attention],
    )


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
    graph = Nodes(OPSET, "embeddings")
    time = _maps(graph, spec.tap, rotation)
    if head is not None:
        if attention_dims is not None and spec.attention is not None:
            inputs[spec.attention] = attention_dims
        classes = len(head.layers[-1].bias)
        _account(graph, head, _pooled(graph, spec, *time, attention_dims), rotation)
        outputs["contributions"] = ["batch", classes, channels]
        outputs["bias"] = [classes]
    model = model_of(graph, "embeddings", inputs, outputs)
    if head is not None and not head.linear:
        active: dict[str, str] = {
            f"layer_{index}_activation": layer.activation
            for index, layer in enumerate(head.layers)
            if layer.activation != "none"
        }
        helper.set_model_props(model, active)
    onnx.checker.check_model(model)
    with naming(path):
        path.write_bytes(model.SerializeToString(deterministic=True))
    return stage_spec("embeddings", path, [], OPSET, inputs, outputs)


def _fixed(graph: Nodes, name: str, value: npt.ArrayLike) -> str:
    """A constant that is read back by its name (`heads.py`)."""
    graph.constants[name] = np.ascontiguousarray(value, dtype=np.float32)
    return name


def _maps(graph: Nodes, tap: str, rotation: FloatArray | None) -> tuple[str, str]:
    """The views' maps, each turned by U, with which means commute; raw: [B, T', F', C] and [B, T', C]."""
    maps = [name if rotation is None else f"raw_{name}" for name in ("square", "time", "frequency")]
    square, time, frequency = maps
    graph.named("Transpose", square, tap, perm=[0, 2, 3, 1])
    graph.named("ReduceMean", time, square, graph.whole(2), keepdims=0)
    graph.named("ReduceMean", frequency, square, graph.whole(1), keepdims=0)
    if rotation is not None:
        # Transposed, as vectors are rows.
        turn = _fixed(graph, ROTATION, rotation.T)
        for name in maps:
            graph.named("MatMul", name.removeprefix("raw_"), name, turn)
    return square, time


def _pooled(graph: Nodes, spec: FeatureMapSpec, cells: str, time: str, attention_dims: Dims | None) -> str:
    """v, raw: [B, 1, C], or with attention of classes [B, K, C]; cells, time: what `_maps` gives."""
    if spec.pooling == "attention" and spec.attention is not None and attention_dims is not None:
        classes = 1 if len(attention_dims) == 3 else int(attention_dims[1])
        rows = graph.add("Reshape", cells, graph.whole(0, -1, spec.channels))
        return graph.add("MatMul", graph.add("Reshape", spec.attention, graph.whole(0, classes, -1)), rows)
    pooled = graph.over("ReduceMean", time, [1], keepdims=0)
    if spec.pooling == "max_mean":
        pooled = graph.add("Add", pooled, graph.over("ReduceMax", time, [1], keepdims=0))
    return graph.add("Reshape", pooled, graph.whole(0, 1, spec.channels))


def _account(graph: Nodes, head: Head, pooled: str, rotation: FloatArray | None) -> None:
    """Contributions and bias."""
    back = None if rotation is None else inverse_of(rotation)
    if head.linear:
        weight, bias = head.layers[0].weight.astype(np.float64), head.layers[0].bias
        # W' = W U^-1, folded in float64.
        slope = _fixed(graph, "head_weight", weight if back is None else weight @ back)
    else:
        slope = _gradient(graph, head, pooled)
        bias = np.zeros(len(head.layers[-1].bias), np.float32)
        if back is not None:
            slope = graph.add("MatMul", slope, graph.constant(back))
    vector = pooled if rotation is None else graph.add("MatMul", pooled, ROTATION)
    graph.named("Mul", "contributions", vector, slope)
    graph.named("Identity", "bias", _fixed(graph, "head_bias", bias))


def _gradient(graph: Nodes, head: Head, pooled: str) -> str:
    """dg_k/dv [B, K, C] of a network: forwards for the slopes of its activations, then backwards."""
    slopes: list[str] = []
    x = pooled
    for index, layer in enumerate(head.layers):
        weight = _fixed(graph, f"layer_{index}_weight", layer.weight.T)
        bias = _fixed(graph, f"layer_{index}_bias", layer.bias)
        x, slope = _activated(graph, layer.activation, graph.add("Add", graph.add("MatMul", x, weight), bias))
        slopes.append(slope)
    gradient = ""
    for layer, slope in zip(reversed(head.layers), reversed(slopes), strict=True):
        rows = graph.constant(layer.weight)
        if gradient:
            inner = graph.add("Mul", gradient, slope) if slope else gradient
            gradient = graph.add("MatMul", inner, rows)
        elif slope:
            # The last layer's slope belongs to classes: its rows are the diagonal's.
            gradient = graph.add("Mul", graph.add("Transpose", slope, perm=[0, 2, 1]), rows)
        else:
            gradient = rows
    return gradient


def _activated(graph: Nodes, activation: Activation, x: str) -> tuple[str, str]:
    """The activation of x and its derivative there, "" where that is 1."""
    if activation == "none":
        return x, ""
    if activation == "relu":
        return graph.add("Relu", x), graph.cast(graph.add("Greater", x, graph.constant(0)), TensorProto.FLOAT)
    one = graph.constant(1)
    if activation == "tanh":
        out = graph.add("Tanh", x)
        return out, graph.add("Sub", one, graph.add("Mul", out, out))
    # GELU: x Phi(x), with the derivative Phi(x) + x phi(x).
    half, root, peak = (graph.constant(value) for value in (0.5, 0.5**0.5, (2.0 * np.pi) ** -0.5))
    error = graph.add("Erf", graph.add("Mul", x, root))
    below = graph.add("Mul", graph.add("Add", error, one), half)
    bell = graph.add("Exp", graph.add("Neg", graph.add("Mul", graph.add("Mul", x, x), half)))
    lean = graph.add("Mul", x, graph.add("Mul", bell, peak))
    return graph.add("Mul", x, below), graph.add("Add", below, lean)
