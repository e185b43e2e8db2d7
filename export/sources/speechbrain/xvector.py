"""The x-vector network with the state-dict names of SpeechBrain's, built from the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .layers import Activation, Conv1d, batch_norm, linear_layer

# SpeechBrain's pooling adds noise of 1e-5 to 9e-5 to the mean, also in use; here it is its mean. The
# deviation has its smallest value added.
_NOISE, _EPSILON = 5e-5, 1e-5


class Xvector(nn.Module):
    """Features [B, T, M] -> (embedding [B, E], the map before pooling [B, C, T], a map in the middle)."""

    def __init__(self, state: Mapping[str, Tensor], dilations: Sequence[int], activation: Activation) -> None:
        """The widths are those of the weights. Raises KeyError where they are another network's."""
        super().__init__()
        numbers = sorted({int(key.split(".")[1]) for key in state if key.startswith("blocks.")})
        # Three places a layer (convolution, activation, norm), then pooling and a linear layer.
        count, rest = divmod(numbers[-1] - 1 if numbers else 0, 3)
        if rest or count < 1:
            raise KeyError("blocks.0.conv.weight")
        self.activation = activation
        self.blocks = nn.ModuleDict()
        self.bands = int(state["blocks.0.conv.weight"].shape[1])
        widths = []
        for index in range(count):
            weight = state[f"blocks.{3 * index}.conv.weight"]
            outputs, inputs, kernel = (int(size) for size in weight.shape)
            self.blocks[str(3 * index)] = Conv1d(inputs, outputs, kernel, dilations[index])
            self.blocks[str(3 * index + 2)] = batch_norm(outputs)
            widths.append(outputs)
        self.channels, self.middle_channels = widths[-1], widths[count // 2]
        self.blocks[str(3 * count + 1)] = linear_layer(
            2 * self.channels, int(state[f"blocks.{3 * count + 1}.w.weight"].shape[0])
        )
        self.count = count

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        x = features.transpose(1, 2)
        middle = x
        for index in range(self.count):
            x = self.blocks[str(3 * index + 2)](self.activation(self.blocks[str(3 * index)](x)))
            if index == self.count // 2:
                middle = x
        pooled = torch.cat([x.mean(dim=2) + _NOISE, x.std(dim=2) + _EPSILON], dim=1)
        return self.blocks[str(3 * self.count + 1)](pooled), x, middle
