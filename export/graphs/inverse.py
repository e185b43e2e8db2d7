"""Mask to listenable audio in PyTorch: the reference that the runtime's NumPy is measured against."""

from __future__ import annotations

import torch

from ...runtime.bundle.manifest import AnalysisSpec
from .stft import analysis_window


def gain(mask: torch.Tensor, amplitude: torch.Tensor) -> torch.Tensor:
    """G = expm1(M log1p(A)) / A, and M where A is 0; mask and amplitude [B, T, F]."""
    silent = amplitude == 0
    scaled = torch.expm1(mask * torch.log1p(amplitude)) / amplitude.masked_fill(silent, 1.0)
    return torch.where(silent, mask, scaled)


def inverse(stft: torch.Tensor, analysis: AnalysisSpec, samples: int) -> torch.Tensor:
    """[B, T, F, 2] -> [B, samples] by torch.istft: overlap-add over the window-square envelope."""
    return torch.istft(
        torch.view_as_complex(stft.contiguous()).transpose(1, 2),
        analysis.n_fft,
        analysis.hop,
        analysis.window_length,
        analysis_window(analysis).to(stft.dtype),
        center=True,
        length=samples,
    )
