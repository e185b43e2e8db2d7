"""Operators that are matrix products."""

from __future__ import annotations

import torch

from .activations import activations
from .operators import Call, Tensor, beside, operator


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


@operator("FusedMatMul", domain="com.microsoft")
def fused_matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The product alpha a @ b, either transposed, or its first axis moved behind the other batches."""
    a = a.movedim(0, -2) if call.integer("transBatchA", 0) else a
    b = b.movedim(0, -2) if call.integer("transBatchB", 0) else b
    a = a.transpose(-1, -2) if call.integer("transA", 0) else a
    b = b.transpose(-1, -2) if call.integer("transB", 0) else b
    return call.number("alpha", 1.0) * torch.matmul(*beside(a, b))


@operator("FusedGemm", domain="com.microsoft")
def fused_gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """Gemm and the activation behind it."""
    given = [call.attributes.get(f"activation_{name}") for name in ("alpha", "beta")]
    alphas, betas = ([] if one is None else [float(one)] for one in given)
    (activation,) = activations([call.text("activation", "")], alphas, betas)
    return activation(gemm(call, a, b, c))
