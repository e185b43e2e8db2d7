"""Operators of spectra: Fourier transforms, windows, mel bands."""

from __future__ import annotations

import math

import torch

from .operators import Call, Tensor, UnsupportedError, operator

# The weights of a window's cosines.
_WINDOWS = {
    "HannWindow": (0.5, -0.5),
    "HammingWindow": (25 / 46, -21 / 46),
    "BlackmanWindow": (0.42, -0.5, 0.08),
}


@operator("DFT")
def dft(call: Call, x: Tensor, length: Tensor | None = None, axis: Tensor | None = None) -> Tensor:
    """Fourier transform of [..., 1] (real) or [..., 2] along an axis, to [..., 2]."""
    along = call.integer("axis", 1) if call.opset < 20 else -2 if axis is None else int(axis.item())
    along = along % x.dim()
    real = x.shape[-1] == 1
    signal = x.squeeze(-1) if real else torch.view_as_complex(x.contiguous())
    count = None if length is None else int(length.item())
    if call.integer("inverse", 0):
        if call.integer("onesided", 0):
            raise UnsupportedError("inverse and one-sided")
        return torch.view_as_real(torch.fft.ifft(signal, n=count, dim=along))
    if call.integer("onesided", 0):
        return torch.view_as_real(torch.fft.rfft(signal, n=count, dim=along))
    return torch.view_as_real(torch.fft.fft(signal, n=count, dim=along))


@operator("STFT")
def stft(
    call: Call,
    signal: Tensor,
    step: Tensor,
    window: Tensor | None = None,
    length: Tensor | None = None,
) -> Tensor:
    """[B, N], [B, N, 1] or complex [B, N, 2] -> [B, frames, bins, 2], without centring."""
    one_sided = bool(call.integer("onesided", 1))
    if signal.dim() == 3 and signal.shape[-1] == 2:
        if one_sided:
            raise UnsupportedError("of complex numbers and one-sided")
        sound = torch.view_as_complex(signal.contiguous())
    else:
        sound = signal.squeeze(-1) if signal.dim() == 3 else signal
    if length is not None:
        count = int(length.item())
    elif window is not None:
        count = window.shape[0]
    else:
        raise UnsupportedError("without window and frame_length")
    frames = sound.unfold(1, count, int(step.item()))
    if window is not None:
        frames = frames * window
    transform = torch.fft.rfft if one_sided else torch.fft.fft
    return torch.view_as_real(transform(frames, dim=-1))


@operator(*_WINDOWS)
def window(call: Call, size: Tensor) -> Tensor:
    """A window of a length, periodic or symmetric."""
    count = int(size.item())
    period = count if call.integer("periodic", 1) else count - 1
    turns = 2 * math.pi * torch.arange(count, dtype=torch.float64) / max(period, 1)
    total = sum(weight * torch.cos(n * turns) for n, weight in enumerate(_WINDOWS[call.operator]))
    assert isinstance(total, Tensor)  # noqa: S101 (a window has weights)
    return total.to(call.kind(call.integer("output_datatype", 1)))


@operator("MelWeightMatrix")
def mel_weights(call: Call, bands: Tensor, length: Tensor, rate: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Triangles [bins, bands] on the mel scale, their corners on bins."""
    count, size = int(bands.item()), int(length.item())
    lowest, highest = (2595 * math.log10(1 + float(one.item()) / 700) for one in (low, high))
    mels = lowest + torch.arange(count + 2, dtype=torch.float64) * (highest - lowest) / (count + 2)
    corners = ((size + 1) * 700 * (10 ** (mels / 2595) - 1) / int(rate.item())).floor()
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    bins = torch.arange(size // 2 + 1, dtype=torch.float64)[:, None]
    rising = (bins - left) / (centre - left).clamp(min=1)
    falling = (right - bins) / (right - centre).clamp(min=1)
    # The top is 1 even where a side has no width.
    shape = torch.where(bins == centre, 1.0, torch.where(bins < centre, rising, falling).clamp(0, 1))
    return shape.to(call.kind(call.integer("output_datatype", 1)))
