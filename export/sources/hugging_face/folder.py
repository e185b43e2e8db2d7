"""Source: a local folder of a Hugging Face model for audio classification.

    <folder>/config.json               which model, labels, task
    <folder>/preprocessor_config.json  the front end, read as data
    <folder>/model.safetensors         weights, loaded by transformers
    <folder>/[onnx/]model.onnx         of Optimum, where there are no weights, or of a class not known here

The scores are those of transformers' audio-classification pipeline on one window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ....errors import SourceError
from ....printable import first_line
from ....runtime.audio.lengths import samples_at_least, samples_of
from ....runtime.bundle.manifest import AnalysisSpec, FeatureMapSpec, WindowSpec
from ...frontends.frontend import Described
from ...frontends.module import DescribedFeatures, DescribedWaveform
from ...graphs.heads import Layer
from ...graphs.stft import StftFrontend
from ...models.scales import Scale
from ...source.exportable import Exportable
from ...source.source import Reference, Source
from ..onnx.file import OnnxSource
from ..onnx.file import load as load_graph
from ..onnx.frontends import describe
from . import clap
from .beside import WINDOW_SECONDS, FolderFacts, facts_of, folder_of, graph_in, others_beside
from .config import CLAP, FILE, TOKENS, ModelConfig, architecture_of, labels_of, preprocessor_of, read_config
from .maps import Maps, maps_of
from .model import WEIGHTS, FolderClassifier, check_weights, load_model

# The shortest is searched for among these.
_LENGTHS = (0.03, 0.05, 0.1, 0.2, 0.5, 1.0)


def load(folder: Path) -> Exportable:
    """Read the folder. Raises SourceError naming file and field for whatever is missing or does not fit."""
    around = folder_of(folder) or folder
    path = around / FILE
    config = read_config(path)
    graph = graph_in(folder)
    weighed = any((folder / name).is_file() for name in WEIGHTS)
    known = bool(config.architectures) and config.architectures[0] in TOKENS
    if graph is not None and not (weighed and known):
        return _graph(graph, facts_of(around), weighed=weighed)
    front = describe(str(preprocessor_of(folder)), {})
    from .. import require_packages

    architecture = architecture_of(config, path)
    labels = clap.labels_of(folder) if architecture == CLAP else labels_of(config, path)
    check_weights(folder)
    require_packages("transformers", extra="hugging-face")
    model = load_model(folder, architecture)
    if architecture == CLAP:
        model = clap.with_texts(model, folder, labels)
    maps = maps_of(architecture, model, config, front.description)
    measured = _measured(model, maps, front, folder)
    source = _source(folder, config, labels, front, model, maps, measured)
    if graph is None:
        return source
    named = graph.relative_to(folder)
    more = f"the weights are taken and not {named} beside them; earmark export {folder / named} takes that"
    return replace(source, doubts=(*source.doubts, more))


def _graph(graph: Path, facts: FolderFacts, *, weighed: bool) -> OnnxSource:
    """The folder's graph as a source. `weighed`: there are weights, too, of a class that is not known."""
    source = load_graph(
        graph,
        labels=facts.labels,
        task=facts.config.task,
        frontend=facts.frontend,
        window_seconds=facts.window_seconds,
        scores="logits",
    )
    doubts = list(source.doubts)
    if weighed:
        named = facts.config.architectures[0]
        doubts.append(f"{graph.name} is taken and not the weights beside it: {named} is not known here")
    if others := others_beside(graph):
        doubts.append(f"{graph.name} is taken; {', '.join(others)} beside it are taken where they are named")
    return replace(source, doubts=tuple(doubts))


@dataclass(frozen=True)
class _Measured:
    """Modules, and what they were seen to do.

    samples: of a window; least: of the shortest sound; step: between frames; shapes: of the maps of a window
    """

    frontend: torch.nn.Module
    module: FolderClassifier
    samples: int
    least: int
    step: float
    shapes: list[torch.Size]


@torch.no_grad()
def _measured(model: torch.nn.Module, maps: Maps, front: Described, folder: Path) -> _Measured:
    """Chain front end and model, and run noise through them. Raises SourceError where they do not fit."""
    description, rate, listenable = front.description, front.sample_rate, front.analysis
    features = None if listenable is None else DescribedFeatures(description)
    frontend = DescribedWaveform(description) if listenable is None else StftFrontend(listenable)
    module = FolderClassifier(model, features, maps.grids).eval()
    samples = front.window or samples_of(WINDOW_SECONDS, rate)
    noise = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(1))
    padded = description.samples is not None and description.samples.pad == "zeros"
    try:
        shown = list(module(frontend(noise))[1:])
        step = maps.step
        if step is None and front.window is not None:
            step = samples / shown[0].shape[2]
        elif step is None:
            half = module(frontend(noise[:, : samples // 2]))[1]
            step = float(round((samples - samples // 2) / (shown[0].shape[2] - half.shape[2])))
        least = samples if padded else _least(module, frontend, samples, rate)
    except (RuntimeError, ValueError, IndexError) as error:
        raise SourceError(
            f"{folder}: features and model do not fit together ({first_line(error, 160)}); the files of "
            "one folder must be of one model"
        ) from error
    return _Measured(frontend.eval(), module, samples, least, step, [one.shape for one in shown])


def _source(
    folder: Path,
    config: ModelConfig,
    labels: list[str],
    front: Described,
    model: torch.nn.Module,
    maps: Maps,
    measured: _Measured,
) -> Source:
    rate, step = front.sample_rate, measured.step
    analysis = front.analysis or _analysis(rate)
    shapes = dict(zip(("feature_map", "middle"), measured.shapes, strict=False))
    first = measured.shapes[0]
    head = getattr(model, "classifier", None)
    linear = head if isinstance(head, torch.nn.Linear) else None
    return Source(
        name=folder.resolve().name,
        labels=labels,
        task=config.task,
        sample_rate=rate,
        window=WindowSpec.usual(measured.samples / rate, measured.least / rate, config.task),
        analysis=analysis,
        rescore="waveform" if front.analysis is None else "spectrogram",
        level=front.level,
        frontend=measured.frontend,
        classifier=measured.module,
        taps={
            name: ["batch", shape[1], f"frames_{name}" if front.window is None else shape[2], shape[3]]
            for name, shape in shapes.items()
        },
        own_reference=Reference(logits=_original(model, front)),
        feature_map=FeatureMapSpec(
            tap="feature_map",
            channels=first[1],
            frame_seconds=step / rate,
            bands_hz=maps.bands_hz,
            pooling="other" if linear is None else "mean",
            additive=linear is not None,
        ),
        head_layers=() if linear is None else (Layer.of(linear),),
        scales=[
            Scale(
                tap=name,
                channels=shape[1],
                rows=shape[3],
                # SEW's layers have half of the frames.
                stride=max(1, round(step * first[2] / shape[2] / analysis.hop)),
                hz=maps.centres_hz,
            )
            for name, shape in shapes.items()
        ],
        description=f"{config.architectures[0]} of a Hugging Face folder, with {front}.",
        doubts=_doubts(config, front),
    )


def _original(model: torch.nn.Module, front: Described) -> Callable[[torch.Tensor], torch.Tensor]:
    """Waveform [B, N], level applied -> logits, by the model as it is on features in float64."""

    def logits(waveform: torch.Tensor) -> torch.Tensor:
        rows = np.concatenate([front.rows(sound) for sound in waveform.cpu().numpy()])
        output: torch.Tensor = model(**{str(model.main_input_name): torch.from_numpy(rows).float()}).logits
        return output

    return logits


@torch.no_grad()
def _least(module: FolderClassifier, frontend: torch.nn.Module, samples: int, rate: int) -> int:
    """Samples of the shortest sound that the model takes, among some lengths."""
    for seconds in _LENGTHS:
        length = samples_at_least(seconds, rate)
        try:
            if length < samples and bool(torch.isfinite(module(frontend(torch.ones(1, length)))[0]).all()):
                return length
        except (RuntimeError, ValueError, IndexError):
            continue
    return samples


def _analysis(rate: int) -> AnalysisSpec:
    """The listenable STFT of models that take waveforms or frames of their own: 10 ms of hop."""
    n_fft = 2 ** int(np.ceil(np.log2(0.025 * rate)))
    return AnalysisSpec(n_fft=n_fft, window_length=n_fft, hop=rate // 100, window="hann")


def _doubts(config: ModelConfig, front: Described) -> tuple[str, ...]:
    doubts = []
    if config.problem_type is None and config.architectures[:1] != [CLAP]:
        doubts.append(
            "config.json has no problem_type: scores are by softmax, as transformers' pipeline gives them; "
            'where several labels may hold, write "multi_label_classification" there'
        )
    if front.window is None:
        doubts.append(
            f"the model takes sound of any length: windows have {WINDOW_SECONDS:g} s, unless --window says "
            "what it was trained on"
        )
    return tuple(doubts)
