"""Operators that are matrix products, and Fourier transforms."""

from __future__ import annotations

import torch
from torch.nn import functional

from .operators import Call, Tensor, UnsupportedError, beside, operator


@operator("MatMul")
def matmul(_: Call, a: Tensor, b: Tensor) -> Tensor:
    """The product a @ b."""
    return torch.matmul(*beside(a, b))


@operator("Gemm")
def gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """The product alpha a @ b + beta c, either transposed."""
    a = a.T if call.integer("transA", 0) else a
    b = b.T if call.integer("transB", 0) else b
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    product = a @ b
    product = product if alpha == 1.0 else alpha * product
    if c is None:
        return product
    return product + (c if beta == 1.0 else beta * c)


@operator("Einsum")
def einsum(call: Call, *tensors: Tensor) -> Tensor:
    """Sums of products, by Einstein's notation."""
    return torch.einsum(call.text("equation", "").replace(" ", ""), *beside(*tensors))


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
    """[B, N] or [B, N, 1] -> [B, frames, bins, 2], without centring."""
    real = signal.squeeze(-1) if signal.dim() == 3 else signal
    if length is not None:
        count = int(length.item())
    elif window is not None:
        count = window.shape[0]
    else:
        raise UnsupportedError("without window and frame_length")
    frames = real.unfold(1, count, int(step.item()))
    if window is not None:
        frames = frames * window
    transform = torch.fft.rfft if call.integer("onesided", 1) else torch.fft.fft
    return torch.view_as_real(transform(frames, dim=-1))


@operator("FusedMatMul", domain="com.microsoft")
def fused_matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The product alpha a @ b, either transposed."""
    a = a.transpose(-1, -2) if call.integer("transA", 0) else a
    b = b.transpose(-1, -2) if call.integer("transB", 0) else b
    return call.number("alpha", 1.0) * (a @ b)


@operator("Attention")
def attention(call: Call, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of [B, heads, N, D]."""
    if q.dim() != 4 or call.outputs > 1 or call.number("softcap", 0.0):
        raise UnsupportedError("but of [B, heads, N, D] with one output")
    return functional.scaled_dot_product_attention(
        q, k, v, mask, is_causal=bool(call.integer("is_causal", 0)), scale=call.attributes.get("scale")
    )
