"""The listenable STFT in PyTorch: as the front end's graph, by torch.stft for training, and back to sound.

`runtime/audio/stft.py` is the same in NumPy; parity holds one to the other.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ...errors import SourceError
from ...runtime.bundle.manifest import MASK_FLOOR, AnalysisSpec, MaskGain


def analysis_window(analysis: AnalysisSpec) -> torch.Tensor:
    """The periodic window of `analysis`, [window_length], float64."""
    build = torch.hamming_window if analysis.window == "hamming" else torch.hann_window
    return build(analysis.window_length, periodic=True, dtype=torch.float64)


class StftFrontend(nn.Module):
    """waveform [B, N] -> STFT [B, T, F, 2], centred, one-sided, unnormalised; agrees with torch.stft.

    The window is zero-padded to n_fft, so only `window_length` taps of each kernel are not zero:
    only these are computed, and the centring's padding shrinks by as much on each side.
    T = 1 + N // hop, F = n_fft // 2 + 1. Any N >= 1 with padding "zeros"; "reflect" is defined for
    N > window_length / 2 (torch.stft itself asks for N > n_fft / 2).

    Kernels are computed in float64 and held in float32. Raises SourceError where the specification
    cannot be met (odd n_fft, window longer than n_fft).
    """

    def __init__(self, analysis: AnalysisSpec) -> None:
        super().__init__()
        n_fft, length = analysis.n_fft, analysis.window_length
        if n_fft % 2 or length > n_fft:
            raise SourceError(
                f"analysis: n_fft {n_fft} must be even and at least the window length {length}; "
                "choose another n_fft"
            )
        left = (n_fft - length) // 2
        # left + right = window_length, hence T = 1 + N // hop for every N.
        self.pad = (n_fft // 2 - left, length - n_fft // 2 + left)
        self.mode = "constant" if analysis.padding == "zeros" else "reflect"
        self.hop = analysis.hop
        self.bins = n_fft // 2 + 1
        position = torch.arange(left, left + length, dtype=torch.int64)
        # The phase is reduced as an integer first: exact for any n_fft.
        turns = torch.outer(torch.arange(self.bins), position) % n_fft
        angle = turns.to(torch.float64) * (2.0 * torch.pi / n_fft)
        window = analysis_window(analysis)
        kernel = torch.stack([torch.cos(angle) * window, -torch.sin(angle) * window], dim=1)
        self.kernel: torch.Tensor
        # [2 F, 1, window_length], real and imaginary part of each bin side by side.
        self.register_buffer("kernel", kernel.reshape(2 * self.bins, 1, length).to(torch.float32))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """[B, N] -> [B, T, F, 2]."""
        padded = functional.pad(waveform.unsqueeze(1), self.pad, mode=self.mode)
        spectrum = functional.conv1d(padded, self.kernel, stride=self.hop)
        return spectrum.transpose(1, 2).reshape(spectrum.shape[0], -1, self.bins, 2)


def magnitude(stft: torch.Tensor, floor: float = 1e-14) -> torch.Tensor:
    """[..., F, 2] -> [..., F], sqrt(re^2 + im^2 + floor); the floor keeps the gradient finite at zero."""
    return torch.sqrt(stft[..., 0] * stft[..., 0] + stft[..., 1] * stft[..., 1] + floor)


def stft(waveform: torch.Tensor, analysis: AnalysisSpec) -> torch.Tensor:
    """Waveform [B, N] -> [B, T, F, 2], centred, one-sided, unnormalised; T = 1 + N // hop."""
    spectrum = torch.stft(
        waveform,
        analysis.n_fft,
        analysis.hop,
        analysis.window_length,
        analysis_window(analysis).to(waveform),
        pad_mode="constant" if analysis.padding == "zeros" else "reflect",
        return_complex=True,
    )
    return torch.view_as_real(spectrum.transpose(1, 2))


def gain(mask: torch.Tensor, amplitude: torch.Tensor, how: MaskGain = "log") -> torch.Tensor:
    """The gain of a mask [B, T, F] on magnitudes A [B, T, F].

    "linear": M itself; "floored": M + MASK_FLOOR (max M - M); "log": expm1(M log1p(A)) / A, M where A is 0.
    """
    if how == "linear":
        return mask
    if how == "floored":
        return mask * (1.0 - MASK_FLOOR) + MASK_FLOOR * mask.amax(dim=(-2, -1), keepdim=True)
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
        analysis_window(analysis).to(stft),
        center=True,
        length=samples,
    )


def masked(
    waveform: torch.Tensor, mask: torch.Tensor, analysis: AnalysisSpec, how: MaskGain = "log"
) -> torch.Tensor:
    """[B, N] with its STFT times the gain of a mask [B, T, F], as sound of the same length."""
    spectrum = stft(waveform, analysis)
    scale = gain(mask, magnitude(spectrum, 0.0), how)
    return inverse(spectrum * scale.unsqueeze(-1), analysis, waveform.shape[1])
