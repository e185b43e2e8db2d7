"""The embeddings graph: a feature map's views, and the additive account where the head is linear.

Built node by node, since it is the same small graph for every model. U = identity here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import SourceError
from ..runtime.manifest import FeatureMapSpec, StageSpec, TensorSpec
from .graph_file import IR_VERSION, OPSET
from .source import Source


def embeddings_model(source: Source, path: Path) -> StageSpec:
    """Write the graph Z [B, C, T', F'] -> square, time, frequency (, contributions, bias).

    square [B, T', F', C], time [B, T', C] (mean over bins), frequency [B, F', C] (mean over frames).
    With a linear head W, b after pooling: contributions [B, K, C] = W * v and bias [K], where
    v = mean over the map ("mean") or max_t + mean_t of the mean over bins ("max_mean"), so that
    contributions.sum(-1) + bias = logits. Raises SourceError where head and feature map disagree.
    """
    spec = source.feature_map
    if spec is None:
        raise SourceError(f"{source.name}: no feature map, hence no embeddings")
    bands = len(spec.bands_hz)
    dims = source.taps.get(spec.tap)
    if dims is None or len(dims) != 4 or dims[1] != spec.channels or dims[3] != bands:
        raise SourceError(
            f"{source.name}: the feature map {spec.tap!r} with {spec.channels} channels and {bands} bands "
            f"is not among the taps {source.taps}; make them agree"
        )
    frames, channels = dims[2], spec.channels
    outputs: dict[str, list[int | str]] = {
        "square": ["batch", frames, bands, channels],
        "time": ["batch", frames, channels],
        "frequency": ["batch", bands, channels],
    }
    nodes = [
        helper.make_node("Transpose", [spec.tap], ["square"], perm=[0, 2, 3, 1]),
        helper.make_node("ReduceMean", ["square", "bins"], ["time"], keepdims=0),
        helper.make_node("ReduceMean", ["square", "frames"], ["frequency"], keepdims=0),
    ]
    constants = {"bins": np.array([2], np.int64), "frames": np.array([1], np.int64)}
    if spec.additive:
        outputs |= _account(source, spec, nodes, constants)
    graph = helper.make_graph(
        nodes,
        "embeddings",
        [helper.make_tensor_value_info(spec.tap, TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="earmark"
    )
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return StageSpec(
        name="embeddings",
        file=path.name,
        opset=OPSET,
        inputs=[TensorSpec(name=spec.tap, dtype="float32", dims=list(dims))],
        outputs=[TensorSpec(name=name, dtype="float32", dims=shape) for name, shape in outputs.items()],
    )


def _account(
    source: Source,
    spec: FeatureMapSpec,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
) -> dict[str, list[int | str]]:
    """Add the nodes of `contributions` and `bias`; returns their dims."""
    weight, bias = source.head_weight, source.head_bias
    classes = len(source.labels)
    if weight is None or spec.pooling == "other" or tuple(weight.shape) != (classes, spec.channels):
        raise SourceError(
            f"{source.name}: an additive feature map needs mean or max_mean pooling and a head weight of "
            f"[{classes}, {spec.channels}]"
        )
    constants["head_weight"] = weight.detach().numpy().astype(np.float32)
    constants["head_bias"] = (
        np.zeros(classes, np.float32) if bias is None else bias.detach().numpy().astype(np.float32)
    )
    constants["pooled_shape"] = np.array([0, 1, spec.channels], np.int64)
    mean = "pooled" if spec.pooling == "mean" else "pooled_mean"
    nodes.append(helper.make_node("ReduceMean", ["time", "frames"], [mean], keepdims=0))
    if spec.pooling == "max_mean":
        nodes.append(helper.make_node("ReduceMax", ["time", "frames"], ["pooled_max"], keepdims=0))
        nodes.append(helper.make_node("Add", ["pooled_mean", "pooled_max"], ["pooled"]))
    nodes += [
        helper.make_node("Reshape", ["pooled", "pooled_shape"], ["pooled_row"]),
        helper.make_node("Mul", ["pooled_row", "head_weight"], ["contributions"]),
        helper.make_node("Identity", ["head_bias"], ["bias"]),
    ]
    return {"contributions": ["batch", classes, spec.channels], "bias": [classes]}
