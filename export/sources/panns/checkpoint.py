"""Source: a checkpoint of PANNs, `Cnn14.pth`, with its labels in a file beside it.

    <folder>/Cnn14_mAP=0.431.pth             torch.save of {"model": state dict}; tensors alone are loaded
    <folder>/class_labels_indices.csv        AudioSet's, or
    <folder>/labels.txt                      one a line, in the order of the scores

The checkpoint holds the window and the mel bands of torchlibrosa; they say which front end it is of, and the
exported graphs are measured against them as they are.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ....errors import SourceError
from ....printable import first_line
from ....runtime.bundle.manifest import FeatureMapSpec, WindowSpec, aggregate_of
from ...frontends.frontend import Described
from ...frontends.matrices import mel_matrix
from ...frontends.module import DescribedFeatures
from ...graphs.heads import Layer
from ...graphs.stft import StftFrontend
from ...models.scales import Scale
from ...source.source import Reference, Source
from ..foreign import STATE
from ..onnx.frontends import describe
from ..onnx.given import read_labels
from ..state_dicts import State, fill, read_state
from .network import Body, Classifier, body_of

LABELS = ("labels.txt", "class_labels_indices.csv")
# What the released models' front ends differ in.
_RATES: dict[int, tuple[int, int, float]] = {
    1024: (32000, 320, 14000.0),
    512: (16000, 160, 8000.0),
    256: (8000, 80, 4000.0),
}
_WINDOW_SECONDS = 10.0
_REAL, _IMAGINARY = "stft.conv_real.weight", "stft.conv_imag.weight"
_MEL = "melW"
_SAME = 1e-3


def load(path: Path) -> Source:
    """Read the checkpoint. Raises SourceError naming file and key for whatever is missing or does not fit."""
    try:
        state = read_state(path, "checkpoint", within="model")
    except SourceError as error:
        raise SourceError(f"{error}; where it is not of PANNs, it {STATE}") from error
    # Fine-tuned from AudioSet's: the body's keys are under base, the head is a new one.
    transferred = "fc_transfer.weight" in state
    inner = {key.removeprefix("base."): value for key, value in state.items()}
    try:
        body = body_of(inner)
        kernels = inner[f"spectrogram_extractor.{_REAL}"], inner[f"spectrogram_extractor.{_IMAGINARY}"]
        bank = inner[f"logmel_extractor.{_MEL}"]
        head_name = "fc_transfer" if transferred else "fc_audioset"
        embedding = _linear(inner, "fc1", path)
        head = _linear(inner, head_name, path)
    except KeyError as error:
        raise SourceError(
            f"{path}: is no checkpoint of PANNs' Cnn6, Cnn10, Cnn14 or MobileNetV1 (key {error} is missing); "
            f"it {STATE}"
        ) from error
    front = _front(path, kernels[0], bank)
    labels = _labels(path, len(head.weight))
    parts = {key: value for key, value in inner.items() if key in body.state_dict()}
    fill(body, parts, path, "network")
    analysis = front.analysis
    assert analysis is not None  # noqa: S101 (torchlibrosa's STFT is centred and periodic)
    classifier = Classifier(DescribedFeatures(front.description), body, embedding, head).eval()
    rate, hop = front.sample_rate, analysis.hop
    rows = _rows(front, body)
    taps = {
        ("feature_map" if at == 0 else f"map{body.strides[index]}"): index
        for at, index in enumerate(reversed(body.shown))
    }
    task: Literal["single_label", "multi_label"] = "single_label" if transferred else "multi_label"
    return Source(
        name=path.stem,
        labels=labels,
        task=task,
        sample_rate=rate,
        window=WindowSpec(
            seconds=_WINDOW_SECONDS,
            hop_seconds=_WINDOW_SECONDS / 2,
            minimum_seconds=max(body.strides) * hop / rate,
            aggregate=aggregate_of(task),
        ),
        analysis=analysis,
        frontend=StftFrontend(analysis),
        classifier=classifier,
        taps={
            name: ["batch", body.channels[index], f"frames_{name}", len(rows[index])]
            for name, index in taps.items()
        },
        own_reference=Reference(logits=_original(classifier, kernels, bank, hop)),
        feature_map=FeatureMapSpec(
            tap="feature_map",
            channels=body.channels[-1],
            frame_seconds=body.strides[-1] * hop / rate,
            bands_hz=[(low, high) for low, _, high in rows[len(body.strides) - 1]],
            pooling="max_mean",
            additive=False,
            gradient=True,
        ),
        head_layers=(replace(Layer.of(embedding), activation="relu"), Layer.of(head)),
        scales=[
            Scale(
                tap=name,
                channels=body.channels[index],
                rows=len(rows[index]),
                stride=body.strides[index],
                hz=[centre for _, centre, _ in rows[index]],
            )
            for name, index in reversed(taps.items())
        ],
        description=f"{body.kind} of PANNs, {path.name}.",
        doubts=(
            f"a checkpoint does not say its hop: {hop} samples, as PANNs of {rate} Hz have it",
            f"windows have {_WINDOW_SECONDS:g} s, AudioSet's clips, unless --window says otherwise",
        ),
    )


def _linear(state: State, name: str, path: Path) -> nn.Linear:
    """A linear layer of the state dict. Raises KeyError where it is not there."""
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    if weight.dim() != 2:
        raise SourceError(
            f"{path}: key '{name}.weight' has shape {list(weight.shape)}, not [outputs, inputs]"
        )
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0])
    return fill(layer, {"weight": weight, "bias": bias}, path, name)


def _front(path: Path, kernel: Tensor, bank: Tensor) -> Described:
    """The front end whose window and mel bands the checkpoint holds. Raises SourceError where none has."""
    n_fft = int(kernel.shape[-1])
    if n_fft not in _RATES:
        raise SourceError(
            f"{path}: a window of {n_fft} samples; PANNs have {', '.join(map(str, _RATES))}; write an Adapter"
        )
    rate, hop, high = _RATES[n_fft]
    front = describe(
        "panns",
        {
            "sample_rate": rate,
            "stft": {"n_fft": n_fft, "hop": hop},
            "mel": {"bins": int(bank.shape[1]), "high_hz": high},
        },
    )
    expected = mel_matrix(front.description)
    largest = float(np.abs(expected).max())
    if bank.shape != expected.shape or float(np.abs(bank.numpy() - expected).max()) > _SAME * largest:
        raise SourceError(
            f"{path}: key 'logmel_extractor.{_MEL}' is not the mel bands of PANNs at {rate} Hz (50 to "
            f"{high:g} Hz); write an Adapter around the model (docs/adapters.md)"
        )
    return front


def _labels(path: Path, classes: int) -> list[str]:
    """The labels beside the checkpoint. Raises SourceError where there are none, or not as many."""
    found = next((path.parent / name for name in LABELS if (path.parent / name).is_file()), None)
    if found is None:
        raise SourceError(
            f"{path}: says no labels; put {LABELS[0]} beside it, one a line in the order of the {classes} "
            f"scores, or AudioSet's {LABELS[1]}"
        )
    if found.suffix == ".txt":
        labels = read_labels(str(found))
    else:
        try:
            with found.open(encoding="utf-8-sig", newline="") as stream:
                rows = list(csv.DictReader(stream))
            labels = [row["display_name"] for row in sorted(rows, key=lambda row: int(row["index"]))]
        except (OSError, KeyError, ValueError, csv.Error) as error:
            raise SourceError(
                f"{found}: has no columns index and display_name ({first_line(error)}); take AudioSet's file"
            ) from error
    if len(labels) != classes:
        raise SourceError(f"{found}: {len(labels)} labels for {classes} scores of {path.name}")
    return labels


def _rows(front: Described, body: Body) -> list[list[tuple[float, float, float]]]:
    """For each part of the network the (low, centre, high) of its rows in Hz: means of neighbouring bands."""
    bank = mel_matrix(front.description)
    hz = np.arange(bank.shape[0]) * front.sample_rate / (2 * (bank.shape[0] - 1))
    parts = []
    for stride in body.strides:
        rows = []
        for row in range(bank.shape[1] // stride):
            weights = bank[:, row * stride : (row + 1) * stride].sum(axis=1)
            inside = hz[weights > 0]
            centre = float((weights * hz).sum() / weights.sum())
            rows.append((float(inside[0]), centre, float(inside[-1])))
        parts.append(rows)
    return parts


def _original(
    classifier: Classifier, kernels: tuple[Tensor, Tensor], bank: Tensor, hop: int
) -> Callable[[Tensor], Tensor]:
    """Waveform [B, N] -> logits, by torchlibrosa's kernels as the checkpoint holds them."""
    n_fft = int(kernels[0].shape[-1])

    def logits(waveform: Tensor) -> Tensor:
        padded = functional.pad(waveform.unsqueeze(1), (n_fft // 2, n_fft // 2), mode="reflect")
        real, imaginary = (functional.conv1d(padded, kernel, stride=hop) for kernel in kernels)
        power = (real.square() + imaginary.square()).transpose(1, 2)
        logmel = 10.0 * torch.log10((power @ bank).clamp(min=1e-10))
        return classifier.answer(logmel.unsqueeze(1))[0]

    return logits
