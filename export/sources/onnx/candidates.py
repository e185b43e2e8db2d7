"""Tensors of a graph that look like its feature map, without running it. Never torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec
import onnx
from onnx import numpy_helper

from .graph import needed

POOLING = frozenset(["GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "AveragePool"])
MOST_MAPS = 4
# Fewer channels are a spectrogram.
LEAST_CHANNELS = 4
# Tokens before those of the grid, such as a class token.
MOST_SKIPPED = 4
Dims = list[int | str]


class MapCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor before pooling, or an embedding, and its axes after the batch as --map-axes takes them.

    tokens: of a transformer over patches, their likely rows, order and skip, as --map-tokens takes them
    """

    tensor: str
    dims: Dims
    axes: str
    tokens: str = ""


def find_candidates(
    model: onnx.ModelProto, dims: Mapping[str, Dims], scores: str | None, vector: str | None
) -> list[MapCandidate]:
    """Tensors that the scores are made of, those nearest to them first.

    Of three or four axes those that are pooled; where there are none, the tokens that the last attention
    reads: of the tokens behind it a class token may be all that is read. Then vectors.

    Args:
        model: The graph.
        dims: Of its tensors, where they are known.
        scores: The output that has them; None: not known.
        vector: What the last matrix takes.

    """
    nodes = list(model.graph.node) if scores is None else needed(model.graph.node, scores)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found: dict[str, MapCandidate] = {}
    for node in reversed(nodes):
        if node.op_type not in POOLING or node.input[0] in found or _centres(node, readers):
            continue
        own = dims.get(node.input[0], [])
        if len(own) in (3, 4) and len(found) < MOST_MAPS:
            axes = _axes(node, model, own)
            tokens = _grid(own, nodes, dims) if axes == "tc" else ""
            channels = own[1 + axes.index("c")]
            if not isinstance(channels, int) or channels >= LEAST_CHANNELS:
                found[node.input[0]] = MapCandidate(
                    tensor=node.input[0], dims=own, axes="nc" if tokens else axes, tokens=tokens
                )
    if not found and (seen := _attended(nodes, readers, dims)) is not None:
        found[seen.tensor] = seen
    vectors = [value.name for value in model.graph.output if is_embedding(value.name)]
    if not found and not vectors and vector is not None:
        vectors = [vector]
    for name in vectors:
        own = dims.get(name, [])
        if len(own) == 2 and isinstance(own[1], int) and own[1] >= LEAST_CHANNELS and name not in found:
            found[name] = MapCandidate(tensor=name, dims=own, axes="c")
    return list(found.values())


def _centres(node: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]]) -> bool:
    """Whether what a node pools is subtracted from what it takes: the mean of a normalisation."""
    return any(
        one.op_type == "Sub" and one.input[0] == node.input[0] for one in readers.get(node.output[0], [])
    )


def _attended(
    nodes: Sequence[onnx.NodeProto],
    readers: Mapping[str, list[onnx.NodeProto]],
    dims: Mapping[str, Dims],
) -> MapCandidate | None:
    """The tokens [B, N, D] of a grid of patches that the last attention reads; None where there are none."""
    mixed = next(
        (
            node
            for node in reversed(nodes)
            if node.op_type == "Attention"
            or (node.op_type == "Softmax" and len(dims.get(node.output[0], [])) > 2)
        ),
        None,
    )
    if mixed is None:
        return None
    for node in reversed(needed(nodes, *mixed.input)):
        name = node.output[0]
        own = dims.get(name, [])
        # Query, key and value are read once each; the tokens themselves more often.
        if len(own) == 3 and len(readers.get(name, [])) > 1 and (tokens := _grid(own, nodes, dims)):
            return MapCandidate(tensor=name, dims=own, axes="nc", tokens=tokens)
    return None


def _grid(tokens: Dims, nodes: Sequence[onnx.NodeProto], dims: Mapping[str, Dims]) -> str:
    """Rows, order and skip of tokens [B, N, D] by the patches [B, D, F', T'] before them; "" for none."""
    for node in nodes:
        own = dims.get(node.output[0], [])
        if node.op_type != "Conv" or len(own) != 4 or own[1] != tokens[2]:
            continue
        count, first, second = tokens[1], own[2], own[3]
        if not (isinstance(count, int) and isinstance(first, int) and isinstance(second, int)):
            continue
        skipped = count - first * second
        if first > 1 and second > 1 and 0 <= skipped <= MOST_SKIPPED:
            # A window has more frames than a patch has rows.
            return f"{first},frequency,{skipped}" if first <= second else f"{second},time,{skipped}"
    return ""


def _axes(node: onnx.NodeProto, model: onnx.ModelProto, dims: Dims) -> str:
    """The likely order of a map's axes: channels are not what is pooled, time comes before frequency."""
    pooled: set[int] = {2, 3}
    if node.op_type.startswith("Reduce"):
        listed = next((list(one.ints) for one in node.attribute if one.name == "axes"), None)
        if listed is None and len(node.input) > 1:
            constants = {one.name: one for one in model.graph.initializer}
            constants |= {
                one.output[0]: one.attribute[0].t for one in model.graph.node if one.op_type == "Constant"
            }
            known = constants.get(node.input[1])
            listed = None if known is None else numpy_helper.to_array(known).reshape(-1).tolist()
        pooled = {axis % len(dims) for axis in listed or ()}
    last = len(dims) - 1
    kept = [axis for axis in range(1, len(dims)) if axis not in pooled]
    if kept == [last]:
        return "tfc" if len(dims) == 4 else "tc"
    return "ctf" if len(dims) == 4 else "ct"


def is_embedding(name: str) -> bool:
    """Whether a tensor has the name of an embedding."""
    return re.search(r"embed|hidden|feature|latent", name.lower()) is not None


def last_matrix(model: onnx.ModelProto) -> tuple[list[int], str | None]:
    """[inputs, outputs] of the last matrix, and the tensor that it takes."""
    shapes = {one.name: list(one.dims) for one in model.graph.initializer}
    for node in reversed(model.graph.node):
        if node.op_type in {"Gemm", "MatMul"} and len(shapes.get(node.input[1], [])) == 2:
            turned = node.op_type == "Gemm" and any(one.name == "transB" and one.i for one in node.attribute)
            shape = shapes[node.input[1]]
            return (shape[::-1] if turned else shape), node.input[0]
    return [], None
