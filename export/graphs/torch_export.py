"""From a PyTorch module to a stage: an .onnx graph with named tensors, nothing of this machine in it."""

from __future__ import annotations

import contextlib
import inspect
import io
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx_ir
import torch
from torch import nn

from ...errors import SourceError
from ...prototypes_index.durability import naming
from ...runtime.bundle.manifest import StageSpec
from .files import EXTERNAL_DATA_BYTES, INLINE_TENSOR_BYTES, OPSET, Dims, StageName, data_files, stage_spec
from .quiet import without_log_warnings


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter's progress, warnings and logs; errors still raise."""
    output = io.StringIO()
    with (
        without_log_warnings(),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        warnings.simplefilter("ignore")
        yield


def _dynamic_shapes(module: nn.Module, inputs: Iterable[Dims]) -> tuple[Any, ...]:
    """The inputs' dynamic axes, dims with a name, as torch.export wants them: those of `*args` in a tuple.

    AUTO rather than named dims: two inputs whose lengths are related (taps of one sound) would
    make torch.export reject independent names.
    """
    axes = [
        {axis: torch.export.Dim.DYNAMIC for axis, dim in enumerate(dims) if isinstance(dim, str)}
        for dims in inputs
    ]
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return tuple(axes)
    first = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*axes[:first], tuple(axes[first:]))


def export_stage(
    name: StageName,
    module: nn.Module,
    example: tuple[torch.Tensor, ...],
    *,
    inputs: Mapping[str, Dims],
    outputs: Mapping[str, Dims],
    folder: Path,
) -> StageSpec:
    """Export one module as a graph with named tensors and dynamic named dims.

    example: one tensor an input; every dynamic axis must be 2 or more (1 would be specialised)
    inputs, outputs: name -> dims, in order
    Raises SourceError where PyTorch cannot export the module or an output's rank or static dims
    differ from what `outputs` promises.
    """
    path = folder / f"{name}.onnx"
    module = module.eval()
    with torch.no_grad():
        output = module(*example)
    output = output if isinstance(output, tuple) else (output,)
    _check_outputs(output, outputs, name)
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=_dynamic_shapes(module, inputs.values()),
                optimize=True,
                verbose=False,
            )
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise SourceError(
            f"the {name} cannot be exported to ONNX ({type(error).__name__}: {reason[0] if reason else ''}); "
            "write it with shapes that torch.export can trace"
        ) from error
    if program is None:
        raise SourceError(f"the {name} could not be exported to ONNX: PyTorch returned no program")
    model = program.model
    for values, named in ((model.graph.inputs, inputs), (model.graph.outputs, outputs)):
        for value, (tensor, dims) in zip(values, named.items(), strict=True):
            value.name = tensor
            # The contract's dims instead of the exporter's expressions.
            value.shape = onnx_ir.Shape(list(dims))
    model.graph.name = name
    _strip(model)
    data = _save(model, path)
    return stage_spec(name, path, data, OPSET, inputs, outputs)


def _check_outputs(output: tuple[torch.Tensor, ...], outputs: Mapping[str, Dims], name: str) -> None:
    """Raise SourceError unless `made` has the promised count, ranks and static dims."""
    if len(output) != len(outputs):
        raise SourceError(f"the {name} returns {len(output)} tensors, but {list(outputs)} were announced")
    for tensor, (key, dims) in zip(output, outputs.items(), strict=True):
        fits = tensor.dim() == len(dims) and all(
            isinstance(want, str) or want == have for want, have in zip(dims, tensor.shape, strict=True)
        )
        if not fits:
            raise SourceError(
                f"the {name}'s output {key!r} has shape {list(tensor.shape)}, but {list(dims)} was announced"
            )
        if not torch.isfinite(tensor).all():
            raise SourceError(f"the {name}'s output {key!r} is not finite for synthesised sound")


def _strip(model: onnx_ir.Model) -> None:
    """Remove the exporter's notes: they hold paths and source lines of the exporting machine."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in [*model.graph.inputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
    model.producer_name = "earmark"
    model.producer_version = None


def _save(model: onnx_ir.Model, path: Path) -> list[str]:
    """Write the graph, weights beside it where they are large; returns the data files' names."""
    weights = [
        value.const_value for value in model.graph.initializers.values() if value.const_value is not None
    ]
    size = sum(tensor.nbytes for tensor in weights)
    with quiet(), naming(path):
        if size <= EXTERNAL_DATA_BYTES:
            onnx_ir.save(model, path)
            return []
        data = f"{path.name}.data"
        onnx_ir.save(model, path, external_data=data, size_threshold_bytes=INLINE_TENSOR_BYTES)
    return data_files(path)
