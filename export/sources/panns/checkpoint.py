"""Source: a checkpoint of PANNs, `Cnn14.pth`, with its labels in a file beside it.

    <folder>/Cnn14_mAP=0.431.pth             torch.save of {"model": state dict}; tensors alone are loaded
    <folder>/class_labels_indices.csv        AudioSet's, or
    <folder>/labels.txt                      one a line, in the order of the scores

The checkpoint holds the window and the mel bands of torchlibrosa; they say which front end it is of, and the
exported graphs are measured against them as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ....errors import SourceError
from ....runtime.bundle.manifest import FeatureMapSpec, WindowSpec
from ...frontends.module import DescribedFeatures
from ...graphs.heads import Layer
from ...graphs.stft import StftFrontend
from ...models.scales import Scale
from ...source.source import Reference, Source
from ..foreign import STATE
from ..state_dicts import fill, linear, read_state
from .front import front_of
from .labels import labels_beside
from .network import Classifier, body_of

_WINDOW_SECONDS = 10.0
_REAL, _IMAGINARY = "stft.conv_real.weight", "stft.conv_imag.weight"


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
        bank = inner["logmel_extractor.melW"]
        last = "fc_transfer" if transferred else "fc_audioset"
        embedding, head = (
            linear(inner[f"{name}.weight"], inner[f"{name}.bias"], path, name) for name in ("fc1", last)
        )
    except KeyError as error:
        raise SourceError(
            f"{path}: is no checkpoint of PANNs' Cnn6, Cnn10, Cnn14 or MobileNetV1 (key {error} is missing); "
            f"it {STATE}"
        ) from error
    parts = {key: value for key, value in inner.items() if key in body.state_dict()}
    fill(body, parts, path, "network")
    front = front_of(path, kernels[0], bank)
    labels = labels_beside(path, len(head.weight))
    classifier = Classifier(DescribedFeatures(front.description), body, embedding, head).eval()
    rate, analysis, hop = front.description.sample_rate, front.analysis, front.analysis.hop
    rows = front.rows(body.strides)
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
        window=WindowSpec.usual(_WINDOW_SECONDS, max(body.strides) * hop / rate, task),
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
