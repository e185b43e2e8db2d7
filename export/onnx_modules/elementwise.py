"""Operators that take values one by one: arithmetic, comparisons, casts, what is left of activations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from .operators import Call, Tensor, beside, operator, root

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "BitwiseNot": torch.bitwise_not,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Dropout": lambda x: x,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Identity": lambda x: x,
    "IsInf": torch.isinf,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Round": torch.round,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    # Its gradient is 0 at 0, where silence has its magnitudes and the true one is infinite.
    "Sqrt": root,
    "Tan": torch.tan,
}

_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}


@operator(*_UNARY)
def unary(call: Call, x: Tensor, *_: Tensor | None) -> Tensor:
    """A function of each value; what Dropout takes besides is for training."""
    return _UNARY[call.operator](x)


@operator(*_BINARY)
def binary(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """A function of two values each."""
    return _BINARY[call.operator](*beside(a, b))


@operator("Div")
def div(_: Call, a: Tensor, b: Tensor) -> Tensor:
    """The quotient a / b; of whole numbers without what is left."""
    a, b = beside(a, b)
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


@operator("Mod")
def mod(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The rest, with the sign of b, or of a with fmod."""
    return (torch.fmod if call.integer("fmod", 0) else torch.remainder)(*beside(a, b))


@operator("Pow")
def power(_: Call, a: Tensor, b: Tensor) -> Tensor:
    """The power a ** b, of a's type; the gradient of roots is 0 at 0."""
    a, b = beside(a, b)
    if not a.is_floating_point():
        return torch.pow(a, b).to(a.dtype)
    steep = (a == 0) & (b > 0) & (b < 1)
    return torch.pow(a.masked_fill(steep, 1.0), b).to(a.dtype).masked_fill(steep, 0.0)


@operator("Max", "Min", "Sum", "Mean")
def of_several(call: Call, *tensors: Tensor) -> Tensor:
    """The largest, the smallest, the sum or the mean of several tensors' values."""
    first, *others = beside(*tensors)
    for other in others:
        if call.operator == "Max":
            first = torch.maximum(first, other)
        elif call.operator == "Min":
            first = torch.minimum(first, other)
        else:
            first = first + other
    return first / len(tensors) if call.operator == "Mean" else first


@operator("Clip")
def clip(_: Call, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Values between bounds, which may be computed."""
    if low is not None:
        x = torch.maximum(*beside(x, low.to(x.dtype)))
    if high is not None:
        x = torch.minimum(*beside(x, high.to(x.dtype)))
    return x


@operator("Where")
def where(_: Call, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Values of a where the condition holds, else of b."""
    condition, a, b = beside(condition, a, b)
    return torch.where(condition, a, b)


@operator("Cast")
def cast(call: Call, x: Tensor) -> Tensor:
    """Values of another type."""
    return x.to(call.kind(call.integer("to", 1)))


@operator("CastLike")
def cast_like(_: Call, x: Tensor, other: Tensor) -> Tensor:
    """Values of another tensor's type."""
    return x.to(other.dtype)


@operator("Gelu")
@operator("Gelu", domain="com.microsoft")
def gelu(call: Call, x: Tensor) -> Tensor:
    """Gaussian error linear unit, exact or by tanh."""
    return functional.gelu(x, approximate=call.text("approximate", "none"))


@operator("BiasGelu", "FastGelu", "QuickGelu", domain="com.microsoft")
def fused_gelu(call: Call, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """What ONNX Runtime's optimiser makes of a sum and a GELU: exact, by tanh, or x sigmoid(alpha x)."""
    if bias is not None:
        x = x + bias
    if call.operator == "QuickGelu":
        return x * torch.sigmoid(call.number("alpha", 1.702) * x)
    return functional.gelu(x, approximate="tanh" if call.operator == "FastGelu" else "none")


@operator("PRelu")
def prelu(_: Call, x: Tensor, slope: Tensor) -> Tensor:
    """The value, and slope x below 0; the slope is broadcast."""
    return torch.where(x < 0, slope * x, x)


@operator("Selu")
def selu(call: Call, x: Tensor) -> Tensor:
    """A scaled exponential linear unit."""
    scale, alpha = call.number("gamma", 1.0507009873554805), call.number("alpha", 1.6732632423543772)
    return scale * functional.elu(x, alpha)


@operator("Shrink")
def shrink(call: Call, x: Tensor) -> Tensor:
    """Values nearer to 0 by `bias`; those within `lambd` are 0."""
    limit, bias = call.number("lambd", 0.5), call.number("bias", 0.0)
    return torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, torch.zeros_like(x)))
