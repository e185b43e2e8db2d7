"""A bundle's one graph as a model repository of NVIDIA Triton. Never torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import onnx

from ...errors import BundleError
from ...prototypes_index.atomic import put_in_place, staged
from ...prototypes_index.durability import naming
from ...runtime.bundle.open import Bundle
from .check import Agreements
from .fuse import fuse

# Rows that Triton joins into one batch, from requests of equal length.
MAX_BATCH = 32
_GRAPH = "model.onnx"
_LABELS = "labels.txt"


def write_repository(bundle: Bundle, out: Path, *, force: bool = False) -> Agreements:
    """Write a model repository, which `tritonserver --model-repository OUT` serves.

    Args:
        bundle: The open bundle.
        out: The repository. It holds one model, named after the bundle: `config.pbtxt`, `labels.txt` and
            the graph as version 1. Other models in it stay as they are.
        force: Replace the model if it exists.

    Returns:
        Largest differences from the bundle, by output.

    Raises:
        BundleError: The model exists, or a label holds a line break.
        SourceError: The stages cannot be joined.
        ParityError: The graph's answers are not the bundle's.
        WriteError: A file cannot be written.

    """
    manifest = bundle.manifest
    name = model_name(manifest.name)
    target = out / name
    if target.exists() and not force:
        raise BundleError(f"{target}: exists; choose another repository or replace the model with --force")
    for label in manifest.labels:
        if len(label.splitlines()) != 1:
            raise BundleError(f"{bundle.path}: the label {label!r} is more than one line of Triton's labels")
    with naming(out):
        out.mkdir(parents=True, exist_ok=True)
    with staged(target) as folder:
        with naming(folder):
            (folder / "1").mkdir()
        graph = folder / "1" / _GRAPH
        differences = fuse(bundle, graph)
        with naming(folder):
            (folder / _LABELS).write_text("".join(f"{one}\n" for one in manifest.labels), encoding="utf-8")
            (folder / "config.pbtxt").write_text(_config(name, graph), encoding="utf-8")
        put_in_place(folder, target)
    return differences


def model_name(name: str) -> str:
    """A bundle's name as Triton takes it: letters, digits, "_", "-" and "."; the rest becomes "_"."""
    kept = "".join(one if one.isascii() and (one.isalnum() or one in "_-.") else "_" for one in name)
    return kept.lstrip(".") or "earmark"


def _config(name: str, graph: Path) -> str:
    """config.pbtxt: dims without that of the batch, -1 where they are free; the metadata as parameters."""
    model = onnx.load(str(graph), load_external_data=False)
    lines = [
        f"name: {_text(name)}",
        'platform: "onnxruntime_onnx"',
        f"max_batch_size: {MAX_BATCH}",
        *_tensors("input", model.graph.input),
        *_tensors("output", model.graph.output),
        "dynamic_batching { }",
    ]
    for fact in model.metadata_props:
        lines += [
            "parameters {",
            f"  key: {_text(fact.key)}",
            f"  value {{ string_value: {_text(fact.value)} }}",
            "}",
        ]
    return "".join(f"{line}\n" for line in lines)


def _tensors(kind: str, tensors: Sequence[onnx.ValueInfoProto]) -> list[str]:
    """The entries of inputs or outputs."""
    lines = []
    for tensor in tensors:
        dims = [one.dim_value or -1 for one in tensor.type.tensor_type.shape.dim][1:]
        lines += [f"{kind} {{", f"  name: {_text(tensor.name)}", "  data_type: TYPE_FP32"]
        lines += [f"  dims: [ {', '.join(map(str, dims))} ]"]
        if tensor.name == "scores":
            lines.append(f"  label_filename: {_text(_LABELS)}")
        lines.append("}")
    return lines


def _text(value: str) -> str:
    """A string of protobuf's text format, which knows JSON's escapes but not its surrogate pairs."""
    return json.dumps(value, ensure_ascii=False)
