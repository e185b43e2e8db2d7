"""Whether a graph's scores depend on a tensor inside it: it is changed and they are compared. Never torch."""

from __future__ import annotations

import copy

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ....runtime.values.arrays import FloatArray
from .original import Original

# Scores that move by less, of the largest, are those of before.
_MOVED = 1e-6


def unread(original: Original, model: onnx.ModelProto, tensor: str, sound: FloatArray, skipped: int) -> bool:
    """Whether the scores of a sound are the same when noise is added to a tensor.

    Args:
        original: The graph in onnxruntime.
        model: The same graph.
        tensor: A name in it, of numbers that are not whole.
        sound: [N].
        skipped: Its first rows, which are left as they are: tokens that stand for no place.

    """
    before = original.run(sound, [tensor, original.output.name])
    values = np.asarray(before[tensor])
    noise = np.random.default_rng(0).standard_normal(values.shape) * max(float(values.std()), 1e-3)
    if skipped:
        noise[:, :skipped] = 0
    changed = copy.deepcopy(model)
    _shift(changed.graph, tensor, noise.astype(values.dtype))
    after = Original(original.path, changed, original.entry, original.sides, original.context).run(
        sound, [original.output.name]
    )
    old, new = (np.asarray(one[original.output.name], np.float64) for one in (before, after))
    return bool(np.abs(new - old).max() <= _MOVED * max(float(np.abs(old).max()), 1e-30))


def _shift(graph: onnx.GraphProto, tensor: str, noise: np.ndarray) -> None:
    """Add `noise` to a tensor, whoever reads it."""
    inner = f"{tensor}/before"
    for index, node in enumerate(graph.node):
        if tensor in node.output:
            node.output[list(node.output).index(tensor)] = inner
            graph.initializer.append(numpy_helper.from_array(noise, f"{tensor}/noise"))
            graph.node.insert(index + 1, helper.make_node("Add", [inner, f"{tensor}/noise"], [tensor]))
            return
