"""Source: a local folder of a Hugging Face model for audio classification.

    <folder>/config.json               which model, labels, task
    <folder>/preprocessor_config.json  the front end, read as data
    <folder>/model.safetensors         weights, loaded by transformers
    <folder>/[onnx/]model.onnx         of Optimum, where there are no weights

The scores are those of transformers' audio-classification pipeline on one window.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ....errors import SourceError
from ....printable import first_line
from ....runtime.audio.lengths import samples_at_least, samples_of
from ....runtime.bundle.manifest import AnalysisSpec, FeatureMapSpec, WindowSpec, aggregate_of
from ...frontends.description import Description
from ...frontends.frontend import Described
from ...frontends.matrices import mel_matrix
from ...frontends.module import DescribedFeatures, DescribedWaveform
from ...graphs.heads import Layer
from ...graphs.stft import StftFrontend
from ...models.scales import Scale
from ...source.exportable import Exportable
from ...source.source import Reference, Source
from ..adapter.tokens import TokenGrid
from ..onnx.file import load as load_graph
from ..onnx.frontends import describe
from .config import FILE, TOKENS, ModelConfig, architecture_of, labels_of, preprocessor_of, read_config
from .model import WEIGHTS, FolderClassifier, check_weights, load_model, middle_layer

_GRAPHS = ("onnx/model.onnx", "model.onnx")
# Longest sound taken at once of models that take any length.
_WINDOW_SECONDS = 10.0
# The shortest is searched for among these.
_LENGTHS = (0.03, 0.05, 0.1, 0.2, 0.5, 1.0)


def load(folder: Path) -> Exportable:
    """Read the folder. Raises SourceError naming file and field for whatever is missing or does not fit."""
    path = folder / FILE
    config = read_config(path)
    labels = labels_of(config, path)
    front = describe(str(preprocessor_of(folder)), {})
    graph = next((folder / name for name in _GRAPHS if (folder / name).is_file()), None)
    if graph is not None and not any((folder / name).is_file() for name in WEIGHTS):
        fixed = front.window is not None
        return load_graph(
            graph,
            labels=labels,
            task=config.task,
            frontend=front,
            window_seconds=None if fixed else _WINDOW_SECONDS,
            scores="logits",
        )
    from .. import require_packages

    architecture = architecture_of(config, path)
    check_weights(folder)
    require_packages("transformers", extra="hugging-face")
    return _source(folder, config, labels, front, architecture)


def _source(
    folder: Path, config: ModelConfig, labels: list[str], front: Described, architecture: str
) -> Source:
    description, rate = front.description, front.sample_rate
    model = load_model(folder, architecture)
    tokens, middle = TOKENS[architecture], middle_layer(model)
    patches = architecture == "ASTForAudioClassification"
    grid = _patch_grid(config, description) if patches else TokenGrid(rows=1, order="time", skip=0)
    listenable = front.analysis
    module = FolderClassifier(
        model,
        None if listenable is None else DescribedFeatures(description),
        {tokens: grid} if middle is None else {tokens: grid, middle: grid},
    ).eval()
    frontend = DescribedWaveform(description) if listenable is None else StftFrontend(listenable)
    samples = front.window or samples_of(_WINDOW_SECONDS, rate)
    try:
        step, maps = _measured(module, frontend, samples, fixed=front.window is not None)
        least = samples if front.samples else _least(module, frontend, samples, rate)
    except (RuntimeError, ValueError, IndexError) as error:
        raise SourceError(
            f"{folder}: features and model do not fit together ({first_line(error, 160)}); the files of "
            "one folder must be of one model"
        ) from error
    if patches and description.stft is not None:
        step = config.time_stride * description.stft.hop
    analysis = listenable or _analysis(rate)
    rows, centres = _rows(config, description, grid) if patches else ([(0.0, rate / 2)], [])
    names = ["feature_map", "middle"][: len(maps)]
    head = model.get_submodule("classifier")
    projected = isinstance(head, torch.nn.Linear)
    return Source(
        name=folder.resolve().name,
        labels=labels,
        task=config.task,
        sample_rate=rate,
        window=WindowSpec(
            seconds=samples / rate,
            hop_seconds=samples / rate / 2,
            minimum_seconds=least / rate,
            aggregate=aggregate_of(config.task),
        ),
        analysis=analysis,
        rescore="waveform" if listenable is None else "spectrogram",
        level=front.level,
        frontend=frontend.eval(),
        classifier=module,
        taps={
            name: [
                "batch",
                shown.shape[1],
                f"frames_{name}" if front.window is None else shown.shape[2],
                shown.shape[3],
            ]
            for name, shown in zip(names, maps, strict=True)
        },
        own_reference=Reference(logits=_original(model, front)),
        feature_map=FeatureMapSpec(
            tap="feature_map",
            channels=maps[0].shape[1],
            frame_seconds=step / rate,
            bands_hz=rows,
            pooling="mean" if projected else "other",
            additive=projected,
        ),
        head_layers=(Layer.of(head),) if isinstance(head, torch.nn.Linear) else (),
        scales=[
            Scale(
                tap=name,
                channels=shown.shape[1],
                rows=shown.shape[3],
                # SEW's layers have half of the frames.
                stride=max(1, round(step * maps[0].shape[2] / shown.shape[2] / analysis.hop)),
                hz=centres,
            )
            for name, shown in zip(names, maps, strict=True)
        ],
        description=f"{architecture} of a Hugging Face folder, with {front}.",
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
def _measured(
    module: FolderClassifier, frontend: torch.nn.Module, samples: int, *, fixed: bool
) -> tuple[float, list[torch.Tensor]]:
    """Samples from one frame of the maps to the next, and the maps of a window."""
    noise = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(1))
    maps = list(module(frontend(noise))[1:])
    if fixed:
        return samples / maps[0].shape[2], maps
    half = module(frontend(noise[:, : samples // 2]))[1]
    return float(round((samples - samples // 2) / (maps[0].shape[2] - half.shape[2]))), maps


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


def _patch_grid(config: ModelConfig, description: Description) -> TokenGrid:
    """AST's tokens: two of classes, then the patches, the lowest row's first."""
    height = config.patch_size if isinstance(config.patch_size, int) else config.patch_size[0]
    rows = (description.bins - height) // config.frequency_stride + 1
    if rows < 1:
        raise SourceError(f"patch_size {height} is more than the {description.bins} bands of the features")
    return TokenGrid(rows=rows, order="frequency", skip=2)


def _rows(
    config: ModelConfig, description: Description, grid: TokenGrid
) -> tuple[list[tuple[float, float]], list[float]]:
    """What each row of patches spans in Hz, and its centre."""
    bank = mel_matrix(description)
    stft = description.stft
    width = description.sample_rate / (1 if stft is None else stft.n_fft)
    height = config.patch_size if isinstance(config.patch_size, int) else config.patch_size[0]
    spans, centres = [], []
    for row in range(grid.rows):
        first = row * config.frequency_stride
        weights = bank[:, first : first + height].sum(axis=1)
        inside = np.flatnonzero(weights)
        spans.append((float(inside[0] * width), float(inside[-1] * width)))
        centres.append(float((weights * np.arange(len(weights))).sum() / weights.sum() * width))
    return spans, centres


def _analysis(rate: int) -> AnalysisSpec:
    """The listenable STFT of models that take waveforms or frames of their own: 10 ms of hop."""
    n_fft = 2 ** int(np.ceil(np.log2(0.025 * rate)))
    return AnalysisSpec(n_fft=n_fft, window_length=n_fft, hop=rate // 100, window="hann")


def _doubts(config: ModelConfig, front: Described) -> tuple[str, ...]:
    doubts = []
    if config.problem_type is None:
        doubts.append(
            "config.json has no problem_type: scores are by softmax, as transformers' pipeline gives them; "
            'where several labels may hold, write "multi_label_classification" there'
        )
    if front.window is None:
        doubts.append(
            f"the model takes sound of any length: windows have {_WINDOW_SECONDS:g} s, unless --window says "
            "what it was trained on"
        )
    return tuple(doubts)
