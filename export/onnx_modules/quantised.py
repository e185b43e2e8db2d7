"""Quantised operators: whole numbers are kept as real ones, and gradients pass straight through rounding.

What a graph computes in int8 is computed here on the same whole numbers, of the module's real type: those of
weights and zero points exactly, sums as far as that type counts (2^24 in float32). The gradient of
`round(x / scale)` is that of `x / scale` where nothing is cut off, and 0 where it is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from onnx import TensorProto

from .activations import activation
from .layers import conv, global_pool, pool
from .operators import Call, Tensor, UnsupportedError, beside, operator
from .products import gemm
from .reductions import softmax

# Types that are told by an attribute where there is no zero point.
_BYTE = TensorProto.UINT8
_MICROSOFT = "com.microsoft"
# Operators that give whole numbers, and those that make real ones of them.
WHOLE = frozenset(
    {
        *("QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearMatMul"),
        *("QLinearConv", "QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu"),
        *("QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearConcat", "QLinearSoftmax"),
    }
)
REAL = frozenset({"DequantizeLinear", "Cast", "MatMulIntegerToFloat", "QAttention"})


def _along(x: Tensor, vector: Tensor, axis: int, block: int = 0) -> Tensor:
    """Scale or zero point laid beside x: one number, one for each cell of an axis, or one for each block."""
    if vector.numel() == 1 and not block:
        return vector.reshape([])
    if block:
        return vector.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    shape = [1] * x.dim()
    shape[axis] = -1
    return vector.reshape(shape)


def real_of(x: Tensor, scale: Tensor, zero: Tensor | None = None, axis: int = 1, block: int = 0) -> Tensor:
    """The numbers (x - zero) scale."""
    x, scale = beside(x, scale)
    real = x.to(scale.dtype)
    if zero is not None:
        real = real - _along(x, zero.to(real), axis, block)
    return real * _along(x, scale, axis, block)


def whole_of(
    x: Tensor,
    scale: Tensor,
    zero: Tensor | None,
    kind: torch.dtype | None = None,
    axis: int = 1,
    block: int = 0,
) -> Tensor:
    """The whole numbers round(x / scale) + zero within their type's range, as real ones.

    kind: the type, where there is no zero point to tell it
    """
    x, scale = beside(x, scale)
    if zero is not None and not zero.is_floating_point():
        kind = zero.dtype
    # A zero point that was computed is a byte's, as DynamicQuantizeLinear gives it.
    limits = torch.iinfo(kind or torch.uint8)
    shift = 0.0 if zero is None else _along(x, zero.to(x), axis, block)
    exact = x / _along(x, scale.to(x), axis, block)
    nearest = torch.round(exact.detach()) + shift
    whole = nearest.clamp(limits.min, limits.max)
    return whole + (nearest == whole) * (exact - exact.detach())


@operator("DequantizeLinear")
@operator("DequantizeLinear", domain=_MICROSOFT)
def dequantize(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """The numbers (x - zero) scale, along an axis where scale is a vector, or by blocks of one."""
    return real_of(x, scale, zero, call.integer("axis", 1), call.integer("block_size", 0))


@operator("QuantizeLinear")
@operator("QuantizeLinear", domain=_MICROSOFT)
def quantize(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """The whole numbers of real ones."""
    kind = call.kind(call.integer("output_dtype", 0) or _BYTE)
    return whole_of(x, scale, zero, kind, call.integer("axis", 1), call.integer("block_size", 0))


@operator("DynamicQuantizeLinear")
def dynamic_quantize(_: Call, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The bytes between the smallest and the largest value (or 0), with their scale and zero point."""
    with torch.no_grad():
        low, high = x.amin().clamp(max=0.0), x.amax().clamp(min=0.0)
        scale = torch.where(high > low, (high - low) / 255, torch.ones_like(low))
        zero = torch.round((-low / scale).clamp(0, 255))
    return whole_of(x, scale, zero), scale, zero


def _less(call: Call, x: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    """Whole numbers without their zero point, as real ones."""
    real = x.to(call.real)
    return real if zero is None else torch.sub(*beside(real, _along(x, zero.to(call.real), axis)))


@operator("MatMulInteger")
def matmul_integer(
    call: Call, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Tensor:
    """The product of whole numbers; a's zero points are its rows', b's its columns'."""
    return torch.matmul(*beside(_less(call, a, a_zero, a.dim() - 2), _less(call, b, b_zero, b.dim() - 1)))


@operator("ConvInteger")
def conv_integer(
    call: Call, x: Tensor, weight: Tensor, x_zero: Tensor | None = None, weight_zero: Tensor | None = None
) -> Tensor:
    """The convolution of whole numbers."""
    x, weight = beside(_less(call, x, x_zero, 1), _less(call, weight, weight_zero, 0))
    return conv(call, x, weight)


@operator("MatMulIntegerToFloat", domain=_MICROSOFT)
def matmul_to_float(
    call: Call,
    a: Tensor,
    b: Tensor,
    a_scale: Tensor,
    b_scale: Tensor,
    a_zero: Tensor | None = None,
    b_zero: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """The product of whole numbers as a real one."""
    product = matmul_integer(call, a, b, a_zero, b_zero) * (a_scale * b_scale)
    return product if bias is None else product + bias


@operator("DynamicQuantizeMatMul", domain=_MICROSOFT)
def dynamic_matmul(
    call: Call,
    a: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """The product of real numbers, which are made bytes, and whole ones."""
    whole, scale, zero = dynamic_quantize(call, a)
    return matmul_to_float(call, whole, b, scale, b_scale, zero, b_zero, bias)


@operator("QLinearMatMul")
def qlinear_matmul(
    call: Call,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
) -> Tensor:
    """The product of whole numbers, made whole again."""
    product = matmul_integer(call, a, b, a_zero, b_zero)
    return whole_of(product * (a_scale * b_scale / y_scale), torch.ones_like(y_scale), y_zero)


@operator("QLinearConv")
@operator("QLinearConv", domain=_MICROSOFT)
def qlinear_conv(
    call: Call,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    weight_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """The convolution of whole numbers, made whole again; the bias has the scales of both."""
    last = bool(call.integer("channels_last", 0))
    x = x.movedim(-1, 1) if last else x
    product = conv_integer(call, x, weight, x_zero, weight_zero)
    if bias is not None:
        product = product + _along(product, bias.to(product), 1)
    factor = _along(product, (x_scale * weight_scale / y_scale).reshape(-1), 1)
    whole = whole_of(product * factor, torch.ones_like(y_scale), y_zero)
    return whole.movedim(1, -1) if last else whole


@operator("QGemm", domain=_MICROSOFT)
def qgemm(
    call: Call,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    c: Tensor | None = None,
    y_scale: Tensor | None = None,
    y_zero: Tensor | None = None,
) -> Tensor:
    """The product alpha a @ b + c, real where the result has no scale; c has the scales of both."""
    axis = 0 if call.integer("transB", 0) else 1
    a, b = beside(_less(call, a, a_zero, 0), _less(call, b, b_zero, axis))
    product = gemm(call, a, b) * (a_scale * b_scale)
    if c is not None:
        product = product + c.to(product) * (call.number("alpha", 1.0) * a_scale * b_scale)
    return product if y_scale is None else whole_of(product, y_scale, y_zero)


@operator("QLinearAdd", "QLinearMul", domain=_MICROSOFT)
def qlinear_binary(
    call: Call,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor | None,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
) -> Tensor:
    """The sum or the product of whole numbers, made whole again."""
    both = beside(real_of(a, a_scale, a_zero), real_of(b, b_scale, b_zero))
    joined = torch.add(*both) if call.operator == "QLinearAdd" else torch.mul(*both)
    return whole_of(joined, y_scale, y_zero, _kind(a, a_zero))


_PLAIN: dict[str, Callable[[Call, Tensor], Tensor]] = {
    "QLinearSigmoid": activation,
    "QLinearLeakyRelu": activation,
    "QLinearAveragePool": pool,
    "QLinearGlobalAveragePool": global_pool,
    "QLinearSoftmax": softmax,
}


@operator(*_PLAIN, domain=_MICROSOFT)
def qlinear_unary(
    call: Call, x: Tensor, scale: Tensor, zero: Tensor | None, y_scale: Tensor, y_zero: Tensor | None = None
) -> Tensor:
    """An operator on whole numbers, made whole again; a softmax's attribute `opset` tells whose it is."""
    last = bool(call.integer("channels_last", 0))
    real = real_of(x.movedim(-1, 1) if last else x, scale, zero)
    inner = call.of(call.operator.removeprefix("QLinear"), call.integer("opset", 13))
    answer = _PLAIN[call.operator](inner, real)
    return whole_of(answer.movedim(1, -1) if last else answer, y_scale, y_zero, _kind(x, zero))


@operator("QLinearConcat", domain=_MICROSOFT)
def qlinear_concat(call: Call, y_scale: Tensor, y_zero: Tensor, *parts: Tensor) -> Tensor:
    """One after the other along an axis, in one scale."""
    real = [real_of(*each) for each in zip(parts[::3], parts[1::3], parts[2::3], strict=True)]
    return whole_of(torch.cat(beside(*real), dim=call.integer("axis", 0)), y_scale, y_zero)


@operator("MatMulNBits", domain=_MICROSOFT)
def matmul_nbits(
    call: Call,
    a: Tensor,
    b: Tensor,
    scales: Tensor,
    zeros: Tensor | None = None,
    order: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """The product with a matrix [N, K] in blocks of few bits, packed into bytes."""
    rows, columns = call.integer("N", 0), call.integer("K", 0)
    bits, block = call.integer("bits", 4), call.integer("block_size", 0)
    if order is not None or bits not in {4, 8}:
        raise UnsupportedError("with g_idx, or of other than 4 or 8 bits")
    blocks = -(-columns // block)
    whole = _unpacked(b.reshape(rows, blocks, -1), bits).to(call.real)
    if zeros is None:
        shift: Tensor | float = float(1 << (bits - 1))
    elif zeros.is_floating_point():
        shift = zeros.reshape(rows, blocks, 1)
    else:
        shift = _unpacked(zeros.reshape(rows, -1), bits)[:, :blocks, None].to(call.real)
    weight = ((whole - shift) * scales.reshape(rows, blocks, 1).to(call.real)).reshape(rows, -1)
    product = a @ weight[:, :columns].T
    return product if bias is None else product + bias


def _unpacked(packed: Tensor, bits: int) -> Tensor:
    """The numbers in bytes, the lower half first."""
    if bits == 8:
        return packed
    return torch.stack([packed & 15, packed >> 4], dim=-1).flatten(-2)


def _kind(x: Tensor, zero: Tensor | None) -> torch.dtype | None:
    """The type of whole numbers: that of their zero point, or of themselves."""
    kinds = [one.dtype for one in (zero, x) if one is not None and not one.is_floating_point()]
    return kinds[0] if kinds else None
