"""An ONNX graph of nodes and constants, written to a file."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper, numpy_helper


def saved(path, nodes, constants, inputs, outputs, opset=17):
    """The file; inputs, outputs: name -> dims, in float32."""
    taken, given = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims)) for name, dims in side.items()]
        for side in (inputs, outputs)
    )
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, path.stem, taken, given, held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path
