"""Mask to listenable audio, as the runtime does it; used when parity is measured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from ..runtime.manifest import AnalysisSpec
from .frontend import StftFrontend, analysis_window, magnitude

FloatArray = npt.NDArray[np.float32]


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


def listenable(waveform: FloatArray, mask: FloatArray, analysis: AnalysisSpec) -> FloatArray:
    """Waveform [B, N], mask [B, T, F] -> kept audio [B, N] with the input's phase."""
    with torch.no_grad():
        sound = torch.from_numpy(waveform)
        stft = StftFrontend(analysis)(sound)
        scale = gain(torch.from_numpy(mask), magnitude(stft, 0.0))
        kept: FloatArray = inverse(stft * scale.unsqueeze(-1), analysis, sound.shape[1]).numpy()
        return kept
