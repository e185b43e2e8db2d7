"""How closely a graph's answers can be met, by what it computes with. Never torch."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from ...source.exportable import LIMIT
from .reading import graphs_of

# Where values are rounded to halves or to 8 bits on the way, those half way between two fall either way: ONNX
# Runtime itself answers so far apart by what it optimises.
_OF_HALVES, _OF_WHOLE_NUMBERS = 1e-2, 5e-2
_HALVES = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
_ROUNDING = ("QuantizeLinear", "DynamicQuantize", "QLinear", "QGemm", "QAttention")


def limit_of(model: onnx.ModelProto) -> float:
    """By how much PyTorch may answer otherwise than ONNX Runtime, as a part of the largest logit or of 1.

    Weights that are quantised alone count as exact: what they are multiplied with is not rounded.
    """
    graphs = list(graphs_of(model.graph))
    if any(node.op_type.startswith(_ROUNDING) for graph in graphs for node in graph.node):
        return _OF_WHOLE_NUMBERS
    halves = any(weight.data_type in _HALVES for graph in graphs for weight in graph.initializer)
    return _OF_HALVES if halves else LIMIT
