"""A compact CNN on log-mel: four scales of feature maps, max and mean pooling, a linear head."""

from __future__ import annotations

import msgspec
import torch
from torch import nn
from torch.nn import functional

from ...errors import RunError
from .mel import LogMel
from .pooling import max_mean

ARCHITECTURE = "compact_classifier"
# Each scale halves frames and bands.
SCALES = 4
# Frames and bands of the input a cell of the last feature map spans.
STRIDE = 2 ** (SCALES - 1)


class CompactBlock(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, T, M] -> [B, outputs, T, M]."""
        return functional.relu(self.norm(self.conv(x)))


class CompactClassifier(nn.Module):
    """STFT [B, T, F, 2] -> (logits [B, K], logmel, map1, map2, map3, map4), for any T >= 8.

    logmel [B, T, M]; map1 [B, w, T, M]; map2 [B, 2w, T // 2, M // 2]; map3 [B, 4w, T // 4, M // 4];
    map4 = Z [B, 8w, T // 8, M // 8], the feature map right before pooling:
    v = max_t + mean_t of the mean of Z over bands, logits = W v + b.
    """

    def __init__(self, n_fft: int, sample_rate: int, classes: int, mels: int = 64, width: int = 24) -> None:
        super().__init__()
        if mels % STRIDE:
            raise ValueError(f"mels {mels}: must be a multiple of {STRIDE}")
        self.mel = LogMel(n_fft, mels, sample_rate)
        # Normalises each mel band over the training set.
        self.input_norm = nn.BatchNorm1d(mels)
        widths = [width * 2**scale for scale in range(SCALES)]
        self.widths = widths
        self.blocks = nn.ModuleList(
            CompactBlock(inputs, outputs) for inputs, outputs in zip([1, *widths], widths, strict=False)
        )
        self.last = CompactBlock(widths[-1], widths[-1])
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(widths[-1], classes)

    def maps(self, logmel: torch.Tensor) -> list[torch.Tensor]:
        """Log-mel [B, T, M] -> the feature maps, finest first."""
        x = self.input_norm(logmel.transpose(1, 2)).transpose(1, 2).unsqueeze(1)
        maps: list[torch.Tensor] = []
        for index, block in enumerate(self.blocks):
            x = block(functional.avg_pool2d(x, 2) if index else x)
            if index == SCALES - 1:
                x = self.last(x)
            maps.append(x)
        return maps

    def classify(self, z: torch.Tensor) -> torch.Tensor:
        """Z [B, C, T', F'] -> logits [B, K]."""
        logits: torch.Tensor = self.head(self.dropout(max_mean(z)))
        return logits

    def from_logmel(self, logmel: torch.Tensor) -> torch.Tensor:
        """Log-mel [B, T, M] -> logits [B, K]."""
        return self.classify(self.maps(logmel)[-1])

    def forward(self, stft: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[B, T, F, 2] -> (logits, logmel, map1, map2, map3, map4)."""
        logmel = self.mel(stft)
        maps = self.maps(logmel)
        return (self.classify(maps[-1]), logmel, *maps)


class ClassifierForm(msgspec.Struct, frozen=True, kw_only=True):
    """All that a compact classifier is built from, but its weights, its sound and its classes."""

    architecture: str = ARCHITECTURE
    mels: int
    width: int

    def build(self, n_fft: int, sample_rate: int, classes: int) -> CompactClassifier:
        """The untrained classifier. Raises RunError where the form is of another one, or does not fit."""
        if self.architecture != ARCHITECTURE:
            raise RunError(
                f"the run's classifier is a {self.architecture!r}; this earmark has {ARCHITECTURE}"
            )
        try:
            return CompactClassifier(n_fft, sample_rate, classes, self.mels, self.width)
        except (TypeError, ValueError, RuntimeError) as error:
            raise RunError(f"the run's config is incomplete or damaged ({error})") from error
