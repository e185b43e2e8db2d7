"""Log-mel from the listenable STFT, with the filterbank of SpeechBrain (triangles symmetric in Hz)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from ...runtime.values.mel import mel_edges
from ..graphs.stft import magnitude


def mel_points(mels: int, sample_rate: int) -> torch.Tensor:
    """The M + 2 corner frequencies in Hz, float64: equally spaced on the mel scale."""
    return torch.from_numpy(mel_edges(mels + 1, sample_rate / 2))


def filterbank(n_fft: int, mels: int, sample_rate: int) -> torch.Tensor:
    """FB [F, M] float32: max(0, min(1 + s, 1 - s)), s = (f - centre) / band, band = the gap to its left."""
    hz = mel_points(mels, sample_rate)
    centre, band = hz[1:-1], hz[1:-1] - hz[:-2]
    frequency = torch.linspace(0.0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    slope = (frequency[:, None] - centre) / band
    return torch.clamp(torch.minimum(1.0 + slope, 1.0 - slope), min=0.0).to(torch.float32)


def mel_bands(mels: int, sample_rate: int, rows: int) -> list[tuple[float, float]]:
    """[low, high] in Hz of each of `rows` equal groups of mel bands (mels divisible by rows)."""
    hz = mel_points(mels, sample_rate).tolist()
    edges = [(low + high) / 2 for low, high in pairwise(hz)]
    step = mels // rows
    return [(edges[row * step], edges[(row + 1) * step]) for row in range(rows)]


def interpolation(
    given: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    """[given, wanted]: what values at rising places are at others, by straight lines; outside the nearest."""
    lower = torch.clamp(torch.searchsorted(given, wanted, right=True) - 1, 0, len(given) - 2)
    weight = ((wanted - given[lower]) / (given[lower + 1] - given[lower])).clamp(0.0, 1.0).to(dtype)
    matrix = torch.zeros(len(given), len(wanted), dtype=dtype)
    columns = torch.arange(len(wanted))
    matrix[lower, columns] = 1.0 - weight
    matrix[lower + 1, columns] += weight
    return matrix


def warp_of(n_fft: int, mels: int, sample_rate: int) -> torch.Tensor:
    """[M, F] float32: from mel bands at their centres to STFT bins."""
    frequency = torch.linspace(0.0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    return interpolation(mel_points(mels, sample_rate)[1:-1], frequency, torch.float32)


class LogMel(nn.Module):
    """STFT [B, T, F, 2] -> log1p(A @ FB) [B, T, M], A = sqrt(re^2 + im^2 + 1e-14)."""

    def __init__(self, n_fft: int, mels: int, sample_rate: int) -> None:
        super().__init__()
        self.bank: torch.Tensor
        # Determined by the configuration, hence not among the weights.
        self.register_buffer("bank", filterbank(n_fft, mels, sample_rate), persistent=False)

    def forward(self, stft: torch.Tensor) -> torch.Tensor:
        """[B, T, F, 2] -> [B, T, M]."""
        return torch.log1p(magnitude(stft) @ self.bank)
