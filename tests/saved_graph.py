"""An ONNX graph of nodes and constants, written to a file."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def node(operator, inputs, outputs, **attributes):
    """A node whose inputs and outputs are names with spaces between."""
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def saved(path, nodes, constants, inputs, outputs, opset=17, ir_version=8):
    """The file; inputs, outputs: name -> dims, in float32, or (type, dims)."""
    taken, given = (
        [
            helper.make_tensor_value_info(
                name, *(one if isinstance(one, tuple) else (TensorProto.FLOAT, one))
            )
            for name, one in side.items()
        ]
        for side in (inputs, outputs)
    )
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, path.stem, taken, given, held)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=ir_version), path)
    return path


def by_energy(path, slopes, biases):
    """A file whose logits of a window [B, N] are `biases` and `slopes` times its mean square."""
    constants = {
        "axes": np.array([1], np.int64),
        "slope": np.array([slopes], np.float32),
        "bias": np.array(biases, np.float32),
    }
    nodes = [
        node("Mul", "x x", "power"),
        node("ReduceMean", "power axes", "energy", keepdims=1),
        node("MatMul", "energy slope", "rise"),
        node("Add", "rise bias", "scores"),
    ]
    sides = {"x": ["batch", "samples"]}, {"scores": ["batch", len(biases)]}
    return saved(path, nodes, constants, *sides, opset=18)
