"""Small graphs on waveforms, built node by node, whose answers NumPy knows."""

import numpy as np
from onnx import TensorProto
from saved_graph import node, saved

RATE, SAMPLES, CLASSES, STEP = 8000, 4000, 3, 500
RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.standard_normal((4, CLASSES)).astype(np.float32)
BIAS = RANDOM.standard_normal(CLASSES).astype(np.float32)
KERNEL = RANDOM.standard_normal((4, 1, STEP)).astype(np.float32) / 8
F32 = TensorProto.FLOAT
ROW = ("row", np.array([0, 1, -1], np.int64))


def frames_of(sounds):
    """What the graph's body makes of sounds [B, N]: relu of a convolution, [B, T, 4]."""
    cut = np.asarray(sounds, np.float64)[:, : sounds.shape[1] // STEP * STEP]
    return np.maximum(cut.reshape(len(cut), -1, STEP) @ KERNEL[:, 0].T.astype(np.float64), 0)


def logits_of(sounds):
    return frames_of(sounds).mean(axis=1) @ MATRIX + BIAS


def row(sound="x"):
    """The sound as `wave` [B, 1, N]."""
    return node("Reshape", f"{sound} row", "wave")


def body(wave="wave"):
    """Nodes from `wave` [B, 1, N] to `frames` [B, T, 4]."""
    return [
        node("Conv", f"{wave} kernel", "maps", strides=[STEP]),
        node("Relu", "maps", "active"),
        node("Transpose", "active", "frames", perm=[0, 2, 1]),
    ]


def head(vectors="pooled", output="y"):
    return [node("MatMul", f"{vectors} matrix", "product"), node("Add", "product bias", output)]


def mean():
    return [node("ReduceMean", "frames", "pooled", axes=[1], keepdims=0)]


def save(path, nodes, inputs, outputs, constants=()):
    """inputs: name -> (type, dims); outputs: name -> dims, or (type, dims)"""
    held = {"kernel": KERNEL, "matrix": MATRIX, "bias": BIAS, **dict(constants)}
    return saved(path, nodes, held, inputs, outputs)
