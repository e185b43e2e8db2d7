"""L-MAC's reference decoder for any classifier: transposed convolutions from the coarsest map to the STFT.

The shape of SpeechBrain's `CNN14PSI_stft` (see `cnn14_decoder.py`, which is that very network): every map
passes through a transposed convolution up to the next scale, what came from coarser scales through another,
both are added; two more double frames and bins, and the last one spreads over the bins. ReLU after all but
the last two. It costs several times the classifier, as the reference does: a yardstick.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from .scales import Scale


def fitted(x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """[B, C, t, f] -> [B, C, rows, columns]: cropped at the end, or the last cell repeated."""
    time = torch.clamp(torch.arange(rows, device=x.device), max=x.shape[2] - 1)
    bands = torch.clamp(torch.arange(columns, device=x.device), max=x.shape[3] - 1)
    return x.index_select(2, time).index_select(3, bands)


class ReferenceDecoder(nn.Module):
    """(spectrum, *maps) -> mask [B, T, F] in 0..1; it masks the predicted class, as the reference does.

    spectrum: [B, T, ...], of which only the number of frames is used; maps: [B, C, T', F'] of `scales`,
        coarsest first
    """

    def __init__(self, scales: Sequence[Scale], bins: int, *, width: int) -> None:
        super().__init__()
        self.bins = bins
        self.strides = [scale.stride for scale in scales]
        self.rows = [scale.rows for scale in scales]
        self.lateral, self.upward = nn.ModuleList(), nn.ModuleList()
        before = 0
        for index, scale in enumerate(scales):
            # As in the reference: full width for the coarse half of the scales, half of it after.
            here = width if index < max(1, len(scales) - 1) else max(1, width // 2)
            time, bands = self._steps(index)
            self.lateral.append(_up(scale.channels, here, (3, 3), (time, bands)))
            if index:
                self.upward.append(_up(before, here, (5, 4), (time, bands)))
            before = here
        # The last step of the scales ends with about an eighth of the bins.
        rows = self._target(len(scales) - 1)[1]
        self.fine = _up(before, max(1, width // 4), (4, 3), (1, 2))
        self.finer = _up(max(1, width // 4), max(1, width // 8), (3, 4), (1, 2))
        self.last = nn.ConvTranspose2d(
            max(1, width // 8), 1, (1, 5), (1, math.ceil(bins / (4 * rows))), (0, 0)
        )

    def _target(self, index: int) -> tuple[int, int]:
        """Stride and rows that step `index` leads to: the next scale's; after the last, the frames'."""
        if index + 1 < len(self.strides):
            return self.strides[index + 1], self.rows[index + 1]
        return 1, self.rows[-1] * max(1, round(self.bins / 8 / self.rows[-1]))

    def _steps(self, index: int) -> tuple[int, int]:
        """By how much step `index` multiplies frames and rows."""
        stride, rows = self._target(index)
        return max(1, round(self.strides[index] / stride)), max(1, round(rows / self.rows[index]))

    def logits(self, spectrum: torch.Tensor, *maps: torch.Tensor) -> torch.Tensor:
        """The mask's logits [B, T, F]."""
        frames = spectrum.shape[1]
        x: torch.Tensor | None = None
        for index, feature_map in enumerate(maps):
            rows = self._target(index)[1]
            length = maps[index + 1].shape[2] if index + 1 < len(maps) else frames
            here = torch.relu(fitted(self.lateral[index](feature_map), length, rows))
            if x is not None:
                here = here + torch.relu(fitted(self.upward[index - 1](x), length, rows))
            x = here
        x = torch.relu(self.fine(x))
        x = self.last(self.finer(x))
        return fitted(x, frames, self.bins).squeeze(1)

    def to_bins(self, drawn: torch.Tensor) -> torch.Tensor:
        """The mask is drawn on the bins already."""
        return drawn

    def forward(self, spectrum: torch.Tensor, *maps: torch.Tensor) -> torch.Tensor:
        """Spectrum and maps -> mask [B, T, F]."""
        return torch.sigmoid(self.logits(spectrum, *maps))


def _up(inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int]) -> nn.ConvTranspose2d:
    """A transposed convolution whose kernel is at least its stride, so that no cell stays empty."""
    size = (max(kernel[0], stride[0]), max(kernel[1], stride[1]))
    return nn.ConvTranspose2d(
        inputs, outputs, size, stride, ((size[0] - stride[0]) // 2, (size[1] - stride[1]) // 2)
    )
