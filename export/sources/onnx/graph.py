"""Graphs from strangers: read an .onnx safely, and edit it into the stages of a bundle. Never torch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ....runtime.bundle.manifest import NEXT_STATE, STATE, Task
from ....runtime.bundle.nodes import Nodes
from .feature_map import TAP, ShownTensor
from .memory import StateRow
from .outputs import logits_tensor
from .reading import graphs_of, opset_of, read_by

if TYPE_CHECKING:
    from ...frontends.frontend import Frontend
    from .entry import Entry
    from .outputs import ScoreOutput
    from .side_inputs import SideInput

Scores = Literal["logits", "probabilities", "log_probabilities"]

# Names that a stage's borders have.
_TAKEN = ("features", "stft", "logits", "waveform", STATE, NEXT_STATE, TAP)
# Smaller probabilities count as this one: its logarithm is finite in float32.
SMALLEST = 1e-30
# The same for 1 - p, whose float32 steps near 1 are 6e-8.
SMALLEST_REST = 1e-7


def classifier_graph(
    model: onnx.ModelProto,
    entry: Entry[Frontend],
    sides: Sequence[SideInput],
    output: ScoreOutput,
    classes: int,
    scores: Scores,
    task: Task,
    *,
    one_by_one: bool,
    shown: Sequence[ShownTensor] = (),
    memory: StateRow | None = None,
) -> onnx.ModelProto:
    """The graph as a stage: what the front end gives -> logits [B, K].

    Args:
        model: The graph, as `read_model` gives it.
        entry: How the sound gets into it.
        sides: What its other inputs are filled with.
        output: Where its scores are.
        classes: K.
        scores: What they are.
        task: Whether several labels may hold.
        one_by_one: The whole graph becomes the body of a Scan over the rows, for graphs that take one at a
            time ([N], or dims that hold for a batch of one alone).
        shown: Tensors of it that become taps [B, C, T', F'].
        memory: What goes from window to window, of a graph one by one: state [B, S] -> next_state [B, S].

    """
    stage_model = prepared(model)
    graph = stage_model.graph
    opset = opset_of(model)
    front, inner, back = Nodes(opset), Nodes(opset, "earmark/inner"), Nodes(opset, "earmark/back")
    rows = entry.front.row_nodes(front, entry.border)
    taken = renamed(entry.name)
    beside = []
    kept = {} if memory is None else memory.parts(inner)
    first = inner.take()
    for side in sides:
        filled = kept.get(side.name) or side.nodes(inner, taken, entry)
        beside += [*inner.take(), helper.make_node("Identity", [filled], [renamed(side.name)])]
    nodes = [*beside, *graph.node]
    copies = entry.copies if one_by_one else 1
    end = _row_logits(model, inner, entry, output, classes, scores, task, copies)
    outputs = [_value("logits", ["batch", classes])]
    whole = not one_by_one and entry.front.join is None
    exposed = {one.tap if whole else f"earmark/map_{number}": one for number, one in enumerate(shown)}
    for name, one in exposed.items():
        one.nodes(inner, renamed(one.tensor), name, batch=not one_by_one, copies=copies)
        outputs.append(_value(one.tap, one.dims))
    if memory is not None:
        memory.joined(inner, taken, renamed)
        outputs.append(_value(NEXT_STATE, ["batch", memory.size]))
    nodes += inner.take()
    if one_by_one:
        nodes.append(helper.make_node("Reshape", [end, back.whole(classes)], ["earmark/one_row"]))
        ends = {"earmark/all": _value("earmark/one_row", [classes])}
        stacked = {
            one.tap if entry.front.join is None else f"{name}/rows": name for name, one in exposed.items()
        }
        ends |= {outer: _value(name, exposed[name].row_dims) for outer, name in stacked.items()}
        ends |= {} if memory is None else {NEXT_STATE: _value(memory.LEFT, [memory.size])}
        scanned = [rows, *([] if memory is None else [memory.spread(front, entry.border)])]
        before = None if memory is None or not memory.context else memory.CONTEXT
        nodes = [loop(nodes, scanned, entry, input_type(graph, taken), ends, back, first, before)]
        end = "earmark/all"
    else:
        nodes.insert(0, helper.make_node("Identity", [rows], [taken]))
    if entry.front.join is not None:
        end = _logits(back, _joined(back, entry, end, classes), scores, task)
        for name, one in exposed.items():
            one.joined(back, f"{name}/rows" if one_by_one else name, back.size(entry.border, 0))
    nodes += [*back.take(), helper.make_node("Identity", [end], ["logits"])]
    nodes = needed([*front.nodes, *nodes], *(value.name for value in outputs))
    used = set().union(*map(read_by, nodes))
    constants = front.constants | inner.constants | back.constants
    inputs = {taken, *(renamed(side.name) for side in sides)}
    weights = [weight for weight in graph.initializer if weight.name in used and weight.name not in inputs]
    stage = helper.make_graph(
        nodes,
        "classifier",
        [_value(entry.border, entry.dims)]
        + ([] if memory is None else [_value(STATE, ["batch", memory.size])]),
        outputs,
        weights + [numpy_helper.from_array(array, name) for name, array in constants.items() if name in used],
    )
    if memory is not None:
        # A graph's input with a value of its own need not be given.
        stage.initializer.append(numpy_helper.from_array(np.zeros((1, memory.size), np.float32), STATE))
    stage.sparse_initializer.extend(graph.sparse_initializer)
    stage_model.graph.CopyFrom(stage)
    return stage_model


def _row_logits(
    model: onnx.ModelProto,
    graph: Nodes,
    entry: Entry[Frontend],
    output: ScoreOutput,
    classes: int,
    scores: Scores,
    task: Task,
    copies: int,
) -> str:
    """The logits of what the graph was fed; where rows are joined afterwards, their scores as they come."""
    if entry.front.join is not None:
        return output.nodes(graph, renamed(output.name), classes, copies=copies)
    before = None
    if scores != "logits":
        # A last softmax or sigmoid is passed by, since its probabilities have lost digits.
        before = logits_tensor(model, output, several=task == "multi_label")
    if before is not None:
        return output.nodes(graph, renamed(before), classes, copies=copies)
    row = output.nodes(graph, renamed(output.name), classes, copies=copies)
    return _logits(graph, row, scores, task)


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without notes, each domain named once, and the names free that a stage's borders have."""
    prepared_model = copy.deepcopy(model)
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
    scanned: Sequence[str],
    entry: Entry[Frontend],
    kind: int,
    ends: Mapping[str, onnx.ValueInfoProto],
    constants: Nodes,
    first: Sequence[onnx.NodeProto] = (),
    before: str | None = None,
) -> onnx.NodeProto:
    """A Scan over rows [R, ...] of type `kind`, with `nodes`, which take `entry`'s input, as its body.

    ends: name of the stacked output -> what the body gives for one row
    scanned: the rows, and perhaps a state of each, [R, S], which is `Memory.GIVEN` in the body
    first: nodes that begin the body; before: a tensor of theirs that is put in front of each row
    """
    into = Nodes(constants.opset, "earmark/row")
    one = into.over("Unsqueeze", "earmark/row", [0]) if entry.front.batched else "earmark/row"
    if entry.copies > 1:
        one = into.add("Concat", *[one] * entry.copies, axis=0)
    constants.constants |= into.constants
    named = helper.make_node("Identity", [one], [renamed(entry.name)])
    if before is not None:
        named = helper.make_node("Concat", [before, one], [renamed(entry.name)], axis=entry.front.time_axis)
    body = needed([*first, *into.nodes, named, *nodes], *(value.name for value in ends.values()))
    given = [helper.make_tensor_value_info("earmark/row", kind, None)]
    if len(scanned) > 1:
        given.append(helper.make_tensor_value_info(StateRow.GIVEN, TensorProto.FLOAT, None))
    inner = helper.make_graph(body, "one", given, list(ends.values()))
    return helper.make_node("Scan", list(scanned), list(ends), body=inner, num_scan_inputs=len(scanned))


def input_type(graph: onnx.GraphProto, name: str) -> int:
    """The type of an input's values, one of TensorProto's."""
    return next(int(value.type.tensor_type.elem_type) for value in graph.input if value.name == name)


def _joined(graph: Nodes, entry: Entry[Frontend], scores: str, classes: int) -> str:
    """Scores of rows [B P, K] -> of sounds [B, K], as the pipeline joins them."""
    shape = graph.add("Concat", graph.size(entry.border, 0), graph.whole(-1, classes), axis=0)
    each = graph.add("Reshape", scores, shape)
    return graph.over("ReduceMax" if entry.front.join == "max" else "ReduceMean", each, [1], keepdims=0)


def _logits(graph: Nodes, tensor: str, scores: Scores, task: Task) -> str:
    """From scores to logits: log p where one label holds, log p - log(1 - p) where several may."""
    multi = task == "multi_label"
    if scores == "logits" or (scores == "log_probabilities" and not multi):
        return tensor
    probability = graph.add("Exp", tensor) if scores == "log_probabilities" else tensor
    log = graph.add("Log", graph.add("Max", probability, graph.constant(SMALLEST)))
    if not multi:
        return log
    rest = graph.add("Sub", graph.constant(1.0), probability)
    log_rest = graph.add("Log", graph.add("Max", rest, graph.constant(SMALLEST_REST)))
    return graph.add("Sub", log, log_rest)


def _value(name: str, dims: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims))


def renamed(name: str) -> str:
    """The name of a tensor of the source in a stage."""
    return f"source/{name}" if name in _TAKEN else name


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Rename tensors everywhere, inner graphs included: the stage needs their names for its borders."""
    for one in graphs_of(graph):
        for value in (*one.input, *one.output, *one.initializer):
            value.name = names.get(value.name, value.name)
        for node in one.node:
            for edges in (node.input, node.output):
                for index, name in enumerate(edges):
                    edges[index] = names.get(name, name)


def needed(nodes: Sequence[onnx.NodeProto], *outputs: str) -> list[onnx.NodeProto]:
    """The nodes that `outputs` need, in order: heads that nobody asks for are left out."""
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted |= read_by(node)
    return kept[::-1]


def _strip(model: onnx.ModelProto) -> None:
    """Remove notes, which may hold paths and source lines of another machine, and stale shapes."""
    graphs = list(graphs_of(model.graph))
    for graph in graphs:
        del graph.value_info[:]
    holders = [*graphs, *model.functions]
    for noted in (model, *holders, *(node for holder in holders for node in holder.node)):
        noted.doc_string = ""
        del noted.metadata_props[:]
