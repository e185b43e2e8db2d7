"""A graph from a file, read and put into the order that its stages need. Never torch."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath

import onnx
from onnx import TensorProto, helper

from ....errors import BundleError, SourceError
from ....printable import first_line
from ....runtime.bundle.graphs import external_tensors
from ...graphs.files import extent_of
from .large import LARGE_FILE_BYTES, read_without_weights

# Operators that every onnxruntime brings; "com.microsoft" holds those of its own optimiser and quantiser.
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
# Log, Max and Reshape mean the same from here on.
_OLDEST_OPSET = 11


def read_model(path: Path) -> onnx.ModelProto:
    """A graph with its nodes sorted, and without the ZipMaps that scikit-learn's converter ends with.

    Weights that lie in files beside it, or in a large file itself, stay there;
    `numpy_helper.to_array(tensor, base_dir)` reads one.

    Raises:
        SourceError: Missing, not ONNX, operators that a plain onnxruntime lacks or that open files, a cycle,
            weights outside the file's folder, missing or cut short.

    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file; give an .onnx file")
    try:
        large = path.stat().st_size >= LARGE_FILE_BYTES
        model = read_without_weights(path) if large else onnx.load(str(path), load_external_data=False)
    except Exception as error:
        # protobuf's errors have no common base.
        raise SourceError(f"{path}: is not an ONNX graph ({first_line(error)})") from error
    if not model.graph.node or not model.graph.output:
        raise SourceError(f"{path}: is not an ONNX graph: it has no operators")
    opset = opset_of(model)
    if opset < _OLDEST_OPSET:
        raise SourceError(
            f'{path}: opset {opset}, older than {_OLDEST_OPSET}; convert it: python -c "import onnx; '
            f"onnx.save(onnx.version_converter.convert_version(onnx.load('{path}'), 17), 'model17.onnx')\""
        )
    _check_operators(model, path)
    _check_weights(model, path)
    for graph in graphs_of(model.graph):
        sort_nodes(graph, path)
    _without_zipmap(model.graph)
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the default operator set."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def graphs_of(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every graph inside its nodes."""
    yield graph
    for node in graph.node:
        yield from graphs_in(node)


def graphs_in(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Every graph inside a node."""
    for attribute in node.attribute:
        for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            yield from graphs_of(inner)


def read_by(node: onnx.NodeProto) -> set[str]:
    """Every tensor that a node reads, those that its inner graphs read included."""
    names = set(node.input)
    for inner in graphs_in(node):
        names |= {name for one in inner.node for name in one.input}
        names |= {value.name for value in inner.output}
    return names


def sort_nodes(graph: onnx.GraphProto, path: Path) -> None:
    """Put every node after those that it reads from, which converters to float16 leave undone.

    A graph that is in order stays as it is. Raises SourceError where they read from each other in a circle.
    """
    makers = {name: at for at, node in enumerate(graph.node) for name in node.output if name}
    needs = [{makers[name] for name in read_by(node) if name in makers} for node in graph.node]
    if all(max(need, default=-1) < at for at, need in enumerate(needs)):
        return
    try:
        order = list(TopologicalSorter(dict(enumerate(needs))).static_order())
    except CycleError as error:
        name = graph.node[error.args[1][0]].name
        raise SourceError(f"{path}: its node {name!r} reads what follows from itself") from error
    nodes = [onnx.NodeProto.FromString(graph.node[at].SerializeToString()) for at in order]
    del graph.node[:]
    graph.node.extend(nodes)


def _without_zipmap(graph: onnx.GraphProto) -> None:
    """Give the probabilities [B, K] themselves where a ZipMap makes dictionaries of them."""
    given = {value.name: value for value in graph.output}
    for node in [node for node in graph.node if node.op_type == "ZipMap" and node.domain == "ai.onnx.ml"]:
        value = given.get(node.output[0])
        if value is not None:
            value.CopyFrom(helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, None))
        graph.node.remove(node)


def _check_operators(model: onnx.ModelProto, path: Path) -> None:
    """Raise SourceError for operators that a plain onnxruntime does not have."""
    own = {(function.domain, function.name) for function in model.functions}
    nodes = [node for graph in graphs_of(model.graph) for node in graph.node]
    nodes += [node for function in model.functions for node in function.node]
    for node in nodes:
        if node.domain not in _DOMAINS and (node.domain, node.op_type) not in own:
            raise SourceError(
                f"{path}: uses the custom operator {node.domain}::{node.op_type}, which a bundle cannot "
                "carry; export the model again with standard operators"
            )


def _check_weights(model: onnx.ModelProto, path: Path) -> None:
    """Look where the weights lie that are in files beside the graph, and whether they are whole."""
    folder = path.parent.resolve()
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
        try:
            _, offset, length = extent_of(tensor)
        except (KeyError, ValueError, TypeError) as error:
            raise SourceError(
                f"{path}: its weights cannot be read ({tensor.name!r}: {first_line(error)})"
            ) from error
        if offset + length > file.stat().st_size:
            raise SourceError(f"{path}: the weight {tensor.name!r} is cut short; fetch its file again")
