"""The L-MAC decoder of SpeechBrain's recipe, `CNN14PSI_stft`: as it is, and as it is exported.

Nine transposed convolutions over Cnn14's taps; ReLU after the first seven, none after the eighth.
The additions inside match only where T mod 32 is 8..15, and the result has 32 (T // 32) + 9 frames.

The exported form takes any T >= 32. With m = T // 32, r = T mod 32 and m' = m + 1 where r >= 16,
else m: the taps are extended by frames of zeros to m', m', 2 m' and 4 m' + 1, which gives
32 m' + 9 frames of mask; these are cropped to T. Where r is 8..15 no tap changes (it runs as the
source does), and where r is 10..15 the mask's last up to 6 frames, of which the source says
nothing, are zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from .cnn14 import Taps

# Frames of zeros that a tap may need at most (x1, x2, x3, x4), and the mask.
_SPARE = (1, 1, 1, 3)
_SPARE_MASK = 6


class Cnn14Decoder(nn.Module):
    """SpeechBrain's CNN14PSI_stft(dim): taps (x1, x2, x3, x4) -> logits of the mask [B, 1, T', F]."""

    def __init__(self, dim: int = 2048) -> None:
        super().__init__()
        self.convt1 = nn.ConvTranspose2d(dim, dim, 3, (2, 4), 1)
        self.convt2 = nn.ConvTranspose2d(dim // 2, dim, 3, (2, 4), 1)
        self.convt3 = nn.ConvTranspose2d(dim, dim, (7, 4), (2, 4), 1)
        self.convt4 = nn.ConvTranspose2d(dim // 4, dim, (5, 4), (2, 4), 1)
        self.convt5 = nn.ConvTranspose2d(dim, dim // 2, (3, 5), (2, 2), 1)
        self.convt6 = nn.ConvTranspose2d(dim // 8, dim // 2, 3, (2, 4), 1)
        self.convt7 = nn.ConvTranspose2d(dim // 2, dim // 4, (4, 3), (2, 2), (0, 5))
        self.convt8 = nn.ConvTranspose2d(dim // 4, dim // 8, (3, 4), (2, 2), (0, 2))
        self.convt9 = nn.ConvTranspose2d(dim // 8, 1, (1, 5), (1, 4), 0)

    def trunk(self, x1: torch.Tensor, x2: torch.Tensor, x3: torch.Tensor, x4: torch.Tensor) -> torch.Tensor:
        """Layers one to seven with their ReLUs, [B, dim / 4, frames, 65]."""
        h = torch.relu(self.convt1(x1)) + torch.relu(self.convt2(x2))
        h = torch.relu(self.convt3(h)) + torch.relu(self.convt4(x3))
        h = torch.relu(self.convt5(h)) + torch.relu(self.convt6(x4))
        return torch.relu(self.convt7(h))

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, x3: torch.Tensor, x4: torch.Tensor) -> torch.Tensor:
        """The reference, at lengths that it can take."""
        output: torch.Tensor = self.convt9(self.convt8(self.trunk(x1, x2, x3, x4)))
        return output


def padded(taps: Sequence[torch.Tensor], frames: int) -> list[torch.Tensor]:
    """The taps of a sound of `frames` as the module's text says, with plain integers."""
    return [
        functional.pad(tap, (0, 0, 0, target - tap.shape[2]))
        for tap, target in zip(taps, _targets(frames), strict=True)
    ]


def extended(taps: Sequence[torch.Tensor], frames: int) -> list[torch.Tensor]:
    """The same for graphs: padded by the most that can be needed, then gathered.

    Free of branches, so that one graph serves every length.
    """
    return [
        functional.pad(tap, (0, 0, 0, spare)).index_select(2, torch.arange(target, device=tap.device))
        for tap, target, spare in zip(taps, _targets(frames), _SPARE, strict=True)
    ]


def _targets(frames: int) -> tuple[int, int, int, int]:
    blocks = (frames + 16) // 32
    return blocks, blocks, 2 * blocks, 4 * blocks + 1


def reference_mask(decoder: Cnn14Decoder, taps: Taps, frames: int) -> torch.Tensor:
    """The reference decoder with its taps and mask padded from outside: mask [B, frames, F].

    The yardstick for the exported form.
    """
    mask = torch.sigmoid(decoder(*padded(taps, frames))).squeeze(1)[:, :frames]
    return functional.pad(mask, (0, 0, 0, frames - mask.shape[1]))


class FoldedTail(nn.Module):
    """Layers eight and nine as one transposed convolution, exactly.

    Nothing stands between them, so they compose to one of kernel (3, 4 * 3 + 5), stride (2, 8) and
    padding (0, 8) with one output channel. Two things do not compose and are put right:

    - layer eight crops two columns on each side before layer nine. Layer nine's kernel (5) is wider
      than its stride (4), so one cropped column on each side would still reach the outermost bin:
      these two contributions are computed from the outermost input columns and subtracted.
    - layer eight's bias reaches the bins unevenly: it becomes a fixed vector over the bins.

    The product of the kernels is computed in float64.
    """

    def __init__(self, eight: nn.ConvTranspose2d, nine: nn.ConvTranspose2d, columns: int = 65) -> None:
        super().__init__()
        if eight.bias is None or nine.bias is None:
            raise ValueError("layers eight and nine have biases in CNN14PSI_stft")
        kernel8, bias8 = eight.weight.detach().double(), eight.bias.detach().double()
        kernel9, bias9 = nine.weight.detach().double(), nine.bias.detach().double()
        inputs, taps = kernel8.shape[0], kernel8.shape[2]
        stride = int(nine.stride[1])
        width8, width9 = kernel8.shape[3], kernel9.shape[3]
        composed = kernel8.new_zeros(inputs, 1, taps, stride * (width8 - 1) + width9)
        for k in range(width8):
            part = torch.einsum("ict,cw->itw", kernel8[..., k], kernel9[:, 0, 0])
            composed[:, 0, :, stride * k : stride * k + width9] += part
        crop = int(eight.padding[1])
        kept = (columns - 1) * int(eight.stride[1]) + width8 - 2 * crop
        spread = bias8.new_zeros((kept - 1) * stride + width9)
        for column in range(kept):
            spread[column * stride : column * stride + width9] += bias8 @ kernel9[:, 0, 0]
        # Column crop - 1 of layer eight's uncropped output comes from the first input column through
        # its kernel column 1; the mirror column from the last one through kernel column 2.
        low = torch.einsum("ict,c->it", kernel8[..., crop - 1], kernel9[:, 0, 0, width9 - 1])
        high = torch.einsum("ict,c->it", kernel8[..., width8 - crop], kernel9[:, 0, 0, 0])
        dtype = eight.weight.dtype
        self.stride = (int(eight.stride[0]), int(eight.stride[1]) * stride)
        self.padding = (0, crop * stride)
        self.kernel: torch.Tensor
        self.bias: torch.Tensor
        self.low: torch.Tensor
        self.high: torch.Tensor
        self.register_buffer("kernel", composed.to(dtype))
        self.register_buffer("bias", (spread + bias9).to(dtype))
        self.register_buffer("low", low[:, None, :, None].to(dtype))
        self.register_buffer("high", high[:, None, :, None].to(dtype))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """[B, dim / 4, frames, 65] -> [B, 1, 2 frames + 1, 513]."""
        whole = functional.conv_transpose2d(h, self.kernel, stride=self.stride, padding=self.padding)
        time = (self.stride[0], 1)
        low = functional.conv_transpose2d(h[..., :1], self.low, stride=time)
        high = functional.conv_transpose2d(h[..., -1:], self.high, stride=time)
        ends = [whole[..., :1] - low, whole[..., 1:-1], whole[..., -1:] - high]
        return torch.cat(ends, dim=-1) + self.bias


class ExportedCnn14Decoder(nn.Module):
    """(x1, x2, x3, x4, logmel [B, T, M]) -> mask [B, T, F], any T >= 32; shares layers 1..7's weights."""

    def __init__(self, decoder: Cnn14Decoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.tail = FoldedTail(decoder.convt8, decoder.convt9)

    def forward(
        self, x1: torch.Tensor, x2: torch.Tensor, x3: torch.Tensor, x4: torch.Tensor, logmel: torch.Tensor
    ) -> torch.Tensor:
        """See the class. `logmel` gives its number of frames alone."""
        frames = logmel.shape[1]
        taps = extended((x1, x2, x3, x4), frames)
        mask = torch.sigmoid(self.tail(self.decoder.trunk(*taps))).squeeze(1)
        mask = functional.pad(mask, (0, 0, 0, _SPARE_MASK))
        return mask.index_select(1, torch.arange(frames, device=mask.device))
