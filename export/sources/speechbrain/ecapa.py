"""ECAPA-TDNN (arXiv 2005.07143) with the state-dict names of SpeechBrain's, built from the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .layers import Activation, Conv1d, TdnnBlock, batch_norm

# Added by SpeechBrain's pooling under the root.
_EPSILON = 1e-12


class Res2Net(nn.Module):
    """The channels in parts; each part's convolution is added to the next one's input."""

    def __init__(self, channels: int, scale: int, kernel: int, dilation: int) -> None:
        super().__init__()
        width = channels // scale
        self.blocks = nn.ModuleList(TdnnBlock(width, width, kernel, dilation) for _ in range(scale - 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C, T]."""
        first, *others = x.chunk(len(self.blocks) + 1, dim=1)
        outputs = [first]
        for index, (block, part) in enumerate(zip(self.blocks, others, strict=True)):
            outputs.append(block(part if index == 0 else part + outputs[-1]))
        return torch.cat(outputs, dim=1)


class SqueezeExcitation(nn.Module):
    """Channels weighed by what the whole sound has of them."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Conv1d(channels, squeezed, 1), Conv1d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C, T]."""
        weights = self.conv2(torch.relu(self.conv1(x.mean(dim=2, keepdim=True))))
        return torch.sigmoid(weights) * x


class SeRes2Net(nn.Module):
    """TDNN, Res2Net, TDNN, squeeze and excitation, beside a shortcut."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        scale: int,
        kernel: int,
        dilation: int,
        squeezed: int,
        groups: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.tdnn1 = TdnnBlock(inputs, outputs, 1, groups=groups, activation=activation)
        self.res2net_block = Res2Net(outputs, scale, kernel, dilation)
        self.tdnn2 = TdnnBlock(outputs, outputs, 1, groups=groups, activation=activation)
        self.se_block = SqueezeExcitation(outputs, squeezed)
        self.shortcut = None if inputs == outputs else Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C', T]."""
        rest = x if self.shortcut is None else self.shortcut(x)
        output: Tensor = self.se_block(self.tdnn2(self.res2net_block(self.tdnn1(x)))) + rest
        return output


class AttentiveStatistics(nn.Module):
    """Mean and deviation of each channel over time, its frames weighed by attention."""

    def __init__(self, channels: int, attended: int, *, whole: bool) -> None:
        super().__init__()
        self.whole = whole
        self.tdnn = TdnnBlock(3 * channels if whole else channels, attended, 1)
        self.conv = Conv1d(attended, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, 2 C]."""
        seen = x
        if self.whole:
            mean, deviation = _statistics(x, torch.ones_like(x[:1, :1]) / x.shape[2])
            seen = torch.cat([x, mean.expand_as(x), deviation.expand_as(x)], dim=1)
        weights = torch.softmax(self.conv(torch.tanh(self.tdnn(seen))), dim=2)
        return torch.cat(_statistics(x, weights), dim=1).squeeze(2)


def _statistics(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted mean and deviation over time, each [B, C, 1]."""
    mean = (weights * x).sum(dim=2, keepdim=True)
    variance = (weights * (x - mean).square()).sum(dim=2, keepdim=True)
    return mean, torch.sqrt(variance.clamp(min=_EPSILON))


class Ecapa(nn.Module):
    """Features [B, T, M] -> (embedding [B, E], the map before pooling [B, C, T], a map in the middle)."""

    def __init__(
        self,
        state: Mapping[str, Tensor],
        dilations: Sequence[int],
        groups: Sequence[int],
        activation: Activation,
    ) -> None:
        """The widths are those of the weights. Raises KeyError where they are another network's."""
        super().__init__()
        first = state["blocks.0.conv.conv.weight"]
        kernel = int(first.shape[2])
        inputs = self.bands = int(first.shape[1]) * groups[0]
        outputs = int(first.shape[0])
        blocks: list[nn.Module] = [
            TdnnBlock(inputs, outputs, kernel, dilations[0], groups=groups[0], activation=activation)
        ]
        count = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
        joined = 0
        for index in range(1, count):
            name = f"blocks.{index}"
            inner = state[f"{name}.res2net_block.blocks.0.conv.conv.weight"]
            inputs, outputs = outputs, int(state[f"{name}.tdnn1.conv.conv.weight"].shape[0])
            block = SeRes2Net(
                inputs,
                outputs,
                scale=outputs // int(inner.shape[0]),
                kernel=int(inner.shape[2]),
                dilation=dilations[index],
                squeezed=int(state[f"{name}.se_block.conv1.conv.weight"].shape[0]),
                groups=groups[index],
                activation=activation,
            )
            blocks.append(block)
            joined += outputs
        self.blocks = nn.ModuleList(blocks)
        merging = state["mfa.conv.conv.weight"]
        self.channels, self.middle_channels = int(merging.shape[0]), outputs
        self.mfa = TdnnBlock(
            joined,
            self.channels,
            int(merging.shape[2]),
            dilations[-1],
            groups=groups[-1],
            activation=activation,
        )
        attending = state["asp.tdnn.conv.conv.weight"]
        whole = int(attending.shape[1]) == 3 * self.channels
        self.asp = AttentiveStatistics(self.channels, int(attending.shape[0]), whole=whole)
        self.asp_bn = batch_norm(2 * self.channels)
        self.fc = Conv1d(2 * self.channels, int(state["fc.conv.weight"].shape[0]), 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class; in the middle is the last block's output, before the blocks are merged."""
        x = features.transpose(1, 2)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        z = self.mfa(torch.cat(outputs[1:], dim=1))
        pooled = self.asp_bn(self.asp(z))
        return self.fc(pooled.unsqueeze(2)).squeeze(2), z, x
