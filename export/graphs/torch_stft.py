"""The listenable STFT by torch.stft: what training hears, and the reference of the exported front end."""

from __future__ import annotations

import torch

from ...runtime.bundle.manifest import AnalysisSpec
from .stft import analysis_window


def stft(waveform: torch.Tensor, analysis: AnalysisSpec) -> torch.Tensor:
    """Waveform [B, N] -> [B, T, F, 2], centred, one-sided, unnormalised; T = 1 + N // hop."""
    spectrum = torch.stft(
        waveform,
        analysis.n_fft,
        analysis.hop,
        analysis.window_length,
        analysis_window(analysis).to(waveform.dtype),
        pad_mode="constant" if analysis.padding == "zeros" else "reflect",
        return_complex=True,
    )
    return torch.view_as_real(spectrum.transpose(1, 2))
