"""A light psi of Listen to Interpret (arXiv 2202.11479): a classifier's feature maps to NMF activations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from .scales import Scale


def interpolated(x: torch.Tensor, coarse: int, rows: int, fine: int = 1) -> torch.Tensor:
    """[B, C, t] -> [B, C, rows]: cells of `coarse` frames, read at the centres of cells of `fine` frames.

    By straight lines between the centres of the coarse cells; before the first and after the last as there.
    Unlike a transposed convolution this answers alike wherever in a coarse cell a frame lies, and where
    `coarse` is even it has no energy at half of the rate.
    """
    times, uneven = divmod(coarse, fine)
    if uneven:
        inner = functional.interpolate(x, scale_factor=coarse / fine, mode="linear")
    else:
        # The same in slices, for which onnxruntime needs a third of the time.
        moved = [_moved(x, (index + 0.5) / times - 0.5) for index in range(times)]
        inner = torch.stack(moved, dim=3).flatten(2)
    # A map may end before the frames do, where its stride is no whole number of them.
    return torch.cat([inner, inner[:, :, -1:].expand(-1, -1, rows)], dim=2)[:, :, :rows]


def _moved(x: torch.Tensor, cells: float) -> torch.Tensor:
    """[B, C, t] read at `cells`, -1/2 to 1/2, behind the centre of each cell."""
    beside = (x[:, :, 1:], x[:, :, -1:]) if cells > 0.0 else (x[:, :, :1], x[:, :, :-1])
    return (1.0 - abs(cells)) * x + abs(cells) * torch.cat(beside, dim=2)


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
    finest, and from there to the frames, these are interpolated in time, added and refined.
    """

    def __init__(self, scales: Sequence[Scale], components: int, *, width: int) -> None:
        super().__init__()
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
        self.out = nn.Conv1d(width, components, 1)
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
                here = here + interpolated(x, self.strides[index - 1], here.shape[2], self.strides[index])
            x = self.refine[index](functional.relu(self.norm[index](here)))
        if x is None:
            raise ValueError("no feature maps")
        # Positive before they are interpolated: what a ReLU leaves of straight lines could be a single frame.
        return interpolated(functional.relu(self.out(x)), self.last_stride, spectrum.shape[1])
