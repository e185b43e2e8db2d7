"""Graphs as files of a bundle: where weights go, and what a stage says of itself. Never torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import onnx

from ...prototypes_index.durability import naming
from ...runtime.bundle.manifest import StageSpec, TensorSpec

OPSET = 20
# IR version of that opset: older runtimes refuse newer ones.
IR_VERSION = 9
# Weights above this go into a file beside the graph: parsing a protobuf copies its weights (the
# 1.25 GB model started in 10.0 s with them inside and 3.9 s outside), while below a mebibyte the
# copy costs less than opening another file, and one file is easier to carry.
EXTERNAL_DATA_BYTES = 1 << 20
# Tensors below this stay in the graph even then, so that shapes can be inferred without the data.
INLINE_TENSOR_BYTES = 1024

Dims = Sequence[int | str]
StageName = Literal["frontend", "classifier", "classifier_int8", "decoder", "embeddings", "interpreter"]


def save_graph(model: onnx.ModelProto, path: Path) -> list[str]:
    """Write a graph, weights beside it where they are large; returns the data files' names."""
    with naming(path):
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
    return data_files(path)


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
