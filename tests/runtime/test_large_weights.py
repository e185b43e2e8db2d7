"""Large weights of a graph stay in their file, where processes share them."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from saved_graph import node

import earmark
from earmark.runtime.inference import weights


def write_graph(path, kind):
    """Two layers of one kind, their weights beside the graph."""
    random = np.random.default_rng(0)
    shape = (8, 8, 3) if kind == "Conv" else (8, 8)
    arrays = [numpy_helper.from_array(random.random(shape, np.float32), f"w{index}") for index in range(2)]
    pads = {"pads": [1, 1]} if kind == "Conv" else {}
    nodes = [node(kind, "x w0", "h", **pads), node(kind, "h w1", "y", **pads)]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 8]) for name in "xy")
    graph = helper.make_graph(nodes, "net", [x], [y], arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    return path


def options_for(path):
    options = onnxruntime.SessionOptions()
    weights.hold_weights(options, path)
    try:
        packed = options.get_session_config_entry("session.disable_prepacking") != "1"
    except RuntimeError:  # it was never set
        packed = True
    return packed, options.graph_optimization_level


@pytest.fixture
def everything_is_large(monkeypatch):
    monkeypatch.setattr(weights, "LARGE_BYTES", 1)


ALL, EXTENDED = (
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
)


def test_weights_of_convolutions_are_not_copied(tmp_path, everything_is_large):
    assert options_for(write_graph(tmp_path / "conv.onnx", "Conv")) == (False, ALL)
    assert options_for(write_graph(tmp_path / "matrix.onnx", "MatMul")) == (True, ALL)


@pytest.mark.parametrize("kind", ["Conv", "MatMul"])
def test_a_user_may_have_them_shared(tmp_path, everything_is_large, monkeypatch, kind):
    path = write_graph(tmp_path / "net.onnx", kind)
    x = np.random.default_rng(1).random((1, 8, 8), np.float32)
    plain = onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0]
    monkeypatch.setenv("EARMARK_SHARE_WEIGHTS", "1")
    assert options_for(path) == (False, EXTENDED)
    options = onnxruntime.SessionOptions()
    weights.hold_weights(options, path)
    shared = onnxruntime.InferenceSession(str(path), options).run(None, {"x": x})[0]
    np.testing.assert_allclose(shared, plain, rtol=1e-5)


def test_small_ones_are_left_to_onnxruntime(tmp_path, monkeypatch):
    monkeypatch.setenv("EARMARK_SHARE_WEIGHTS", "1")
    assert options_for(write_graph(tmp_path / "net.onnx", "Conv")) == (True, ALL)


def test_another_word_is_an_error(tmp_path, everything_is_large, monkeypatch):
    monkeypatch.setenv("EARMARK_SHARE_WEIGHTS", "yes")
    with pytest.raises(earmark.EarmarkError, match="EARMARK_SHARE_WEIGHTS"):
        options_for(write_graph(tmp_path / "net.onnx", "Conv"))
