"""Graphs as files of a bundle: where weights go, and what a stage says of itself. Never torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import onnx
from onnx import TensorProto, helper

from ...prototypes_index.durability import naming
from ...runtime.bundle.graphs import external_tensors
from ...runtime.bundle.manifest import StageSpec, TensorSpec
from ...runtime.bundle.nodes import Nodes

# From opset 19 on AveragePool knows dilations, and onnxruntime's own code for it takes 6 times as long on a
# CPU, a sixth of a compact classifier.
OPSET = 18
# IR version of that opset: older runtimes refuse newer ones.
IR_VERSION = 8
# Weights above this go into a file beside the graph: parsing a protobuf copies its weights (the
# 1.25 GB model started in 10.0 s with them inside and 3.9 s outside), while below a mebibyte the
# copy costs less than opening another file, and one file is easier to carry.
EXTERNAL_DATA_BYTES = 1 << 20
# Tensors below this stay in the graph even then, so that shapes can be inferred without the data.
INLINE_TENSOR_BYTES = 1024
# Where weights begin, so that they can be mapped; how much of them is copied at once.
_ALIGNMENT = 64
_PIECE_BYTES = 1 << 22

Dims = Sequence[int | str]
StageName = Literal["frontend", "classifier", "classifier_int8", "decoder", "embeddings", "interpreter"]


def model_of(
    graph: Nodes, name: str, inputs: Mapping[str, Dims], outputs: Mapping[str, Dims]
) -> onnx.ModelProto:
    """A model of nodes in the version `OPSET`; inputs, outputs: name -> dims, typed as by `stage_spec`."""

    def borders(named: Mapping[str, Dims]) -> list[onnx.ValueInfoProto]:
        kinds = {key: TensorProto.INT64 if key == "target" else TensorProto.FLOAT for key in named}
        return [helper.make_tensor_value_info(key, kinds[key], list(dims)) for key, dims in named.items()]

    built = helper.make_graph(graph.nodes, name, borders(inputs), borders(outputs), graph.initializers())
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(built, opset_imports=opsets, ir_version=IR_VERSION, producer_name="earmark")


def save_graph(model: onnx.ModelProto, path: Path, weights: Path | None = None) -> list[str]:
    """Write a graph, weights beside it where they are large.

    Args:
        model: The graph. Its weights that lie in files are copied one by one, never all in memory, and it
            refers to the new file afterwards.
        path: The file.
        weights: The folder of these files; None: all weights are in the graph.

    Returns:
        The data files' names.

    """
    with naming(path):
        outside = [] if weights is None else list(external_tensors(model, path))
        if not outside:
            if sum(weight.ByteSize() for weight in model.graph.initializer) <= EXTERNAL_DATA_BYTES:
                path.write_bytes(model.SerializeToString(deterministic=True))
                return []
            data = path.with_name(f"{path.name}.data")
            onnx.save_model(
                model,
                str(path),
                save_as_external_data=True,
                all_tensors_to_one_file=True,
                location=data.name,
                size_threshold=INLINE_TENSOR_BYTES,
                convert_attribute=False,
            )
        else:
            _copy_weights(model, outside, path.with_name(f"{path.name}.data"), Path(weights or "."))
            path.write_bytes(model.SerializeToString(deterministic=True))
    return data_files(path)


def _copy_weights(
    model: onnx.ModelProto, outside: Sequence[onnx.TensorProto], data: Path, folder: Path
) -> None:
    """Move every larger weight of the graph into `data`, also those that lie in files of `folder`."""
    with data.open("wb") as out:
        for tensor in outside:
            name, offset, length = extent_of(tensor)
            start = _aligned(out)
            with (folder / name).open("rb") as held:
                held.seek(offset)
                while length > 0 and (piece := held.read(min(length, _PIECE_BYTES))):
                    out.write(piece)
                    length -= len(piece)
            _place(tensor, data.name, start, out.tell() - start)
        for tensor in model.graph.initializer:
            if (
                tensor.data_location != onnx.TensorProto.EXTERNAL
                and len(tensor.raw_data) >= INLINE_TENSOR_BYTES
            ):
                start = _aligned(out)
                out.write(tensor.raw_data)
                tensor.ClearField("raw_data")
                _place(tensor, data.name, start, out.tell() - start)


def _aligned(file: BinaryIO) -> int:
    """Pad the file so that what follows can be mapped as numbers; returns where it begins."""
    file.write(bytes(-file.tell() % _ALIGNMENT))
    return file.tell()


def _place(tensor: onnx.TensorProto, name: str, offset: int, length: int) -> None:
    """Say where a weight's values lie."""
    tensor.data_location = onnx.TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", name), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def extent_of(tensor: onnx.TensorProto) -> tuple[str, int, int]:
    """File, offset and length in bytes of a weight that lies beside its graph.

    Raises ValueError, KeyError or TypeError where it is not said in numbers that fit its shape.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    needed = math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    offset, length = int(entries.get("offset", 0)), int(entries.get("length", needed))
    if offset < 0 or length != needed:
        raise ValueError(f"spans {offset}..{offset + length}, its shape needs {needed} bytes")
    return entries["location"], offset, length


def data_files(path: Path) -> list[str]:
    """The file with the weights of a graph just written to `path`, if it has one, readable like the graph."""
    data = path.with_name(f"{path.name}.data")
    if not data.exists():
        return []
    # onnx lets the owner alone read it, whatever the umask.
    data.chmod(path.stat().st_mode)
    return [data.name]


def stage_spec(
    name: StageName,
    path: Path,
    data: Sequence[str],
    opset: int,
    inputs: Mapping[str, Dims],
    outputs: Mapping[str, Dims],
) -> StageSpec:
    """A stage of float32 tensors (but "target", class indices), name -> dims, whose graph lies in `path`."""

    def tensors(named: Mapping[str, Dims]) -> list[TensorSpec]:
        return [
            TensorSpec(name=key, dtype="int64" if key == "target" else "float32", dims=list(dims))
            for key, dims in named.items()
        ]

    return StageSpec(
        name=name,
        file=path.name,
        data=list(data),
        opset=opset,
        inputs=tensors(inputs),
        outputs=tensors(outputs),
    )
