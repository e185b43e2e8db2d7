"""SpeechBrain's L2I interpreter for Cnn14, `CNN14PSI_stft_2d` and `Theta`: as they are, and for any length.

Psi is the L-MAC decoder (`cnn14_decoder.py`) with a ReLU after layer eight and another layer nine: 256 to K
channels, kernel (7, 5), stride (1, 4), ReLU, mean over frequency. It gives 32 (T // 32) + 15 frames and
itself runs where T mod 32 is 8..15; the exported form extends the taps by frames of zeros as the decoder's
does, and gives T frames for any T >= 32. Where T mod 32 is 8..15 no tap changes: it is the source itself.

Theta sums over time with one weight for each of the recipe's 431 frames (5 s). For another length these
weights are read at the same relative places (linear between neighbours) and scaled by 431 / T, so that an
activation that lasts counts the same however long the sound is; at 431 frames they are the recipe's.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .cnn14 import Taps
from .cnn14_decoder import Cnn14Decoder, extended, padded


class Cnn14Psi(Cnn14Decoder):
    """SpeechBrain's CNN14PSI_stft_2d(dim, K): taps (x1, x2, x3, x4) -> H [B, K, T']."""

    def __init__(self, dim: int = 2048, components: int = 100) -> None:
        super().__init__(dim)
        self.convt9 = nn.ConvTranspose2d(dim // 8, components, (7, 5), (1, 4), 0)

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, x3: torch.Tensor, x4: torch.Tensor) -> torch.Tensor:
        """The reference, at lengths that it can take."""
        h = torch.relu(self.convt8(self.trunk(x1, x2, x3, x4)))
        output: torch.Tensor = torch.relu(self.convt9(h)).mean(dim=3)
        return output


def reference_activations(psi: Cnn14Psi, taps: Taps, frames: int) -> torch.Tensor:
    """H [B, K, frames] with the taps padded from outside: the yardstick for the exported form."""
    output: torch.Tensor = psi(*padded(taps, frames))
    return output[:, :, :frames]


class ExportedCnn14Psi(nn.Module):
    """(spectrum [B, T, ...], x1, x2, x3, x4) -> H [B, K, T], any T >= 32; shares the weights of `psi`."""

    def __init__(self, psi: Cnn14Psi) -> None:
        super().__init__()
        self.psi = psi

    def forward(self, spectrum: torch.Tensor, *taps: torch.Tensor) -> torch.Tensor:
        """See the class."""
        frames = spectrum.shape[1]
        output: torch.Tensor = self.psi(*extended(taps, frames))
        return output[:, :, :frames]


class RecipeTheta(nn.Module):
    """SpeechBrain's Theta without its softmax: H [B, K, T] -> (z [B, K], logits [B, C]), any T.

    attention [T0]: the recipe's weight of every frame; weight [C, K]: theta
    """

    def __init__(self, attention: torch.Tensor, weight: torch.Tensor) -> None:
        super().__init__()
        self.attention: torch.Tensor
        self.weight: torch.Tensor
        self.register_buffer("attention", attention.clone())
        self.register_buffer("weight", weight.clone())

    def over(self, frames: int) -> torch.Tensor:
        """The weights of `frames` frames [T]."""
        count = self.attention.shape[0]
        place = torch.arange(frames, device=self.attention.device, dtype=self.attention.dtype)
        # In this order places are whole numbers, exactly, where the lengths agree.
        place = place * (count - 1) / max(frames - 1, 1)
        lower = torch.clamp(place.floor().long(), max=count - 2)
        part = place - lower.to(place.dtype)
        low, high = self.attention.index_select(0, lower), self.attention.index_select(0, lower + 1)
        return (low * (1.0 - part) + high * part) * (count / frames)

    def forward(self, activations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See the class."""
        z = activations @ self.over(activations.shape[2])
        return z, functional.linear(z, self.weight)
