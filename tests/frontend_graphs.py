"""Front ends as graphs, run and compared."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from earmark.runtime.bundle.nodes import Nodes
from earmark.runtime.inference.onnx_runtime import cpu_session


def by_graph(front, sounds, opset=20):
    """Rows of sounds [B, N] as the graphs make them, in one session."""
    model, dims = front.model()
    (name,) = (value.name for value in model.graph.output)
    graph = Nodes(opset)
    made = front.row_nodes(graph, "border")
    tail = helper.make_model(
        helper.make_graph(
            [*graph.nodes, helper.make_node("Identity", [made], ["rows"])],
            "rows",
            [helper.make_tensor_value_info("border", TensorProto.FLOAT, list(dims))],
            [onnx.ValueInfoProto(name="rows")],
            graph.initializers(),
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    features = cpu_session(model.SerializeToString()).run([name], {"waveform": sounds})[0]
    return cpu_session(tail.SerializeToString()).run(["rows"], {"border": features})[0]


def assert_close(ours, theirs, limit=1e-3):
    assert ours.shape == theirs.shape
    assert np.abs(np.asarray(ours, np.float64) - theirs).max() <= limit * np.abs(theirs).max()


def answers(path, rows):
    """The scores of the file itself for rows [P, ...]."""
    session = cpu_session(path)
    return np.concatenate([session.run(["y"], {"x": row[None]})[0] for row in rows])
