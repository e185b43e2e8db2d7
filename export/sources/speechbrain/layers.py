"""Layers along time with the state-dict names of SpeechBrain's: [B, C, T] throughout."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Callable[[Tensor], Tensor]


class Conv1d(nn.Module):
    """Convolution over time of unchanged length: the ends are reflected."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, groups=groups)
        self.reach = dilation * (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C', T]."""
        if self.reach:
            x = functional.pad(x, (self.reach, self.reach), mode="reflect")
        output: Tensor = self.conv(x)
        return output


def batch_norm(channels: int) -> nn.Sequential:
    """Batch norm of [B, C, T] or [B, C], one name deeper than torch's."""
    return nn.Sequential(OrderedDict(norm=nn.BatchNorm1d(channels)))


def linear_layer(inputs: int, outputs: int) -> nn.Sequential:
    """A linear layer, one name deeper than torch's."""
    return nn.Sequential(OrderedDict(w=nn.Linear(inputs, outputs)))


class TdnnBlock(nn.Module):
    """Convolution, activation, batch norm."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        dilation: int = 1,
        *,
        groups: int = 1,
        activation: Activation = torch.relu,
    ) -> None:
        super().__init__()
        self.conv = Conv1d(inputs, outputs, kernel, dilation, groups)
        self.norm = batch_norm(outputs)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C', T]."""
        output: Tensor = self.norm(self.activation(self.conv(x)))
        return output


def longest_reach(module: nn.Module) -> int:
    """Frames that its convolutions reflect at most: sound must have one more."""
    return max((layer.reach for layer in module.modules() if isinstance(layer, Conv1d)), default=0)
