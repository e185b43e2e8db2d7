"""SpeechBrain's Filterbank as a matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Filterbank:
    """Triangles symmetric in Hz, evenly spaced in mel: the gap to the left neighbour is used on both sides.

    sample_rate, f_min, f_max: Hz; n_fft: samples; n_mels: bands
    """

    sample_rate: int
    n_fft: int
    n_mels: int
    f_min: float
    f_max: float

    def points(self) -> torch.Tensor:
        """The n_mels + 2 points in Hz between f_min and f_max, evenly spaced in mel."""
        ends = torch.tensor([self.f_min, self.f_max], dtype=torch.float64)
        low, high = (2595 * torch.log10(1 + ends / 700)).tolist()
        mel = torch.linspace(low, high, self.n_mels + 2)
        points: torch.Tensor = 700 * (10 ** (mel / 2595) - 1)
        return points

    def matrix(self) -> torch.Tensor:
        """[F, n_mels] float32; no area normalisation.

        Computed in float32 in SpeechBrain's order of operations, to agree bit for bit.
        """
        hz = self.points()
        band, centre = (hz[1:] - hz[:-1])[:-1], hz[1:-1]
        frequency = torch.linspace(0, self.sample_rate // 2, self.n_fft // 2 + 1).repeat(self.n_mels, 1)
        slope = (frequency - centre[:, None]) / band[:, None]
        return torch.clamp(torch.minimum(slope + 1.0, -slope + 1.0), min=0.0).transpose(0, 1).contiguous()
