"""Operators that take or set values by their indices."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from .operators import Call, Tensor, beside, operator

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@operator("Gather")
def gather(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """Slices of an axis by their indices, which may be of any shape."""
    axis = call.integer("axis", 0) % x.dim()
    x, indices = beside(x, indices.long())
    flat = torch.where(indices < 0, indices + x.shape[axis], indices)
    chosen = x.index_select(axis, flat.reshape(-1))
    return chosen.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


@operator("GatherElements")
def gather_elements(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """Values along an axis by an index each."""
    axis = call.integer("axis", 0)
    x, indices = beside(x, indices.long())
    return x.gather(axis, torch.where(indices < 0, indices + x.shape[axis], indices))


@operator("GatherND")
def gather_nd(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """Values by indices of several axes, those after `batch_dims` common ones."""
    x, indices = beside(x, indices.long())
    common = call.integer("batch_dims", 0)
    if not common:
        return x[tuple(indices.unbind(-1))]
    batch = x.shape[:common]
    x, indices = x.flatten(0, common - 1), indices.flatten(0, common - 1)
    rows = torch.arange(x.shape[0], device=x.device).reshape(-1, *[1] * (indices.dim() - 2))
    chosen = x[(rows, *indices.unbind(-1))]
    return chosen.reshape(*batch, *chosen.shape[1:])


def _scattered(x: Tensor, axis: int, indices: Tensor, updates: Tensor, how: str) -> Tensor:
    """Values set at an index of an axis each, or joined with what is there."""
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    if how == "none":
        return x.scatter(axis, indices, updates.to(x.dtype))
    return x.scatter_reduce(axis, indices, updates.to(x.dtype), _REDUCTIONS[how], include_self=True)


@operator("ScatterElements", "Scatter")
def scatter_elements(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """Values set along an axis by an index each."""
    x, indices, updates = beside(x, indices.long(), updates)
    return _scattered(x, call.integer("axis", 0), indices, updates, call.text("reduction", "none"))


@operator("ScatterND")
def scatter_nd(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """Slices set by indices of the first axes."""
    x, indices, updates = beside(x, indices.long(), updates)
    count = indices.shape[-1]
    sizes = x.shape[:count]
    steps = [math.prod(sizes[axis + 1 :]) for axis in range(count)]
    whole = indices.reshape(-1, count)
    rows = sum(
        (torch.where(one < 0, one + size, one) * step)
        for one, size, step in zip(whole.unbind(-1), sizes, steps, strict=True)
    )
    assert isinstance(rows, Tensor)  # noqa: S101 (there is an axis)
    flat = x.reshape(math.prod(sizes), -1)
    slices = updates.reshape(rows.shape[0], flat.shape[1])
    set_ = _scattered(flat, 0, rows[:, None].expand_as(slices), slices, call.text("reduction", "none"))
    return set_.reshape(x.shape)


def reversed_within(x: Tensor, lengths: Tensor, time: int, batch: int) -> Tensor:
    """Each row's first cells in time, as many as its length says, the other way round."""
    cells = torch.arange(x.shape[time], device=x.device)
    lengths = lengths.to(x.device).long()[:, None]
    order = torch.where(cells < lengths, lengths - 1 - cells, cells)
    shape = [1] * x.dim()
    shape[batch], shape[time] = x.shape[batch], x.shape[time]
    order = (order if batch < time else order.T).reshape(shape)
    return x.gather(time, order.expand_as(x))


@operator("ReverseSequence")
def reverse_sequence(call: Call, x: Tensor, lengths: Tensor) -> Tensor:
    """Rows reversed in time up to their lengths."""
    return reversed_within(x, lengths, call.integer("time_axis", 0), call.integer("batch_axis", 1))


@operator("Compress")
def compress(call: Call, x: Tensor, condition: Tensor) -> Tensor:
    """The slices of an axis (or the values of all) at which the condition holds."""
    axis = call.attributes.get("axis")
    x, condition = beside(x, condition)
    places = torch.nonzero(condition).reshape(-1)
    return x.reshape(-1).index_select(0, places) if axis is None else x.index_select(int(axis), places)


@operator("NonZero")
def nonzero(_: Call, x: Tensor) -> Tensor:
    """Where values are not zero."""
    return torch.nonzero(x).T


@operator("OneHot")
def one_hot(call: Call, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    """Of two values the second at the index, the first elsewhere, along a new axis."""
    count = int(depth.item())
    hot = functional.one_hot(indices.long() % count, count).bool()
    hot, values = beside(hot, values)
    return torch.where(hot, values[1], values[0]).movedim(-1, call.integer("axis", -1))
