"""How onnxruntime holds large weights on the CPU: in copies that it packs, or in the pages of their file.

Weights in a file beside their graph are mapped, so processes share them. What onnxruntime packs for the
processor is a copy in each process, which it then reads alone.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from ...errors import EarmarkError
from .onnx_runtime import import_onnxruntime

SHARE = "EARMARK_SHARE_WEIGHTS"
# Weights of fewer bytes cost little memory and less time than reading their graph here does.
LARGE_BYTES = 1 << 26
# Operators that gain nothing from packed weights: measured for those of a Cnn14 and L-MAC's decoder. Matrix
# products and recurrent layers do, by 4 % (500 rows) up to a half (8 rows).
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
# Share of the weights that these must take for the graph to be opened without packing.
_MOST = 0.9


def shares_weights() -> bool:
    """Whether EARMARK_SHARE_WEIGHTS asks for weights that processes share, at a price in time.

    Raises EarmarkError where it is neither 0 nor 1.
    """
    wanted = os.environ.get(SHARE, "").strip() or "0"
    if wanted not in {"0", "1"}:
        raise EarmarkError(f"{SHARE}={wanted}: give 1 (processes share large weights) or 0")
    return wanted == "1"


def hold_weights(options: Any, path: Path) -> None:
    """Choose how the weights beside a graph, in `<its name>.data`, are held by a session on the CPU."""
    data = path.with_name(f"{path.name}.data")
    if not data.is_file() or data.stat().st_size < LARGE_BYTES:
        return
    shared = shares_weights()
    if shared:
        # The last level lays weights of convolutions out anew for the processor: a copy, and a tenth to a
        # fifth less time.
        options.graph_optimization_level = import_onnxruntime().GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if shared or _convolved(path) >= _MOST:
        options.add_session_config_entry("session.disable_prepacking", "1")


def _convolved(path: Path) -> float:
    """The share of a graph's weights, by their number, that convolutions take."""
    import onnx

    graph = onnx.load(str(path), format="protobuf", load_external_data=False).graph
    sizes = {weight.name: math.prod(weight.dims) for weight in graph.initializer}
    taken = {name for node in graph.node if node.op_type in _CONVOLUTIONS for name in node.input}
    total = sum(sizes.values())
    return sum(size for name, size in sizes.items() if name in taken) / total if total else 0.0
