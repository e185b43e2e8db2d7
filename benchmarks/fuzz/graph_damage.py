"""Damage to ONNX graphs: weights kept elsewhere, borders, shapes, types, operators and frame."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper


def damage(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """The graph after one change, and what was done."""
    model = onnx.load_model_from_string(content)
    done = draw.choice(_CHANGES)(model, draw)
    return model.SerializeToString(), done


def _external(model: Any, draw: random.Random) -> str:
    """A weight of the graph lies in a file of the stranger's choosing."""
    tensor = draw.choice(list(model.graph.initializer))
    size = max(1, len(tensor.raw_data))
    if draw.random() < 0.2:
        tensor = model.graph.node[0].attribute.add(name="extra", type=onnx.AttributeProto.TENSOR).t
        tensor.name, tensor.data_type = "hidden", TensorProto.FLOAT
        tensor.dims.append(1)
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    place = draw.choice(
        [
            "/etc/passwd",
            "../../../../etc/passwd",
            "bundle.json",
            "README.md",
            "classifier.onnx.data",
            "./classifier.onnx.data",
            "golden.npz",
            "",
            ".",
            "..",
            "nowhere",
            "a" * 300,
            "/dev/zero",
            "x\0y",
            "*/_ORT_MEM_ADDR_/*",
            "file:///etc/passwd",
            "\\\\host\\share",
            "\x1b[2J",
        ]
    )
    entries = {"location": place, "length": str(size), "offset": "0"}
    entries["offset"] = draw.choice(["0", "0", "4", "-4", "18446744073709551615", "x", "1e3", str(2**40)])
    entries["length"] = draw.choice([str(size), "0", "-1", "18446744073709551615", "", str(2**40)])
    for key, value in entries.items():
        if draw.random() < 0.9:
            tensor.external_data.add(key=key, value=value)
    return f"external {place[:30]!r}"


def _weights(model: Any, draw: random.Random) -> str:
    floats = [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT and t.raw_data]
    if not floats:
        return _dims(model, draw)
    tensor = draw.choice(floats)
    array = numpy_helper.to_array(tensor).copy()
    value = draw.choice([np.nan, np.inf, -np.inf, 3e38, -1e30, 0.0, 1e-40, 50.0])
    array.flat[draw.randrange(array.size)] = value
    if draw.random() < 0.3:
        array[...] = value
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return f"{tensor.name} {value}"


def _dims(model: Any, draw: random.Random) -> str:
    """A border or a weight says another type or shape."""
    tensor = draw.choice(list(model.graph.initializer))
    if draw.random() < 0.4 and tensor.dims:
        tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice([0, -1, 1, 2, 7, 2**31, 2**40, 2**62])
        return f"dims of {tensor.name}"
    if draw.random() < 0.3:
        tensor.data_type = draw.choice([0, 2, 6, 7, 8, 10, 11, 16, 20, 99])
        return f"type of {tensor.name}"
    value = draw.choice([*model.graph.input, *model.graph.output])
    kind = value.type.tensor_type
    if draw.random() < 0.4:
        kind.elem_type = draw.choice([0, 1, 7, 8, 10, 11, 16, 99])
    elif kind.shape.dim:
        dim = draw.choice(list(kind.shape.dim))
        dim.dim_value = draw.choice([0, 1, 2, 7, -1, 2**31, 2**40])
    return f"border {value.name}"


def _outputs(model: Any, draw: random.Random) -> str:
    borders = draw.choice([model.graph.output, model.graph.output, model.graph.input])
    at = draw.randrange(len(borders))
    what = draw.choice(["gone", "renamed", "twice", "exchanged"])
    name = borders[at].name
    if what == "gone":
        del borders[at]
    elif what == "renamed":
        borders[at].name = draw.choice(["other", "", "\x1b[1m", "x" * 3000])
    elif what == "twice":
        borders.add().CopyFrom(borders[at])
    else:
        other = draw.randrange(len(borders))
        borders[at].name, borders[other].name = borders[other].name, borders[at].name
    return f"border {name} {what}"


def _nodes(model: Any, draw: random.Random) -> str:
    nodes = model.graph.node
    node = nodes[draw.randrange(len(nodes))]
    name = f"{node.op_type}"
    what = draw.choice(["gone", "operator", "domain", "attribute", "wiring", "file", "cycle"])
    if what == "gone":
        nodes.remove(node)
    elif what == "operator":
        node.op_type = draw.choice(["Neg", "Sqrt", "Log", "Identity", "Nothing", "Reshape", "Loop", "If"])
    elif what == "domain":
        node.domain = draw.choice(["com.microsoft", "ai.onnx.ml", "no.such", "\0"])
    elif what == "attribute":
        node.attribute.add(
            name=draw.choice(["axis", "perm", "pads", "strides", "keepdims"]), type=2
        ).i = draw.choice([-1, 0, 1, 99, 2**40])
    elif what == "wiring" and node.input:
        node.input[0] = draw.choice([node.output[0], "nothing", *(t.name for t in model.graph.initializer)])
    elif what == "file":
        node.op_type, node.domain = "EPContext", "com.microsoft"
        node.attribute.add(name="ep_cache_context", type=3).s = b"/etc/passwd"
    elif node.input:
        node.input[0] = nodes[-1].output[0]
    return f"node {name} {what}"


def _frame(model: Any, draw: random.Random) -> str:
    """What stands around the graph."""
    what = draw.choice(["opset", "ir", "empty", "names", "function", "metadata"])
    if what == "opset":
        model.opset_import[0].version = draw.choice([0, 1, 7, 99, -1, 2**40])
    elif what == "ir":
        model.ir_version = draw.choice([0, 1, 3, 99, 2**40])
    elif what == "empty":
        model.ClearField("graph")
    elif what == "names":
        model.graph.name = "\x1b[31m" * 1000
    elif what == "function":
        model.functions.add(name="f", domain="d").node.add(op_type="EPContext")
    else:
        model.metadata_props.add(key="x", value="y" * 100_000)
    return what


_CHANGES: tuple[Callable[[Any, random.Random], str], ...] = (
    _external,
    _weights,
    _dims,
    _outputs,
    _nodes,
    _frame,
)
