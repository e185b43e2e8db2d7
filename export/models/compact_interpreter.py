"""A light psi of Listen to Interpret (arXiv 2202.11479): a classifier's feature maps to NMF activations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from .scales import Scale, stretched


class RefineFrames(nn.Module):
    """Depthwise convolution over five frames and a pointwise one with batch norm, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, 5, padding=2, groups=channels, bias=False)
        self.pointwise = nn.Conv1d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, T] -> the same shape."""
        return functional.relu(x + self.norm(self.pointwise(self.depthwise(x))))


class CompactPsi(nn.Module):
    """(spectrum, *maps) -> H [B, K, T] >= 0, for any number of frames T.

    spectrum: [B, T, ...], of which only the number of frames is used
    maps: [B, C, T', F'] of `scales`, coarsest first

    Components have their place in frequency already, so psi needs none: each map's channels are narrowed,
    its rows laid side by side and mixed into `width` features a frame. From the coarsest scale to the
    finest these are repeated in time, added and refined; the finest says its own frames one by one.
    """

    def __init__(self, scales: Sequence[Scale], components: int, *, width: int) -> None:
        super().__init__()
        self.components = components
        narrow = [min(scale.channels, max(1, 2 * width // scale.rows)) for scale in scales]
        self.lateral = nn.ModuleList(
            nn.Conv2d(scale.channels, channels, 1) for scale, channels in zip(scales, narrow, strict=True)
        )
        self.mix = nn.ModuleList(
            nn.Conv1d(channels * scale.rows, width, 1, bias=False)
            for scale, channels in zip(scales, narrow, strict=True)
        )
        self.norm = nn.ModuleList(nn.BatchNorm1d(width) for _ in scales)
        self.refine = nn.ModuleList(RefineFrames(width) for _ in scales)
        self.strides = [scale.stride for scale in scales]
        self.last_stride = scales[-1].stride
        self.out = nn.Conv1d(width, components * self.last_stride, 1)
        # Begin with every component sounding: ReLU teaches nothing to those that are silent everywhere.
        nn.init.constant_(self.out.bias, 0.3)  # type: ignore[arg-type]

    def forward(self, spectrum: torch.Tensor, *maps: torch.Tensor) -> torch.Tensor:
        """Activations [B, K, T], of order one."""
        x: torch.Tensor | None = None
        for index, feature_map in enumerate(maps):
            lateral = functional.relu(self.lateral[index](feature_map))
            # [B, C, T', F'] -> [B, C F', T'].
            here: torch.Tensor = self.mix[index](lateral.transpose(2, 3).flatten(1, 2))
            if x is not None:
                here = here + stretched(x, self.strides[index - 1], here.shape[2], self.strides[index])
            x = self.refine[index](functional.relu(self.norm[index](here)))
        if x is None:
            raise ValueError("no feature maps")
        drawn = functional.relu(self.out(x))
        # [B, K r, t] -> [B, K, t r], one after the other.
        parts = torch.unflatten(drawn, 1, (self.components, self.last_stride)).transpose(2, 3).flatten(2)
        return stretched(parts, 1, spectrum.shape[1])
