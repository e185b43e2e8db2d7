"""Looks into every graph that is run, before ONNX Runtime sees it.

A graph is protobuf (never ONNX Runtime's own format or text, which other parsers read), its inputs and
outputs are those it should have, its operators are those of every onnxruntime, and whatever it keeps in
other files lies in files that the manifest lists for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ... import limits
from ...errors import BundleError
from .manifest import Manifest, StageSpec, TensorSpec

# Operators that make ONNX Runtime open files of the graph's choosing.
_FILE_OPERATORS = frozenset({"EPContext"})
# Operators that every onnxruntime brings; "com.microsoft" holds those of its own optimiser and quantiser.
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
# What an external weight may say of itself. Others make ONNX Runtime read more: weights packed for one
# processor, taken as they are.
_EXTERNAL_KEYS = frozenset({"location", "offset", "length", "checksum"})
SUFFIX = ".onnx"


def stage_data(manifest: Manifest, stage: StageSpec) -> dict[str, int]:
    """The files in which a stage may keep weights, as its graph names them, and their sizes."""
    parent = PurePosixPath(stage.file).parent
    held: dict[str, int] = {}
    for name in stage.data:
        path = PurePosixPath(name)
        if path.is_relative_to(parent):
            held[str(path.relative_to(parent))] = manifest.files[name].size
    return held


def embeddings_borders(manifest: Manifest) -> tuple[list[TensorSpec], list[TensorSpec], list[TensorSpec]]:
    """What the embeddings graph of this bundle's generations takes, gives, and may give besides.

    Raises BundleError where the bundle has no feature map.
    """
    spec, classifier = manifest.feature_map, manifest.stage("classifier")
    if spec is None or classifier is None:
        raise BundleError(f"{manifest.name}: has prototypes without a feature map; export the bundle again")
    rows, channels, classes = len(spec.bands_hz), spec.channels, len(manifest.labels)
    taps = [tensor for name in spec.taps for tensor in classifier.outputs if tensor.name == name]

    def tensor(name: str, *dims: int | str) -> TensorSpec:
        return TensorSpec(name=name, dtype="float32", dims=list(dims))

    gives = [
        tensor("square", "batch", "frames", rows, channels),
        tensor("time", "batch", "frames", channels),
        tensor("frequency", "batch", rows, channels),
    ]
    contributions = [tensor("contributions", "batch", classes, channels), tensor("bias", classes)]
    if spec.additive or spec.gradient:
        return taps, gives + contributions, []
    return taps, gives, contributions


def check_graph(
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    optional: Sequence[TensorSpec] = (),
    data: Mapping[str, int] | None = None,
) -> None:
    """Raise BundleError where the graph at `path` is none, or not what it should be.

    inputs, outputs: that it has to have; optional: outputs that it may have besides
    data: the files that may hold its weights, relative to the graph's folder, and their sizes
    """
    import onnx

    if path.suffix != SUFFIX:
        raise BundleError(f"{path}: a graph is a file {SUFFIX}, nothing else is run; export the bundle again")
    if path.stat().st_size > limits.GRAPH_BYTES:
        raise BundleError(f"{path}: larger than {limits.GRAPH_BYTES >> 20} MiB; keep its weights beside it")
    try:
        # Whatever the name ends in, as onnxruntime reads it.
        model = onnx.load(str(path), format="protobuf", load_external_data=False)
    except Exception as error:
        # protobuf's errors have no common base.
        raise BundleError(f"{path}: not an ONNX graph; export the bundle again") from error
    _check_borders(path, "inputs", model.graph.input, inputs)
    _check_borders(path, "outputs", model.graph.output, outputs, optional)
    for tensor in external_tensors(model, path):
        _check_external(path, tensor, data or {})


def external_tensors(model: Any, path: Path) -> Iterator[Any]:
    """Every tensor of the graph, its subgraphs, functions and attributes that keeps its values elsewhere.

    Raises BundleError where an operator opens files, or not every onnxruntime has it.
    """
    import onnx

    own = {(function.domain, function.name) for function in model.functions}
    stack: list[Any] = [model.graph, *model.functions]
    while stack:
        graph = stack.pop()
        tensors = list(getattr(graph, "initializer", ()))
        sparse = list(getattr(graph, "sparse_initializer", ()))
        for node in graph.node:
            if node.op_type in _FILE_OPERATORS:
                raise BundleError(f"{path}: holds the operator {node.op_type}, which opens files; refused")
            if node.domain not in _DOMAINS and (node.domain, node.op_type) not in own:
                raise BundleError(
                    f"{path}: uses the custom operator {node.domain}::{node.op_type}, which a bundle cannot "
                    "carry; export the model again with standard operators"
                )
            for attribute in node.attribute:
                tensors += [attribute.t, *attribute.tensors]
                sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
                stack += [attribute.g, *attribute.graphs]
        tensors += [part for one in sparse for part in (one.values, one.indices)]
        yield from (t for t in tensors if t.data_location == onnx.TensorProto.EXTERNAL)


def load_whole(path: Path) -> Any:
    """The graph of a file with its weights in it, also those that lie beside it.

    onnx's own reader refuses weights in a file of several names, as installers and growing indexes link them.
    Raises BundleError where a weight lies in another folder or is cut short, OSError.
    """
    import onnx

    model = onnx.load(str(path), format="protobuf", load_external_data=False)
    fill_weights(model, path)
    return model


def fill_weights(model: Any, path: Path) -> None:
    """Bring the weights that lie beside the graph of `path` into it. Raises as `load_whole`."""
    folder = path.parent.resolve()
    for tensor in external_tensors(model, path):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        place = (folder / entries["location"]).resolve()
        if not place.is_relative_to(folder):
            raise BundleError(f"{path}: the weight {tensor.name} lies in another folder; refused")
        with place.open("rb") as file:
            file.seek(int(entries.get("offset", 0)))
            length = int(entries["length"]) if "length" in entries else -1
            content = file.read(length)
        if len(content) < length:
            raise BundleError(f"{path}: the weight {tensor.name} is cut short in {place.name}")
        tensor.raw_data = content
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")


def _check_borders(
    path: Path,
    kind: str,
    values: Sequence[Any],
    specs: Sequence[TensorSpec],
    optional: Sequence[TensorSpec] = (),
) -> None:
    """Names, types, ranks and fixed dims of a graph's inputs or outputs are those expected."""
    names, expected = [value.name for value in values], [spec.name for spec in specs]
    more = {spec.name for spec in optional}
    if sorted(set(names) - more) != sorted(expected) or len(set(names)) != len(names):
        raise BundleError(
            f"{path}: its {kind} are {_short(names)}, the manifest says {_short(expected)}; export the "
            "bundle again, or its prototypes with earmark index --rebuild"
        )
    _check_values(path, values, [*specs, *(spec for spec in optional if spec.name in names)])


def _short(names: Sequence[str]) -> str:
    """Names for a message: strangers' may be long, and many."""
    return "[" + ", ".join(name if len(name) <= 40 else f"{name[:40]}..." for name in names[:20]) + "]"


def _check_values(path: Path, values: Iterable[Any], specs: Iterable[TensorSpec]) -> None:
    import onnx

    types = {"float32": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64}
    kinds = {value.name: value.type.tensor_type for value in values}
    for spec in specs:
        kind = kinds[spec.name]
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
        agree = len(dims) == len(spec.dims) and all(
            not isinstance(want, int) or have in (want, None)
            for want, have in zip(spec.dims, dims, strict=True)
        )
        if kind.elem_type != types[spec.dtype] or not agree:
            raise BundleError(
                f"{path}: {spec.name} has the dims {dims}, the manifest says {spec.dtype} {spec.dims}"
            )


def _check_external(path: Path, tensor: Any, data: Mapping[str, int]) -> None:
    """A weight lies in a file that is this graph's, ends within it, and has the bytes its shape needs."""
    import onnx

    name, dims = tensor.name, list(tensor.dims)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if location not in data:
        raise BundleError(f"{path}: the weight {name} lies in {location!r}, which is not this graph's")
    strange = sorted(set(entries) - _EXTERNAL_KEYS)
    if strange or len(entries) != len(tensor.external_data):
        raise BundleError(f"{path}: the weight {name} says more of its place than it may: {strange}")
    try:
        needed = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for dim in dims:
            needed *= int(dim)
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", needed))
    except (KeyError, ValueError, TypeError) as error:
        raise BundleError(f"{path}: the weight {name} has an extent that cannot be read") from error
    size = data[location]
    if offset < 0 or min(dims, default=1) < 0 or length != needed or offset + length > size:
        raise BundleError(
            f"{path}: the weight {name} spans {offset}..{offset + max(length, needed)} of {location}, "
            f"which has {size} bytes"
        )
