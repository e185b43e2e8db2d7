"""Operators that lay values out anew, choose among them, or compute with shapes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from onnx import numpy_helper
from torch.nn import functional

from .operators import Call, Tensor, UnsupportedError, beside, numbers, operator

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@operator("Shape")
def shape(call: Call, x: Tensor) -> Tensor:
    """The sizes of axes, on the CPU."""
    sizes = list(x.shape)
    return torch.tensor(sizes[call.integer("start", 0) : call.attributes.get("end")], dtype=torch.int64)


@operator("Size")
def size(_: Call, x: Tensor) -> Tensor:
    """How many values there are."""
    return torch.tensor(x.numel(), dtype=torch.int64)


@operator("Reshape")
def reshape(call: Call, x: Tensor, wanted: Tensor) -> Tensor:
    """Another shape; 0 keeps an axis, -1 is what is left."""
    sizes = numbers(wanted)
    if not call.integer("allowzero", 0):
        sizes = [x.shape[axis] if one == 0 else one for axis, one in enumerate(sizes)]
    return x.reshape(sizes)


@operator("Flatten")
def flatten(call: Call, x: Tensor) -> Tensor:
    """Two axes: those before `axis`, and the others."""
    axis = call.integer("axis", 1) % (x.dim() + 1)
    rows = 1
    for one in x.shape[:axis]:
        rows *= one
    return x.reshape(rows, -1)


@operator("Transpose")
def transpose(call: Call, x: Tensor) -> Tensor:
    """The axes in another order."""
    return x.permute(call.integers("perm", range(x.dim() - 1, -1, -1)))


@operator("Squeeze")
def squeeze(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Without axes of size 1."""
    chosen = call.integers("axes", []) if axes is None else numbers(axes)
    return x.squeeze(tuple(chosen)) if chosen else x.squeeze()


@operator("Unsqueeze")
def unsqueeze(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """With further axes of size 1."""
    chosen = call.integers("axes", []) if axes is None else numbers(axes)
    rank = x.dim() + len(chosen)
    for axis in sorted(one % rank for one in chosen):
        x = x.unsqueeze(axis)
    return x


@operator("Concat")
def concat(call: Call, *tensors: Tensor) -> Tensor:
    """One after the other along an axis."""
    return torch.cat(beside(*tensors), dim=call.integer("axis", 0))


@operator("Split")
def split(call: Call, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    """Parts along an axis: of given sizes, or equal ones with a smaller last."""
    axis = call.integer("axis", 0)
    given = call.integers("split", []) if sizes is None else numbers(sizes)
    if given:
        return tuple(torch.split(x, given, dim=axis))
    parts = call.integer("num_outputs", call.outputs)
    return tuple(torch.split(x, -(-x.shape[axis] // parts), dim=axis))


@operator("Slice")
def sliced(
    _: Call,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """A part of some axes, perhaps backwards."""
    first, last = numbers(starts), numbers(ends)
    chosen = list(range(len(first))) if axes is None else numbers(axes)
    strides = [1] * len(first) if steps is None else numbers(steps)
    for start, end, axis, step in zip(first, last, chosen, strides, strict=True):
        if step < 0:
            # PyTorch has no views that run backwards.
            indices = range(x.shape[axis])[start:end:step] if end >= -x.shape[axis] else None
            whole = range(x.shape[axis])[start::step] if indices is None else indices
            x = x.index_select(axis, torch.tensor(list(whole), dtype=torch.int64, device=x.device))
        else:
            places = range(x.shape[axis])[start:end:step]
            at = [slice(None)] * (axis % x.dim())
            x = x[(*at, slice(places.start, max(places.stop, places.start), step))]
    return x


@operator("Expand")
def expand(_: Call, x: Tensor, wanted: Tensor) -> Tensor:
    """Broadcast to a shape, both ways."""
    sizes = numbers(wanted)
    rank = max(x.dim(), len(sizes))
    own, asked = ([1] * (rank - len(one)) + list(one) for one in (x.shape, sizes))
    return x.expand([mine if theirs == 1 else theirs for mine, theirs in zip(own, asked, strict=True)])


@operator("Tile")
def tile(_: Call, x: Tensor, repeats: Tensor) -> Tensor:
    """Each axis several times."""
    return x.repeat(numbers(repeats))


@operator("Range")
def arange(_: Call, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """Numbers from start to limit in steps."""
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


@operator("ConstantOfShape")
def constant_of_shape(call: Call, wanted: Tensor) -> Tensor:
    """One value everywhere."""
    value = call.attributes.get("value")
    if value is None:
        return torch.zeros(numbers(wanted), dtype=call.real)
    fill = numpy_helper.to_array(value).item()
    return torch.full(numbers(wanted), fill, dtype=call.kind(value.data_type))


@operator("Trilu")
def trilu(call: Call, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    """The upper or lower triangle."""
    offset = 0 if diagonal is None else int(diagonal.item())
    return (torch.triu if call.integer("upper", 1) else torch.tril)(x, offset)


@operator("Pad")
def pad(
    call: Call, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    """More (or, by negative numbers, less) at both ends of axes."""
    given, rank = numbers(pads), x.dim()
    chosen = list(range(rank)) if axes is None else [one % rank for one in numbers(axes)]
    count = len(chosen)
    sides = {axis: (given[n], given[n + count]) for n, axis in enumerate(chosen)}
    sides = {axis: both for axis, both in sides.items() if both != (0, 0)}
    mode = _PAD_MODES[call.text("mode", "constant")]
    if mode == "constant":
        flat = [side for axis in reversed(range(rank)) for side in sides.get(axis, (0, 0))]
        return functional.pad(x, flat, value=0.0 if value is None else float(value.item()))
    for axis, (left, right) in sides.items():
        x = _mirrored(x, axis, left, right, mode)
    return x


def _mirrored(x: Tensor, axis: int, left: int, right: int, mode: str) -> Tensor:
    """One axis padded with its own values: by index, so that any axis of any rank is served."""
    count = x.shape[axis]
    places = torch.arange(-left, count + right, device=x.device)
    if mode == "reflect":
        period = max(2 * (count - 1), 1)
        places = places.abs() % period
        places = torch.where(places >= count, period - places, places)
    elif mode == "circular":
        places = places % count
    else:
        places = places.clamp(0, count - 1)
    return x.index_select(axis, places)


@operator("Resize", "Upsample")
def resize(
    call: Call,
    x: Tensor,
    _roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    """Another resolution: nearest or linear, along the axes that change."""
    mode, where = call.text("mode", "nearest"), call.text("coordinate_transformation_mode", "half_pixel")
    if mode not in {"nearest", "linear"} or where not in {"half_pixel", "asymmetric", "align_corners"}:
        raise UnsupportedError(f"of mode {mode}, {where}")
    chosen = call.integers("axes", range(x.dim()))
    if sizes is not None and sizes.numel():
        wanted = numbers(sizes)
        factors = [new / x.shape[axis] for new, axis in zip(wanted, chosen, strict=True)]
    elif scales is not None:
        factors = [float(one) for one in scales.tolist()]
        wanted = [int(x.shape[axis] * one) for one, axis in zip(factors, chosen, strict=True)]
    else:
        raise UnsupportedError("without sizes or scales")
    rounding = call.text("nearest_mode", "round_prefer_floor")
    for axis, count, factor in zip(chosen, wanted, factors, strict=True):
        if count != x.shape[axis]:
            places = _places(count, x.shape[axis], factor, where).to(x.device)
            x = _nearest(x, axis, places, rounding) if mode == "nearest" else _linear(x, axis, places)
    return x


def _places(count: int, old: int, factor: float, where: str) -> Tensor:
    """Where each of `count` new cells lies among the `old` ones."""
    new = torch.arange(count, dtype=torch.float64)
    if where == "align_corners":
        return new * (old - 1) / max(count - 1, 1)
    return new / factor if where == "asymmetric" else (new + 0.5) / factor - 0.5


def _nearest(x: Tensor, axis: int, places: Tensor, rounding: str) -> Tensor:
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "floor": torch.floor,
        "ceil": torch.ceil,
        "round_prefer_floor": lambda at: torch.ceil(at - 0.5),
        "round_prefer_ceil": lambda at: torch.floor(at + 0.5),
    }
    return x.index_select(axis, ways[rounding](places).long().clamp(0, x.shape[axis] - 1))


def _linear(x: Tensor, axis: int, places: Tensor) -> Tensor:
    last = x.shape[axis] - 1
    places = places.clamp(0, last)
    lower = places.floor().long().clamp(0, last)
    shape = [-1 if one == axis % x.dim() else 1 for one in range(x.dim())]
    weight = (places - lower).to(x.dtype).reshape(shape)
    upper = (lower + 1).clamp(max=last)
    return x.index_select(axis, lower) * (1 - weight) + x.index_select(axis, upper) * weight


@operator("SpaceToDepth")
def space_to_depth(call: Call, x: Tensor) -> Tensor:
    """Cells to channels, the block's place first."""
    block = call.integer("blocksize", 1)
    batch, channels, rows, columns = x.shape
    split_up = x.reshape(batch, channels, rows // block, block, columns // block, block)
    return split_up.permute(0, 3, 5, 1, 2, 4).reshape(batch, -1, rows // block, columns // block)


@operator("DepthToSpace")
def depth_to_space(call: Call, x: Tensor) -> Tensor:
    """Channels to cells, as pixel shuffle (CRD) or the other way round (DCR)."""
    block = call.integer("blocksize", 1)
    if call.text("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x, block)
    batch, channels, rows, columns = x.shape
    split_up = x.reshape(batch, block, block, channels // block**2, rows, columns)
    return split_up.permute(0, 3, 4, 1, 5, 2).reshape(batch, -1, rows * block, columns * block)
