"""A light L-MAC decoder: the mask on the mel grid from four feature maps, then warped to STFT bins."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from .mel import warp_taps


class Refine(nn.Module):
    """Depthwise 3x3 and pointwise convolution with batch norm, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, T, M] -> the same shape."""
        return functional.relu(x + self.norm(self.pointwise(self.depthwise(x))))


def nearest(x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """[B, C, T / 2, M / 2] -> [B, C, rows, columns]: each cell twice; odd ends repeat."""
    time = torch.clamp(torch.arange(rows, device=x.device) // 2, max=x.shape[2] - 1)
    bands = torch.clamp(torch.arange(columns, device=x.device) // 2, max=x.shape[3] - 1)
    return x.index_select(2, time).index_select(3, bands)


class CompactDecoder(nn.Module):
    """(logmel, map1, map2, map3, map4) of `CompactClassifier` -> mask [B, T, F] in 0..1, for any T.

    From the coarsest scale to the finest: what the coarser scale says is repeated, the scale's own
    feature map is added through a 1x1 convolution, and both are refined. The mask's logits lie on the
    mel grid; two-tap interpolation takes them to the STFT's bins.
    """

    def __init__(
        self, widths: Sequence[int], mels: int, n_fft: int, sample_rate: int, width: int = 24
    ) -> None:
        super().__init__()
        # Coarse to fine; the finest has 64 times the cells of the coarsest, hence few channels.
        inner = [width, width, max(4, width * 2 // 3), max(4, width // 3)]
        coarse_to_fine = list(widths)[::-1]
        self.lateral = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1) for inputs, outputs in zip(coarse_to_fine, inner, strict=True)
        )
        self.narrow = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1, bias=False) for inputs, outputs in pairwise(inner)
        )
        self.refine = nn.ModuleList(Refine(channels) for channels in inner)
        self.spectrum = nn.Conv2d(1, inner[-1], 3, padding=1)
        self.out = nn.Conv2d(inner[-1], 1, 1)
        # Begin with most of the sound kept: from an empty mask nothing is learnt.
        nn.init.constant_(self.out.bias, 1.0)  # type: ignore[arg-type]
        lower, weight = warp_taps(n_fft, mels, sample_rate)
        self.lower: torch.Tensor
        self.weight: torch.Tensor
        self.register_buffer("lower", lower, persistent=False)
        self.register_buffer("weight", weight, persistent=False)

    def logits(self, logmel: torch.Tensor, *maps: torch.Tensor) -> torch.Tensor:
        """The mask's logits [B, T, F]."""
        x: torch.Tensor | None = None
        for index, feature_map in enumerate(reversed(maps)):
            here: torch.Tensor = self.lateral[index](feature_map)
            if index == len(maps) - 1:
                here = here + self.spectrum(logmel.unsqueeze(1))
            if x is not None:
                # Narrowed before it is repeated: a quarter of the cost.
                here = here + nearest(self.narrow[index - 1](x), here.shape[2], here.shape[3])
            x = self.refine[index](functional.relu(here))
        if x is None:
            raise ValueError("no feature maps")
        grid = self.out(x).squeeze(1)
        low = grid.index_select(2, self.lower)
        warped: torch.Tensor = low + self.weight * (grid.index_select(2, self.lower + 1) - low)
        return warped

    def forward(
        self,
        logmel: torch.Tensor,
        map1: torch.Tensor,
        map2: torch.Tensor,
        map3: torch.Tensor,
        map4: torch.Tensor,
    ) -> torch.Tensor:
        """Log-mel [B, T, M] and the four maps -> mask [B, T, F]."""
        return torch.sigmoid(self.logits(logmel, map1, map2, map3, map4))
