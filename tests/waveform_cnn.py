"""A small CNN on waveforms that a stranger might give as .onnx, and its answers in NumPy."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from saved_graph import node

import earmark
from earmark.runtime.explainer import engine_of

RATE, CLASSES, KERNEL, STRIDE = 8000, 4, 64, 16
LABELS = ["a", "b", "c", "d"]
TOLD = {"labels": LABELS, "sample_rate": RATE, "window_seconds": 0.5}


def weights(seed=0):
    random = np.random.default_rng(seed)
    return {
        "kernel": random.standard_normal((8, 1, KERNEL)).astype(np.float32) / 8,
        "matrix": random.standard_normal((8, CLASSES)).astype(np.float32) * 3,
        "bias": random.standard_normal(CLASSES).astype(np.float32),
    }


def by_hand(waves):
    """The graph's logits in NumPy, [B, N] -> [B, K], float64."""
    made = []
    held = weights()
    for wave in np.asarray(waves, np.float64):
        frames = np.lib.stride_tricks.sliding_window_view(wave, KERNEL)[::STRIDE]
        maps = np.maximum(frames @ held["kernel"][:, 0].T.astype(np.float64), 0)
        made.append(maps.mean(axis=0) @ held["matrix"] + held["bias"])
    return np.array(made)


def write(
    path, *, dims=("batch", "samples"), last=None, batch_free=True, opset=17, extra=(), output="logits"
):
    """A small CNN on the waveform; `last`: an operator after the logits. Its names are those of a stage."""
    constants = {**weights(), "to_conv": np.array([-1 if batch_free else 1, 1, _samples(dims)], np.int64)}
    nodes = [
        node("Reshape", "features to_conv", "wave"),
        node("Conv", "wave kernel", "maps", strides=[STRIDE]),
        node("Relu", "maps", "active"),
        node("GlobalAveragePool", "active", "pooled"),
        node("Flatten", "pooled", "flat"),
        helper.make_node("Gemm", ["flat", "matrix", "bias"], [output if last is None else "raw"]),
    ]
    if batch_free and len(dims) > 1 and not isinstance(dims[-1], int):
        # -1 stands twice: let the batch be copied and the length be inferred.
        constants["to_conv"] = np.array([0, 1, -1], np.int64)
    if last is not None:
        nodes.append(node(last, "raw", output))
    batch = dims[0] if len(dims) > 1 else 1
    graph = helper.make_graph(
        [*nodes, *extra],
        "stranger",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, list(dims))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
        doc_string="made in /home/somebody",
    )
    graph.node[0].doc_string = "/home/somebody/model.py"
    # Named twice, as onnx.compose leaves it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)] * 2, ir_version=8)
    onnx.checker.check_model(model)
    onnx.save_model(model, path)
    return path


def _samples(dims):
    return dims[-1] if isinstance(dims[-1], int) else -1


def waves(count, samples, seed=0):
    return (0.3 * np.random.default_rng(seed).standard_normal((count, samples))).astype(np.float32)


def answers(bundle, sounds):
    with earmark.load(bundle, device="cpu") as explainer:
        return engine_of(explainer).logits_of(sounds)
