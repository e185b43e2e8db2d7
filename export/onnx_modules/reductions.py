"""Operators that join values along axes: sums, means, softmax, sorting."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .operators import Call, Tensor, numbers, operator, root

_REDUCTIONS: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: root(x.square().sum(axes, keepdim=keep)),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
}


@operator(*_REDUCTIONS)
def reduce(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Values joined along axes; along all where none is named."""
    chosen = call.integers("axes", []) if axes is None else numbers(axes)
    if not chosen:
        if call.integer("noop_with_empty_axes", 0):
            return x
        chosen = list(range(x.dim()))
    return _REDUCTIONS[call.operator](x, chosen, bool(call.integer("keepdims", 1)))


@operator("ReduceProd")
def reduce_prod(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """The product along axes."""
    chosen = call.integers("axes", []) if axes is None else numbers(axes)
    for axis in sorted((one % x.dim() for one in chosen or range(x.dim())), reverse=True):
        x = x.prod(dim=axis, keepdim=bool(call.integer("keepdims", 1)))
    return x


@operator("Softmax", "LogSoftmax")
def softmax(call: Call, x: Tensor) -> Tensor:
    """Softmax along an axis; before opset 13, over all axes from that one on."""
    function = torch.softmax if call.operator == "Softmax" else torch.log_softmax
    if call.opset >= 13:
        return function(x, dim=call.integer("axis", -1))
    axis = call.integer("axis", 1) % x.dim()
    return function(x.flatten(axis), dim=axis).reshape(x.shape)


@operator("ArgMax", "ArgMin")
def arg(call: Call, x: Tensor) -> Tensor:
    """Where the largest or smallest value along an axis is: the first."""
    axis, keep = call.integer("axis", 0), bool(call.integer("keepdims", 1))
    return (torch.argmax if call.operator == "ArgMax" else torch.argmin)(x, dim=axis, keepdim=keep)


@operator("CumSum")
def cumsum(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    """Running sums, perhaps backwards or without the value itself."""
    along = int(axis.item())
    backwards = bool(call.integer("reverse", 0))
    flipped = x.flip(along) if backwards else x
    sums = flipped.cumsum(along)
    if call.integer("exclusive", 0):
        sums = sums - flipped
    return sums.flip(along) if backwards else sums


@operator("TopK")
def topk(call: Call, x: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The largest or smallest values along an axis, and their places."""
    found = torch.topk(
        x,
        int(count.item()),
        dim=call.integer("axis", -1),
        largest=bool(call.integer("largest", 1)),
        sorted=True,
    )
    return found.values, found.indices
