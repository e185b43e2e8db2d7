"""Cnn14 as SpeechBrain defines it (PANNs, arXiv 1912.10211), with the same state-dict names.

Own definition, so that a SpeechBrain output folder is exported without SpeechBrain installed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..graphs.stft import magnitude
from .pooling import max_mean

# Channels of the first five blocks; the sixth gives the embedding's dimension.
CHANNELS = (64, 128, 256, 512, 1024)

Taps = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class ConvBlock(nn.Module):
    """Twice (3x3 convolution, batch norm, ReLU), then average pooling of 2x2 (or none)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm1: nn.Module = nn.BatchNorm2d(outputs)
        self.norm2: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor, pool: bool = True) -> torch.Tensor:
        """[B, inputs, T, F] -> [B, outputs, T // 2, F // 2], or the same size without pooling."""
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        return functional.avg_pool2d(x, 2) if pool else x

    def folded(self) -> ConvBlock:
        """The same function with both batch norms inside the convolutions (eval mode)."""
        block = ConvBlock.__new__(ConvBlock)
        nn.Module.__init__(block)
        for index in ("1", "2"):
            conv, norm = self.get_submodule(f"conv{index}"), self.get_submodule(f"norm{index}")
            if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
                raise TypeError("this block is folded already")
            setattr(block, f"conv{index}", fuse_conv_bn_eval(conv.eval(), norm.eval()))
            setattr(block, f"norm{index}", nn.Identity())
        return block


class MelNorm(nn.Module):
    """The first batch norm as scale and shift per mel band; the padding that follows forbids folding it."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None:
            raise TypeError("batch norm without running statistics")
        scale = norm.weight.detach().double() / torch.sqrt(variance.double() + norm.eps)
        self.scale: torch.Tensor
        self.shift: torch.Tensor
        self.register_buffer("scale", scale.float())
        self.register_buffer("shift", (norm.bias.detach().double() - mean.double() * scale).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 1, T, M] -> the same."""
        return x * self.scale + self.shift


class BandNorm(nn.BatchNorm2d):
    """Batch norm over the last axis, mel bands, of [B, 1, T, M]."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - nn.Module's own name
        """[B, 1, T, M] -> the same."""
        return super().forward(input.transpose(1, 3)).transpose(1, 3)


class Cnn14(nn.Module):
    """log-mel [B, T, mel_bins] -> embedding [B, emb_dim] and the taps (x1, x2, x3, x4).

    x1 [B, emb_dim, T // 32, M // 32] is the feature map before pooling; x2, x3, x4 are the outputs of
    blocks five, four and three, halved in time and frequency at each block. T >= 32.
    Embedding: mean over frequency, then max over time + mean over time.
    """

    def __init__(self, mel_bins: int = 80, emb_dim: int = 2048, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        self.norm0: nn.Module = BandNorm(mel_bins)
        sizes = (1, *channels, emb_dim)
        for index in range(6):
            self.add_module(f"conv_block{index + 1}", ConvBlock(sizes[index], sizes[index + 1]))

    def forward(self, logmel: torch.Tensor) -> tuple[torch.Tensor, Taps]:
        """See the class."""
        x = self.norm0(logmel.unsqueeze(1))
        maps = []
        for index in range(1, 7):
            x = self.get_submodule(f"conv_block{index}")(x, pool=index < 6)
            maps.append(x)
        return max_mean(x), (maps[5], maps[4], maps[3], maps[2])

    def folded(self) -> Cnn14:
        """The same function with its batch norms folded away (eval mode); weights are copies."""
        norm = self.norm0
        if not isinstance(norm, nn.BatchNorm2d):
            raise TypeError("this Cnn14 is folded already")
        other = Cnn14.__new__(Cnn14)
        nn.Module.__init__(other)
        other.norm0 = MelNorm(norm)
        for index in range(1, 7):
            block = self.get_submodule(f"conv_block{index}")
            if isinstance(block, ConvBlock):
                other.add_module(f"conv_block{index}", block.folded())
        return other.eval()


def channels_of(state: Mapping[str, torch.Tensor]) -> tuple[int, ...]:
    """Output channels of the six blocks, read from a state dict. Raises KeyError where a block is missing."""
    return tuple(int(state[f"conv_block{index}.conv2.weight"].shape[0]) for index in range(1, 7))


def current_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict of older SpeechBrain releases (bn0, bn1, bn2) under today's names (norm0, ...)."""
    return {
        ".".join(
            f"norm{part[2]}" if part in ("bn0", "bn1", "bn2") else part for part in key.split(".")
        ): value
        for key, value in state.items()
    }


class Cnn14Classifier(nn.Module):
    """STFT [B, T, F, 2] -> (logits [B, K], x1, x2, x3, x4, logmel [B, T, M]).

    A = sqrt(re^2 + im^2 + 1e-14), logmel = log1p(A @ filterbank), Cnn14, linear head.
    """

    def __init__(self, filterbank: torch.Tensor, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.filterbank: torch.Tensor
        self.register_buffer("filterbank", filterbank)
        self.body = body
        self.head = head

    def forward(self, stft: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See the class."""
        logmel = torch.log1p(magnitude(stft) @ self.filterbank)
        embedding, taps = self.body(logmel)
        return (self.head(embedding), *taps, logmel)
