"""Operators that are layers of networks: convolutions, pooling, normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from .activations import activations
from .operators import Call, Tensor, UnsupportedError, operator, root

_CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)
_TRANSPOSED = (
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
)


def _sides(
    call: Call, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[tuple[int, int]]:
    """What is padded before and behind each axis."""
    count = len(kernel)
    how = call.text("auto_pad", "NOTSET")
    if how in {"NOTSET", "VALID"}:
        pads = call.integers("pads", [0] * 2 * count) if how == "NOTSET" else [0] * 2 * count
        return list(zip(pads[:count], pads[count:], strict=True))
    sides = []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        whole = max((-(-size // stride) - 1) * stride + (width - 1) * dilation + 1 - size, 0)
        less = whole // 2
        sides.append((less, whole - less) if how == "SAME_UPPER" else (whole - less, less))
    return sides


def _padded(x: Tensor, sides: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    flat = [side for both in reversed(sides) for side in both]
    return functional.pad(x, flat, value=value) if any(flat) else x


@operator("Conv")
def conv(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution over one to three axes."""
    kernel = list(weight.shape[2:])
    ones = [1] * len(kernel)
    strides, dilations = call.integers("strides", ones), call.integers("dilations", ones)
    sides = _sides(call, x.shape[2:], kernel, strides, dilations)
    groups = call.integer("group", 1)
    function = _CONVOLUTIONS[len(kernel) - 1]
    if all(before == behind for before, behind in sides):
        return function(x, weight, bias, strides, [before for before, _ in sides], dilations, groups)
    return function(_padded(x, sides), weight, bias, strides, 0, dilations, groups)


@operator("FusedConv", domain="com.microsoft")
def fused_conv(
    call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None, added: Tensor | None = None
) -> Tensor:
    """Convolution, a tensor added to it, and the activation behind both."""
    summed = conv(call, x, weight, bias)
    summed = summed if added is None else summed + added
    name, given = call.text("activation", ""), call.numbers("activation_params")
    return activations([name], given[:1], given[1:])[0](summed) if name else summed


@operator("ConvTranspose")
def conv_transpose(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Transposed convolution; what `pads` names is cut off."""
    kernel = list(weight.shape[2:])
    ones, zeros = [1] * len(kernel), [0] * len(kernel)
    if call.text("auto_pad", "NOTSET") != "NOTSET" or call.attributes.get("output_shape"):
        raise UnsupportedError("with auto_pad or output_shape")
    strides, dilations = call.integers("strides", ones), call.integers("dilations", ones)
    made = _TRANSPOSED[len(kernel) - 1](x, weight, bias, strides, 0, 0, call.integer("group", 1), dilations)
    more = call.integers("output_padding", zeros)
    sides = _sides(call, x.shape[2:], kernel, strides, dilations)
    cut = [(-before, extra - behind) for (before, behind), extra in zip(sides, more, strict=True)]
    padded = _padded(made, cut)
    if bias is not None and any(extra > behind for (_, behind), extra in zip(sides, more, strict=True)):
        raise UnsupportedError("with more output_padding than pads, and a bias")
    return padded


@operator("MaxPool", "AveragePool", "LpPool")
def pool(call: Call, x: Tensor) -> Tensor:
    """The largest value, the mean or the length of each window, of one or two axes."""
    kernel = call.integers("kernel_shape", [])
    count = len(kernel)
    if call.outputs > 1 or count not in {1, 2}:
        raise UnsupportedError("with places as an output, or of three axes")
    ones = [1] * count
    strides, dilations = call.integers("strides", ones), call.integers("dilations", ones)
    sizes = list(x.shape[2:])
    sides = _sides(call, sizes, kernel, strides, dilations)
    if call.integer("ceil_mode", 0):
        sides, beyond = _with_rest(sizes, kernel, strides, dilations, sides)
    else:
        beyond = [0] * count
    if call.operator == "MaxPool":
        function = functional.max_pool1d if count == 1 else functional.max_pool2d
        return function(_padded(x, sides, float("-inf")), kernel, strides, 0, dilations)
    if call.operator == "LpPool":
        order = call.integer("p", 2)
        powers = _window_sums(_padded(x, sides).abs() ** order, kernel, strides, dilations)
        return root(powers) if order == 2 else powers ** (1 / order)
    if dilations != ones:
        return _dilated_mean(call, x, kernel, strides, dilations, sides)
    mean = functional.avg_pool1d if count == 1 else functional.avg_pool2d
    summed = mean(_padded(x, sides), kernel, strides)
    if not any(side for both in sides for side in both):
        return summed
    counted = torch.ones_like(x[:1, :1])
    if call.integer("count_include_pad", 0):
        own = [(before, behind - rest) for (before, behind), rest in zip(sides, beyond, strict=True)]
        counted = _padded(_padded(counted, own, 1.0), [(0, rest) for rest in beyond])
    else:
        counted = _padded(counted, sides)
    return summed / mean(counted, kernel, strides)


def _with_rest(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    sides: Sequence[tuple[int, int]],
) -> tuple[list[tuple[int, int]], list[int]]:
    """Padding with which the last, incomplete window is whole, and how much that is more."""
    wider, beyond = [], []
    for size, width, stride, dilation, (before, behind) in zip(
        sizes, kernel, strides, dilations, sides, strict=True
    ):
        reach = (width - 1) * dilation + 1
        free = size + before + behind - reach
        windows = -(-free // stride) + 1
        # A window that would begin in the padding behind does not count.
        if (windows - 1) * stride >= size + before:
            windows -= 1
        more = max(0, (windows - 1) * stride - free)
        wider.append((before, behind + more))
        beyond.append(more)
    return wider, beyond


def _window_sums(
    x: Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Tensor:
    """The sum of each window, whose cells may lie apart, as a convolution of each channel."""
    flat = x.reshape(-1, 1, *x.shape[2:])
    function = _CONVOLUTIONS[len(kernel) - 1]
    sums = function(flat, x.new_ones(1, 1, *kernel), None, list(strides), 0, list(dilations))
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


def _dilated_mean(
    call: Call,
    x: Tensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    sides: Sequence[tuple[int, int]],
) -> Tensor:
    """AveragePool-19: the mean of cells that lie apart."""
    counted = _padded(torch.ones_like(x[:1, :1]), sides, float(call.integer("count_include_pad", 0)))
    sums = _window_sums(_padded(x, sides), kernel, strides, dilations)
    return sums / _window_sums(counted, kernel, strides, dilations)


@operator("NhwcMaxPool", domain="com.microsoft")
def last_max_pool(call: Call, x: Tensor) -> Tensor:
    """MaxPool with the channels last."""
    return pool(call.of("MaxPool"), x.movedim(-1, 1)).movedim(1, -1)


@operator("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(call: Call, x: Tensor) -> Tensor:
    """The mean, the largest value or the length of each channel, the axes kept."""
    axes = list(range(2, x.dim()))
    if call.operator == "GlobalLpPool":
        length: Tensor = torch.linalg.vector_norm(x, ord=call.integer("p", 2), dim=axes, keepdim=True)
        return length
    return x.mean(axes, keepdim=True) if call.operator == "GlobalAveragePool" else x.amax(axes, keepdim=True)


@operator("BatchNormalization")
def batch_normalization(
    call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    """By the statistics of the training that made the graph."""
    if call.integer("training_mode", 0):
        raise UnsupportedError("in training mode")
    return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, call.number("epsilon", 1e-5))


@operator("InstanceNormalization")
def instance_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Each channel of each sound by its own mean and variance."""
    axes = list(range(2, x.dim()))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    shape = [1, -1, *([1] * len(axes))]
    normal = (x - mean) * torch.rsqrt(variance + call.number("epsilon", 1e-5))
    return normal * scale.reshape(shape) + bias.reshape(shape)


@operator("LayerNormalization")
def layer_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """The axes from `axis` on by their mean and variance."""
    if call.outputs > 1:
        raise UnsupportedError("with mean and variance as outputs")
    shape = x.shape[call.integer("axis", -1) % x.dim() :]
    epsilon = call.number("epsilon", 1e-5)
    return functional.layer_norm(
        x, list(shape), scale.expand(shape), None if bias is None else bias.expand(shape), epsilon
    )


@operator("SkipLayerNormalization", domain="com.microsoft")
def skip_layer_normalization(
    call: Call,
    x: Tensor,
    skip: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor | tuple[Tensor, ...]:
    """LayerNormalization of a sum, as ONNX Runtime's optimiser joins them; the sum may be the last output."""
    total = x + skip if bias is None else x + skip + bias
    normal = functional.layer_norm(total, [x.shape[-1]], scale, shift, call.number("epsilon", 1e-12))
    return _with_sum(call, normal, total)


@operator("SkipSimplifiedLayerNormalization", domain="com.microsoft")
def skip_rms_normalization(
    call: Call, x: Tensor, skip: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Tensor | tuple[Tensor, ...]:
    """RMSNormalization of a sum; the sum may be the last output."""
    total = x + skip if bias is None else x + skip + bias
    return _with_sum(call, rms_normalization(call, total, scale), total)


def _with_sum(call: Call, normal: Tensor, total: Tensor) -> Tensor | tuple[Tensor, ...]:
    """Mean and inverse deviation, the outputs between, are for training."""
    return normal if call.outputs < 4 else (normal, normal.new_empty(0), normal.new_empty(0), total)


# ONNX Runtime knew the second before ONNX had the first.
@operator("RMSNormalization", "SimplifiedLayerNormalization")
def rms_normalization(call: Call, x: Tensor, scale: Tensor) -> Tensor:
    """The axes from `axis` on by their root mean square."""
    axes = list(range(call.integer("axis", -1) % x.dim(), x.dim()))
    square = x.square().mean(axes, keepdim=True)
    return x * torch.rsqrt(square + call.number("epsilon", 1e-5)) * scale


@operator("MeanVarianceNormalization")
def mean_variance_normalization(call: Call, x: Tensor) -> Tensor:
    """The axes' mean subtracted, by their deviation."""
    axes = call.integers("axes", [0, 2, 3])
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) / (torch.sqrt(variance) + 1e-9)


@operator("GroupNormalization")
def group_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Groups of channels by their mean and variance; since opset 21 scale and bias are the channels'."""
    groups = call.integer("num_groups", 1)
    if call.opset < 21:
        each = x.shape[1] // groups
        scale, bias = scale.repeat_interleave(each), bias.repeat_interleave(each)
    return functional.group_norm(x, groups, scale, bias, call.number("epsilon", 1e-5))


@operator("LpNormalization")
def lp_normalization(call: Call, x: Tensor) -> Tensor:
    """Vectors of length 1 along an axis."""
    order, axis = call.integer("p", 2), call.integer("axis", -1)
    length: Tensor = torch.linalg.vector_norm(x, ord=order, dim=axis, keepdim=True)
    return x / length


@operator("LRN")
def lrn(call: Call, x: Tensor) -> Tensor:
    """Channels by those beside them."""
    return functional.local_response_norm(
        x,
        call.integer("size", 1),
        call.number("alpha", 1e-4),
        call.number("beta", 0.75),
        call.number("bias", 1.0),
    )
