"""From a `Source` to the stage graphs: frontend, classifier, decoder and embeddings as .onnx files."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir
import torch
from torch import nn

from ...errors import SourceError
from ...prototypes_index.durability import naming
from ...runtime.bundle.manifest import FeatureMapSpec, StageSpec
from ..source.source import Source
from .apex_report import write_report
from .embeddings import embeddings_model
from .files import EXTERNAL_DATA_BYTES, INLINE_TENSOR_BYTES, OPSET, Dims, StageName, data_files, stage_spec
from .torch_stft import stft


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter's progress, warnings and logs; errors still raise."""
    levels = {
        name: logging.getLogger(name).level for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch")
    }
    with contextlib.ExitStack() as stack:
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def _dynamic(dims: Dims) -> dict[int, Any]:
    """Dynamic axes of one input for torch.export: every dim that has a name.

    AUTO rather than named dims: two inputs whose lengths are related (taps of one sound) would
    make torch.export reject independent names.
    """
    return {axis: torch.export.Dim.DYNAMIC for axis, dim in enumerate(dims) if isinstance(dim, str)}


def _dynamic_shapes(module: nn.Module, axes: Sequence[dict[int, Any]]) -> tuple[Any, ...]:
    """The inputs' dynamic axes as torch.export wants them: those that `*args` takes together in a tuple."""
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return tuple(axes)
    first = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*axes[:first], tuple(axes[first:]))


def _rename(value: onnx_ir.Value, dims: Dims) -> None:
    """Give a graph input or output the contract's dims instead of the exporter's expressions."""
    value.shape = onnx_ir.Shape(list(dims))


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
        made = module(*example)
    made = made if isinstance(made, tuple) else (made,)
    _check_outputs(made, outputs, name)
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=_dynamic_shapes(module, [_dynamic(dims) for dims in inputs.values()]),
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
            _rename(value, dims)
    model.graph.name = name
    _strip(model)
    data = _save(model, path)
    return stage_spec(name, path, data, OPSET, inputs, outputs)


def _check_outputs(made: tuple[torch.Tensor, ...], outputs: Mapping[str, Dims], name: str) -> None:
    """Raise SourceError unless `made` has the promised count, ranks and static dims."""
    if len(made) != len(outputs):
        raise SourceError(f"the {name} returns {len(made)} tensors, but {list(outputs)} were announced")
    for tensor, (key, dims) in zip(made, outputs.items(), strict=True):
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


def convert(source: Source, folder: Path, *, samples: int | None = None) -> list[StageSpec]:
    """Export every stage of `source` into `folder`, in the order of the chain.

    samples: length of the example sound (default: half the source's window); the graphs take any
    length all the same. Raises SourceError where a module cannot be exported.
    """
    length = samples or _example_samples(source)
    generator = torch.Generator().manual_seed(0)
    waveform = 0.1 * torch.randn(2, length, generator=generator)
    with torch.inference_mode(False), torch.no_grad():
        # A view of a larger tensor would be exported with its strides.
        features = source.frontend.eval()(waveform).contiguous()
        heard = source.classifier.eval()(features)
    classes = len(source.labels)
    if heard[0].shape[-1] != classes:
        raise SourceError(
            f"{source.name}: the classifier gives {heard[0].shape[-1]} logits for {classes} labels; "
            "check that label list and weights belong together"
        )
    taps = dict(zip(source.taps, heard[1:], strict=True))
    bins = source.analysis.n_fft // 2 + 1
    dims: dict[str, Dims] = {**source.taps, "stft": ["batch", "frames", bins, 2], "target": ["batch"]}
    spectral = source.rescore == "spectrogram"
    taps["stft"] = features if spectral else stft(waveform, source.analysis)
    taps["target"] = heard[0].argmax(dim=1)
    feature_name = "stft" if spectral else "features"
    feature_dims: Dims = (
        ["batch", "frames", bins, 2] if spectral else ["batch", *_feature_dims(source, features, waveform)]
    )
    stages = [
        export_stage(
            "frontend",
            source.frontend,
            (waveform,),
            inputs={"waveform": ["batch", "samples"]},
            outputs={feature_name: feature_dims},
            folder=folder,
        ),
        export_stage(
            "classifier",
            source.classifier,
            (features,),
            inputs={feature_name: feature_dims},
            outputs={"logits": ["batch", classes], **source.taps},
            folder=folder,
        ),
    ]
    if source.decoder is not None:
        stages.append(
            export_stage(
                "decoder",
                source.decoder,
                tuple(taps[name] for name in source.decoder_taps),
                inputs={name: dims[name] for name in source.decoder_taps},
                outputs={"mask": ["batch", "frames", bins]},
                folder=folder,
            )
        )
    if source.interpreter is not None:
        stages.append(_interpreter(source, source.interpreter, taps, dims, folder))
    if source.feature_map is not None:
        stages.append(_embeddings(source, source.feature_map, folder))
    return stages


def _interpreter(
    source: Source,
    interpreter: nn.Module,
    taps: Mapping[str, torch.Tensor],
    dims: Mapping[str, Dims],
    folder: Path,
) -> StageSpec:
    """The interpreter's graph."""
    spec = source.components
    if spec is None:
        raise SourceError(f"{source.name}: has an interpreter, but says nothing of its components")
    # A tap may be shown without a name for its frames, hence the name of the listenable STFT's.
    return export_stage(
        "interpreter",
        interpreter,
        tuple(taps[name].contiguous() for name in source.interpreter_taps),
        inputs={name: dims[name] for name in source.interpreter_taps},
        outputs={
            "activations": ["batch", spec.count, "frames"],
            "pooled": ["batch", spec.count],
            "logits": ["batch", len(source.labels)],
        },
        folder=folder,
    )


def _embeddings(source: Source, spec: FeatureMapSpec, folder: Path) -> StageSpec:
    """The embeddings graph, with the learnt U where there is one, and that U's report."""
    missing = [name for name in spec.taps if name not in source.taps]
    if missing:
        raise SourceError(
            f"{source.name}: {missing[0]!r} is not among the taps {source.taps}; make them agree"
        )
    rotation = None
    if source.apex is not None:
        rotation = source.apex.rotation
        write_report(folder, source.apex.report)
    return embeddings_model(
        folder / "embeddings.onnx",
        spec,
        source.taps[spec.tap],
        source.head,
        rotation,
        attention_dims=None if spec.attention is None else source.taps[spec.attention],
    )


def _example_samples(source: Source) -> int:
    """Half a window, and never so short that a dynamic axis has length one."""
    seconds = max(source.window.seconds / 2, 2 * source.window.minimum_seconds)
    return max(int(min(seconds, source.window.seconds) * source.sample_rate), 4 * source.analysis.n_fft)


def _feature_dims(source: Source, features: torch.Tensor, waveform: torch.Tensor) -> list[int | str]:
    """Dims after the batch of a front end's own features: those that change with the sound's length."""
    with torch.no_grad():
        shorter = source.frontend(waveform[:, : waveform.shape[1] * 3 // 4])
    if shorter.dim() != features.dim():
        raise SourceError(f"{source.name}: the front end's rank changes with the length of the sound")
    names = iter(["frames", *(f"frames_{n}" for n in range(2, 9))])
    return [a if a == b else next(names) for a, b in zip(features.shape[1:], shorter.shape[1:], strict=True)]
