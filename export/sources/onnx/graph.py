"""Graphs from strangers: read an .onnx safely, and edit it into the stages of a bundle. Never torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ....errors import BundleError, SourceError
from ....runtime.bundle.graphs import external_tensors
from ...graphs.files import IR_VERSION, OPSET
from .feature_map import TAP, GraphMap

Scores = Literal["logits", "probabilities", "log_probabilities"]
Task = Literal["single_label", "multi_label"]

# Operators that every onnxruntime brings; "com.microsoft" holds those of its own optimiser and quantiser.
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
# Log, Max and Reshape mean the same from here on.
_OLDEST_OPSET = 11
# Names that a stage's borders have.
_TAKEN = ("features", "logits", "waveform", TAP)
# Smaller probabilities count as this one: its logarithm is finite in float32.
SMALLEST = 1e-30
# The same for 1 - p, whose float32 steps near 1 are 6e-8.
SMALLEST_REST = 1e-7
# A fixed length below this many seconds is no sound: it is a count of bands or features.
_SHORTEST_SECONDS = 0.02


@dataclass(frozen=True)
class WaveInput:
    """The graph's only input: [N] (rank 1), [B, N] (2) or [B, 1, N] (3); N fixed, or None where any goes."""

    name: str
    rank: int
    samples: int | None


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


def wave_input(model: onnx.ModelProto, path: Path, sample_rate: int) -> WaveInput:
    """The input that takes waveforms. Raises SourceError where there is none, saying what is needed."""
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs) or "none"
        raise SourceError(
            f"{path}: takes {len(inputs)} inputs ({names}); export it again with the waveform as its only one"
        )
    tensor = inputs[0].type.tensor_type
    dims = [dim.dim_value or dim.dim_param or "?" for dim in tensor.shape.dim]
    samples = dims[-1] if dims and isinstance(dims[-1], int) else None
    shaped = (
        len(dims) in (1, 2, 3)
        and (len(dims) == 1 or dims[0] == 1 or isinstance(dims[0], str))
        and (len(dims) < 3 or dims[1] == 1)
        and (samples is None or samples >= _SHORTEST_SECONDS * sample_rate)
    )
    if not shaped:
        shown = ", ".join(map(str, dims)) or "no declared shape"
        raise SourceError(
            f"{path}: its input {inputs[0].name!r} [{shown}] is no waveform ([batch, samples], [samples] or "
            "[batch, 1, samples]), and an .onnx file does not say how features (log-mel, STFT) are made from "
            "sound; put the front end into the graph, or export by module:factory, whose Adapter names both"
        )
    if tensor.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise SourceError(
            f"{path}: its input {inputs[0].name!r} is {kind}; export it again with float32 waveforms"
        )
    return WaveInput(name=inputs[0].name, rank=len(dims), samples=samples)


def frontend_graph(window: int | None, *, pad: bool) -> onnx.ModelProto:
    """Waveform [B, N] -> features: the waveform, at most `window` samples of it, or exactly these (`pad`)."""
    nodes = []
    constants: dict[str, np.ndarray] = {}
    built = "waveform"
    if window is not None and pad:
        constants["pads"] = np.array([0, 0, 0, window], np.int64)
        nodes.append(helper.make_node("Pad", [built, "pads"], ["padded"]))
        built = "padded"
    if window is not None:
        constants |= {
            name: np.array([at], np.int64) for name, at in (("first", 0), ("end", window), ("axis", 1))
        }
        nodes.append(helper.make_node("Slice", [built, "first", "end", "axis"], ["features"]))
    else:
        nodes.append(helper.make_node("Identity", [built], ["features"]))
    length: int | str = window if window is not None and pad else "samples" if window is None else "heard"
    graph = helper.make_graph(
        nodes,
        "frontend",
        [_value("waveform", ["batch", "samples"])],
        [_value("features", ["batch", length])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="earmark"
    )


def classifier_graph(
    model: onnx.ModelProto,
    wave: WaveInput,
    output: str,
    classes: int,
    scores: Scores,
    task: Task,
    *,
    one_by_one: bool,
    shown: GraphMap | None = None,
) -> onnx.ModelProto:
    """The graph as a stage: features [B, N] -> logits [B, K]. `output`: its scores [B, K] or [K].

    shown: a tensor of it that becomes the tap "feature_map" [B, C, T', F']

    one_by_one: the whole graph becomes the body of a Scan over the batch, for graphs that hear one
    sound at a time ([N], or dims that hold for a batch of one alone).
    """
    built = onnx.ModelProto()
    built.CopyFrom(model)
    graph = built.graph
    _strip(built)
    # Merged graphs name a domain twice, which onnxruntime's quantiser refuses.
    versions = {
        "" if one.domain == "ai.onnx" else one.domain: one.version for one in reversed(built.opset_import)
    }
    del built.opset_import[:]
    built.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in versions.items())
    _rename(graph, {name: f"source/{name}" for name in _TAKEN})
    entry, exit_ = (_renamed(name) for name in (wave.name, output))
    weights = [weight for weight in graph.initializer if weight.name != entry]
    # 0 keeps the batch. In a Scan there is none.
    shape = {1: [-1], 2: [1, -1], 3: [1, 1, -1]} if one_by_one else {2: [0, -1], 3: [0, 1, -1]}
    constants: dict[str, np.ndarray] = {"earmark/shape": np.array(shape[wave.rank], np.int64)}
    entry_of_graph = "earmark/sound" if one_by_one else "features"
    nodes = [helper.make_node("Reshape", [entry_of_graph, "earmark/shape"], [entry]), *graph.node]
    nodes += _logit_nodes(nodes, exit_, scores, task, constants)
    length: int | str = wave.samples or "samples"
    outputs = [_value("logits", ["batch", classes])]
    if shown is not None:
        exposed = "earmark/map" if one_by_one else TAP
        more, sizes = shown.nodes(_renamed(shown.request.tensor), exposed, batch=not one_by_one)
        nodes += more
        constants |= sizes
        outputs.append(_value(TAP, shown.dims))
    if one_by_one:
        constants["earmark/classes"] = np.array([classes], np.int64)
        nodes.append(helper.make_node("Reshape", ["earmark/logits", "earmark/classes"], ["earmark/row"]))
        made_here = [_value("earmark/row", [classes])]
        if shown is not None:
            made_here.append(_value("earmark/map", shown.dims[1:]))
        nodes = _needed(nodes, *(value.name for value in made_here))
        body = helper.make_graph(nodes, "one", [_value("earmark/sound", [length])], made_here)
        names = [value.name for value in outputs]
        nodes = [helper.make_node("Scan", ["features"], names, body=body, num_scan_inputs=1)]
    else:
        nodes.append(helper.make_node("Identity", ["earmark/logits"], ["logits"]))
        nodes = _needed(nodes, *(value.name for value in outputs))
    used = _names(nodes)
    stage = helper.make_graph(
        nodes,
        "classifier",
        [_value("features", ["batch", length])],
        outputs,
        [weight for weight in weights if weight.name in used]
        + [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    stage.sparse_initializer.extend(graph.sparse_initializer)
    built.graph.CopyFrom(stage)
    return built


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


def _renamed(name: str) -> str:
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


def _needed(nodes: Sequence[onnx.NodeProto], *outputs: str) -> list[onnx.NodeProto]:
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
