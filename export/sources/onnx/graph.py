"""Graphs from strangers: read an .onnx safely, and edit it into the stages of a bundle. Never torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ....errors import BundleError, SourceError
from ....runtime.bundle.graphs import external_tensors
from ...frontends.nodes import Nodes
from .feature_map import TAP, GraphMap

if TYPE_CHECKING:
    from .entry import Entry

Scores = Literal["logits", "probabilities", "log_probabilities"]
Task = Literal["single_label", "multi_label"]

# Operators that every onnxruntime brings; "com.microsoft" holds those of its own optimiser and quantiser.
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
# Log, Max and Reshape mean the same from here on.
_OLDEST_OPSET = 11
# Names that a stage's borders have.
_TAKEN = ("features", "stft", "logits", "waveform", TAP)
# Smaller probabilities count as this one: its logarithm is finite in float32.
SMALLEST = 1e-30
# The same for 1 - p, whose float32 steps near 1 are 6e-8.
SMALLEST_REST = 1e-7


def read_model(path: Path) -> onnx.ModelProto:
    """A graph with all its weights in memory.

    Raises SourceError: missing, not ONNX, operators that a plain onnxruntime lacks or that open files,
    weights outside the file's folder, missing or cut short.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file; give an .onnx file")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        # protobuf's errors have no common base.
        raise SourceError(f"{path}: is not an ONNX graph ({_line(error)})") from error
    if not model.graph.node or not model.graph.output:
        raise SourceError(f"{path}: is not an ONNX graph: it has no operators")
    opset = opset_of(model)
    if opset < _OLDEST_OPSET:
        raise SourceError(
            f"{path}: opset {opset}; convert it to {_OLDEST_OPSET} or newer with onnx.version_converter"
        )
    _check_operators(model, path)
    _load_weights(model, path)
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the default operator set."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def classifier_graph(
    model: onnx.ModelProto,
    entry: Entry,
    output: str,
    classes: int,
    scores: Scores,
    task: Task,
    *,
    one_by_one: bool,
    shown: GraphMap | None = None,
) -> onnx.ModelProto:
    """The graph as a stage: what the front end gives -> logits [B, K]. `output`: its scores [B, K] or [K].

    shown: a tensor of it that becomes the tap "feature_map" [B, C, T', F']
    one_by_one: the whole graph becomes the body of a Scan over the rows, for graphs that take one at a time
    ([N], or dims that hold for a batch of one alone).
    """
    made = prepared(model)
    graph = made.graph
    front, back = Nodes(opset_of(model)), Nodes(opset_of(model), "earmark/back")
    rows = entry.rows(front, entry.border)
    taken, end = renamed(entry.name), renamed(output)
    constants: dict[str, np.ndarray] = {}
    nodes = list(graph.node)
    if entry.join is None:
        nodes += _logit_nodes(nodes, end, scores, task, constants)
        end = "earmark/logits"
    outputs = [_value("logits", ["batch", classes])]
    if shown is not None:
        exposed = "earmark/map" if one_by_one else TAP
        more, sizes = shown.nodes(renamed(shown.request.tensor), exposed, batch=not one_by_one)
        nodes += more
        constants |= sizes
        outputs.append(_value(TAP, shown.dims))
    if one_by_one:
        nodes.append(helper.make_node("Reshape", [end, back.whole(classes)], ["earmark/one"]))
        ends = {"earmark/all": _value("earmark/one", [classes])}
        if shown is not None:
            ends[TAP] = _value("earmark/map", shown.dims[1:])
        nodes = [loop(nodes, rows, entry, input_type(graph, taken), ends, back)]
        end = "earmark/all"
    else:
        nodes.insert(0, helper.make_node("Identity", [rows], [taken]))
    if entry.join is not None:
        nodes += _joined(back, entry, end, classes)
        nodes += _logit_nodes([], "earmark/joined", scores, task, constants)
        end = "earmark/logits"
    nodes.append(helper.make_node("Identity", [end], ["logits"]))
    nodes = needed([*front.nodes, *nodes], *(value.name for value in outputs))
    used = _names(nodes)
    constants |= front.constants | back.constants
    weights = [weight for weight in graph.initializer if weight.name in used and weight.name != taken]
    stage = helper.make_graph(
        nodes,
        "classifier",
        [_value(entry.border, entry.dims)],
        outputs,
        weights + [numpy_helper.from_array(array, name) for name, array in constants.items() if name in used],
    )
    stage.sparse_initializer.extend(graph.sparse_initializer)
    made.graph.CopyFrom(stage)
    return made


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without notes, each domain named once, and the names free that a stage's borders have."""
    prepared_model = onnx.ModelProto()
    prepared_model.CopyFrom(model)
    _strip(prepared_model)
    # Merged graphs name a domain twice, which onnxruntime's quantiser refuses.
    versions = {
        "" if one.domain == "ai.onnx" else one.domain: one.version
        for one in reversed(prepared_model.opset_import)
    }
    del prepared_model.opset_import[:]
    prepared_model.opset_import.extend(
        helper.make_opsetid(domain, version) for domain, version in versions.items()
    )
    _rename(prepared_model.graph, {name: f"source/{name}" for name in _TAKEN})
    return prepared_model


def loop(
    nodes: Sequence[onnx.NodeProto],
    rows: str,
    entry: Entry,
    kind: int,
    ends: Mapping[str, onnx.ValueInfoProto],
    constants: Nodes,
) -> onnx.NodeProto:
    """A Scan over rows [R, ...] of type `kind`, with `nodes`, which take `entry`'s input, as its body.

    ends: name of the stacked output -> what the body gives for one row
    """
    into = Nodes(constants.opset, "earmark/row")
    one = into.over("Unsqueeze", "earmark/row", [0]) if entry.batched else "earmark/row"
    constants.constants |= into.constants
    body = [*into.nodes, helper.make_node("Identity", [one], [renamed(entry.name)]), *nodes]
    body = needed(body, *(value.name for value in ends.values()))
    row = helper.make_tensor_value_info("earmark/row", kind, None)
    inner = helper.make_graph(body, "one", [row], list(ends.values()))
    return helper.make_node("Scan", [rows], list(ends), body=inner, num_scan_inputs=1)


def input_type(graph: onnx.GraphProto, name: str) -> int:
    """The type of an input's values, one of TensorProto's."""
    return next(int(value.type.tensor_type.elem_type) for value in graph.input if value.name == name)


def _joined(graph: Nodes, entry: Entry, scores: str, classes: int) -> list[onnx.NodeProto]:
    """Scores of rows [B P, K] -> of sounds, "earmark/joined" [B, K], as the pipeline joins them."""
    shape = graph.add("Concat", graph.size(entry.border, 0), graph.whole(-1, classes), axis=0)
    each = graph.add("Reshape", scores, shape)
    made = graph.over("ReduceMax" if entry.join == "max" else "ReduceMean", each, [1], keepdims=0)
    return [*graph.nodes, helper.make_node("Identity", [made], ["earmark/joined"])]


def _logit_nodes(
    nodes: Sequence[onnx.NodeProto],
    scores_name: str,
    scores: Scores,
    task: Task,
    constants: dict[str, np.ndarray],
) -> list[onnx.NodeProto]:
    """Nodes from the graph's scores to the tensor "earmark/logits".

    A last softmax or sigmoid is passed by, since its probabilities have lost digits; otherwise
    logit = log p where one label holds, log p - log(1 - p) where several may.
    """
    last = next((node for node in nodes if scores_name in node.output), None)
    multi = task == "multi_label"
    if last is not None and last.domain in ("", "ai.onnx") and scores == "probabilities":
        axis = next((attribute.i for attribute in last.attribute if attribute.name == "axis"), -1)
        if multi and last.op_type == "Sigmoid":
            return [helper.make_node("Identity", [last.input[0]], ["earmark/logits"])]
        if not multi and last.op_type == "Softmax" and axis in (-1, 1):
            return [helper.make_node("LogSoftmax", [last.input[0]], ["earmark/logits"], axis=axis)]
    if scores == "logits" or (scores == "log_probabilities" and not multi):
        return [helper.make_node("Identity", [scores_name], ["earmark/logits"])]
    built: list[onnx.NodeProto] = []
    probability = scores_name
    if scores == "log_probabilities":
        probability = "earmark/p"
        built.append(helper.make_node("Exp", [scores_name], [probability]))
    constants["earmark/smallest"] = np.array(SMALLEST, np.float32)
    log = "earmark/log_p" if multi else "earmark/logits"
    built += [
        helper.make_node("Max", [probability, "earmark/smallest"], ["earmark/p_kept"]),
        helper.make_node("Log", ["earmark/p_kept"], [log]),
    ]
    if multi:
        constants["earmark/one"] = np.array(1, np.float32)
        constants["earmark/smallest_rest"] = np.array(SMALLEST_REST, np.float32)
        built += [
            helper.make_node("Sub", ["earmark/one", probability], ["earmark/rest"]),
            helper.make_node("Max", ["earmark/rest", "earmark/smallest_rest"], ["earmark/rest_kept"]),
            helper.make_node("Log", ["earmark/rest_kept"], ["earmark/log_rest"]),
            helper.make_node("Sub", [log, "earmark/log_rest"], ["earmark/logits"]),
        ]
    return built


def _value(name: str, dims: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims))


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every graph inside its nodes."""
    yield graph
    for node in graph.node:
        yield from _inner(node)


def _inner(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            yield from _graphs(inner)


def renamed(name: str) -> str:
    """The name of a tensor of the source in a stage."""
    return f"source/{name}" if name in _TAKEN else name


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Rename tensors everywhere, inner graphs included: the stage needs their names for its borders."""
    for one in _graphs(graph):
        for value in (*one.input, *one.output, *one.initializer):
            value.name = names.get(value.name, value.name)
        for node in one.node:
            for edges in (node.input, node.output):
                for index, name in enumerate(edges):
                    edges[index] = names.get(name, name)


def _names(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """Every tensor that the nodes read, those that their inner graphs read included."""
    referenced = {name for node in nodes for name in node.input}
    for node in nodes:
        for inner in _inner(node):
            referenced |= {name for one in inner.node for name in one.input}
            referenced |= {value.name for value in inner.output}
    return referenced


def needed(nodes: Sequence[onnx.NodeProto], *outputs: str) -> list[onnx.NodeProto]:
    """The nodes that `outputs` need, in order: heads that nobody asks for are left out."""
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted |= _names([node])
    return kept[::-1]


def _strip(model: onnx.ModelProto) -> None:
    """Remove notes, which may hold paths and source lines of another machine, and stale shapes."""
    model.doc_string = ""
    del model.metadata_props[:]
    for graph in _graphs(model.graph):
        graph.doc_string = ""
        del graph.metadata_props[:]
        del graph.value_info[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]


def _check_operators(model: onnx.ModelProto, path: Path) -> None:
    """Raise SourceError for operators that a plain onnxruntime does not have."""
    own = {(function.domain, function.name) for function in model.functions}
    nodes = [node for graph in _graphs(model.graph) for node in graph.node]
    nodes += [node for function in model.functions for node in function.node]
    for node in nodes:
        if node.domain not in _DOMAINS and (node.domain, node.op_type) not in own:
            raise SourceError(
                f"{path}: uses the custom operator {node.domain}::{node.op_type}, which a bundle cannot "
                "carry; export the model again with standard operators"
            )


def _load_weights(model: onnx.ModelProto, path: Path) -> None:
    """Read the weights that lie in files beside the graph, after looking where they lie."""
    folder = path.parent.resolve()
    lengths: list[int] = []
    try:
        tensors = list(external_tensors(model, path))
    except BundleError as error:
        raise SourceError(str(error)) from error
    for tensor in tensors:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        place = PurePosixPath(location)
        file = folder / place
        confined = location and not place.is_absolute() and ".." not in place.parts and "\\" not in location
        if not confined or not file.resolve().is_relative_to(folder):
            raise SourceError(
                f"{path}: the weight {tensor.name!r} lies in {location!r}, outside the file's folder; refused"
            )
        if not file.is_file():
            raise SourceError(f"{file}: the weights of {path.name} are missing; put them beside it")
        extent = entries.get("length", "0")
        lengths.append(int(extent) if extent.isdecimal() else 0)
    try:
        onnx.load_external_data_for_model(model, str(folder))
    except Exception as error:
        # onnx raises its own ValidationError, ValueError or OSError.
        raise SourceError(f"{path}: its weights cannot be read ({_line(error)})") from error
    for tensor, length in zip(tensors, lengths, strict=True):
        if len(tensor.raw_data) < length:
            raise SourceError(f"{path}: the weight {tensor.name!r} is cut short; fetch its file again")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
