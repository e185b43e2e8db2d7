"""PANNs' networks (arXiv 1912.10211) with the state-dict names of their own code, built from the weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...models.cnn14 import BandNorm
from ...models.pooling import max_mean

# Strides of MobileNetV1's parts; a depthwise one has six weights with its norms.
_MOBILE_STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


class Block(nn.Module):
    """Convolution, batch norm, ReLU: twice, or once with 5x5; then an average over 2x2, or none."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, twice: bool, pool: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.twice, self.pool = twice, pool
        if twice:
            self.conv2 = nn.Conv2d(outputs, outputs, kernel, padding=kernel // 2, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, F] -> [B, C', T // 2, F // 2], or the same size without pooling."""
        x = torch.relu(self.bn1(self.conv1(x)))
        if self.twice:
            x = torch.relu(self.bn2(self.conv2(x)))
        return functional.avg_pool2d(x, 2) if self.pool else x


def _mobile_part(inputs: int, outputs: int, stride: int, *, first: bool) -> nn.Sequential:
    groups, middle = (1, outputs) if first else (inputs, inputs)
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, middle, 3, padding=1, groups=groups, bias=False),
        nn.AvgPool2d(stride),
        nn.BatchNorm2d(middle),
        nn.ReLU(),
    ]
    if not first:
        layers += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class Body(nn.Module):
    """log-mel [B, 1, T, M] -> the maps [B, C, T', F'] of its halvings, the last one before pooling.

    kind: the network's name; strides: frames (and bands) of a cell of each map
    """

    def __init__(self, kind: str, bands: int, channels: tuple[int, ...], kernel: int) -> None:
        super().__init__()
        self.kind, self.channels = kind, channels
        self.bn0 = BandNorm(bands)
        self.strides: list[int] = []
        stride = 1
        if kind == "MobileNetV1":
            parts = zip((1, *channels[:-1]), channels, _MOBILE_STRIDES, strict=True)
            self.features = nn.Sequential(
                *(_mobile_part(a, b, step, first=at == 0) for at, (a, b, step) in enumerate(parts))
            )
            for step in _MOBILE_STRIDES:
                stride *= step
                self.strides.append(stride)
            return
        for index, (inputs, outputs) in enumerate(zip((1, *channels[:-1]), channels, strict=True), 1):
            pool = index < 6
            block = Block(inputs, outputs, kernel, twice=kind != "Cnn6", pool=pool)
            self.add_module(f"conv_block{index}", block)
            stride *= 2 if pool else 1
            self.strides.append(stride)

    @property
    def shown(self) -> list[int]:
        """Which parts' outputs are shown as maps: from an eighth of the frames on, the last of each size."""
        last = {stride: index for index, stride in enumerate(self.strides)}
        before = [index for stride, index in last.items() if stride >= 8]
        return sorted({*before, len(self.strides) - 1})

    def forward(self, logmel: Tensor) -> list[Tensor]:
        """See the class."""
        x = self.bn0(logmel)
        parts = (
            list(self.features)
            if self.kind == "MobileNetV1"
            else [self.get_submodule(f"conv_block{index + 1}") for index in range(len(self.channels))]
        )
        outputs = []
        for part in parts:
            x = part(x)
            outputs.append(x)
        return [outputs[index] for index in self.shown]


class Classifier(nn.Module):
    """STFT [B, T, F, 2] -> (logits [B, K], Z, further maps, coarsest first)."""

    def __init__(self, features: nn.Module, body: Body, embedding: nn.Linear, head: nn.Linear) -> None:
        super().__init__()
        self.features, self.body, self.embedding, self.head = features, body, embedding, head

    def answer(self, logmel: Tensor) -> tuple[Tensor, list[Tensor]]:
        """log-mel [B, 1, T, M] -> logits and maps, finest first."""
        maps = self.body(logmel)
        return self.head(torch.relu(self.embedding(max_mean(maps[-1])))), maps

    def forward(self, stft: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        logits, maps = self.answer(self.features(stft))
        return (logits, *reversed(maps))


def body_of(state: Mapping[str, Tensor]) -> Body:
    """The network that a state dict's keys and shapes are of, untrained. Raises KeyError where of none."""
    bands = int(state["bn0.weight"].shape[0])
    if "features.0.0.weight" in state:
        widths = [int(state["features.0.0.weight"].shape[0])]
        widths += [int(state[f"features.{n}.4.weight"].shape[0]) for n in range(1, len(_MOBILE_STRIDES))]
        return Body("MobileNetV1", bands, tuple(widths), 3)
    first = state["conv_block1.conv1.weight"]
    blocks = 6 if "conv_block6.conv1.weight" in state else 4
    kind = "Cnn14" if blocks == 6 else "Cnn10" if "conv_block1.conv2.weight" in state else "Cnn6"
    widths = [int(state[f"conv_block{n}.conv1.weight"].shape[0]) for n in range(1, blocks + 1)]
    return Body(kind, bands, tuple(widths), int(first.shape[2]))
