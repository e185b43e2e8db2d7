"""A tensor inside an .onnx graph as the feature map of a bundle, and what follows it. Never torch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from ....errors import SourceError
from ....runtime.bundle.manifest import FeatureMapSpec
from ....runtime.bundle.nodes import Nodes
from ....runtime.values.arrays import FloatArray
from ...graphs.heads import Head, Layer
from ..impulses import SoundCell, misplaced
from ..token_grid import TokenGrid, fits

TAP = "feature_map"
# Order of a tensor's axes after the batch: c channels, t time, f frequency, n tokens; c alone: an embedding.
AXES = ("ctf", "cft", "tcf", "tfc", "fct", "ftc", "ct", "tc", "nc", "c")
_TOLERANCE = 1e-4
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True)
class MapRequest:
    """What the user says of the tensor.

    tensor: its name in the graph; axes: their order after the batch, one of `AXES`
    bands_hz: edges of its F' rows of frequency, F' + 1 ascending; None with one row
    tokens: where the axis n is: how it unfolds
    """

    tensor: str
    axes: str = "ctf"
    bands_hz: Sequence[float] | None = None
    tokens: TokenGrid | None = None

    @property
    def unfolded(self) -> str:
        """The axes c, t and f as they lie once tokens are unfolded and those that are missing are added."""
        if self.tokens is not None:
            return "ftc" if self.tokens.order == "frequency" else "tfc"
        return self.axes + "".join(axis for axis in "tf" if axis not in self.axes)


@dataclass(frozen=True)
class ShownTensor:
    """A tensor of a graph that a stage shows as a tap [B, C, T', F'].

    Attributes:
        tap: The tap's name.
        tensor: The tensor's name in the graph.
        axes: Their order after the batch, one of `AXES`; the first two may be one axis of tokens.
        channels: C.
        frames: T', or a name where it changes with the sound's length.
        rows: F'.
        skipped: Tokens before the first that has a place.
        kind: Its type, "float32" or another, which is then cast.
        patch: Of a graph that takes patches: cells of one in time, and from one to the next.

    """

    tap: str
    tensor: str
    axes: str
    channels: int
    frames: int | str
    rows: int
    skipped: int = 0
    kind: str = "float32"
    patch: tuple[int, int] | None = None

    @property
    def row_dims(self) -> list[int | str]:
        """Dims of one row of what the graph takes, [C, T', F'] of a sound or of a patch."""
        return [self.channels, self.frames if self.patch is None else self.patch[0], self.rows]

    @property
    def dims(self) -> list[int | str]:
        """Dims of the tap, [B, C, T', F']."""
        return ["batch", self.channels, self.frames, self.rows]

    def nodes(self, graph: Nodes, tensor: str, output: str, *, batch: bool, copies: int) -> None:
        """Nodes from `tensor` of the graph to `output`, [B, C, T', F'] or without a batch [C, T', F'].

        copies: of a sound, of which the first is taken
        """
        sizes = {"c": self.channels, "t": -1, "f": self.rows}
        own = self.axes if "f" in self.axes else f"{self.axes}f"
        shape = [0] * batch + [sizes[axis] for axis in own]
        order = [0] * batch + [own.index(axis) + batch for axis in "ctf"]
        if copies > 1:
            tensor = graph.part(tensor, 0, 0, 1)
        if self.skipped:
            tensor = graph.part(tensor, 1, self.skipped, np.iinfo(np.int64).max)
        if self.kind != "float32":
            tensor = graph.cast(tensor, TensorProto.FLOAT)
        rows = graph.add("Reshape", tensor, graph.whole(*shape))
        graph.named("Transpose", output, rows, perm=order)

    def joined(self, graph: Nodes, rows: str, sounds: str) -> None:
        """From the maps of patches [B P, C, L, F'] to the tap: of each patch the middle, up to the next's.

        At both ends of the sound, whatever else the first and the last patch have.
        sounds: B, int64 [1]
        """
        assert self.patch is not None  # noqa: S101 (of a graph that takes patches)
        cells, hop = self.patch
        start = (cells - hop) // 2
        inner = graph.whole(-1, self.channels, cells, self.rows)
        each = graph.add("Reshape", rows, graph.add("Concat", sounds, inner, axis=0))
        middle = graph.add("Transpose", graph.part(each, 3, start, start + hop), perm=[0, 2, 1, 3, 4])
        middle = graph.add("Reshape", middle, graph.whole(0, 0, -1, self.rows))
        last = np.iinfo(np.int64).max
        before = graph.part(graph.part(each, 1, 0, 1), 3, 0, start)
        behind = graph.part(graph.part(each, 1, -1, last), 3, start + hop, last)
        ends = [graph.over("Squeeze", one, [1]) for one in (before, behind)]
        graph.named("Concat", self.tap, ends[0], middle, ends[1], axis=2)


@dataclass(frozen=True)
class GraphMap:
    """A feature map that was found: how the stage shows it, and what follows it.

    head: None where it is not linear
    doubt: what its user should look at, "" for nothing
    """

    request: MapRequest
    spec: FeatureMapSpec
    shown: ShownTensor
    head: Head | None
    doubt: str = ""


def with_output(model: onnx.ModelProto, tensor: str, path: Path) -> onnx.ModelProto:
    """The graph with `tensor` among its outputs. Raises SourceError where it has no such tensor."""
    widened = copy.deepcopy(model)
    if tensor in {value.name for value in widened.graph.output}:
        return widened
    if not any(tensor in node.output for node in widened.graph.node):
        raise SourceError(
            f"{path}: has no tensor {tensor!r} to be the feature map; name the output of a node, as "
            "a viewer of ONNX graphs shows it"
        )
    # Without a type: it may be another than float32, which is then told by name.
    widened.graph.output.add().name = tensor
    return widened


def find_map(
    request: MapRequest,
    model: onnx.ModelProto,
    path: Path,
    answers: Callable[[int, SoundCell | None], tuple[FloatArray, FloatArray]],
    samples: int,
    sample_rate: int,
    *,
    fixed: bool,
    padded: bool,
    banded: bool,
) -> GraphMap:
    """The feature map of a graph, from what it answers to synthesised sound.

    Args:
        request: What was said of it.
        model: The graph.
        path: Its file.
        answers: Samples, and perhaps an impulse in them -> (the tensor, logits [K]) for a sound so long.
        samples: Of a window.
        sample_rate: Of the sound, in Hz.
        fixed: Whether the graph takes that length alone.
        padded: Whether a front end may pad what the graph takes, and with it the map.
        banded: Whether impulses have a frequency: the graph takes features with an axis of it.

    Raises:
        SourceError: The tensor has other axes than said, rows without bands, or tokens in another order.

    """
    if request.axes not in AXES:
        raise SourceError(f"{path}: axes {request.axes!r} of the feature map; give one of {', '.join(AXES)}")
    if ("n" in request.axes) != (request.tokens is not None):
        raise SourceError(
            f"{path}: a feature map of tokens needs both --map-axes nc and --map-tokens ROWS,ORDER,SKIP"
        )
    tensor, logits = answers(samples, None)
    z = _placed(tensor, request, path)
    shorter = (
        z if fixed or request.axes == "c" else _placed(answers(samples * 3 // 4, None)[0], request, path)
    )
    # Features of a fixed number of frames are padded, and so is their map.
    still = shorter.shape == z.shape and (fixed or padded or request.axes == "c")
    if not still and (shorter.shape[::2] != z.shape[::2] or shorter.shape[1] >= z.shape[1]):
        raise SourceError(
            f"{path}: the feature map {request.tensor!r} is {list(z.shape)} and, of a shorter sound, "
            f"{list(shorter.shape)} in the order c, t, f; correct its axes ({request.axes})"
        )
    frames: int | str = z.shape[1] if still else "frames_z"
    step = samples / z.shape[1] if still else (samples - samples * 3 // 4) / (z.shape[1] - shorter.shape[1])
    doubt = _misplaced(
        request, path, lambda cell: _placed(answers(samples, cell)[0], request, path), z, banded
    )
    pooling, head = _head(model, path, z, logits)
    spec = FeatureMapSpec(
        tap=TAP,
        channels=z.shape[0],
        frame_seconds=step / sample_rate,
        bands_hz=_bands(request, z.shape[2], sample_rate, path),
        pooling=pooling,  # type: ignore[arg-type]
        additive=head is not None,
    )
    skipped = 0 if request.tokens is None else request.tokens.skip
    channels, rows, kind = z.shape[0], z.shape[2], tensor.dtype.name
    shown = ShownTensor(TAP, request.tensor, request.unfolded, channels, frames, rows, skipped, kind)
    return GraphMap(request, spec, shown, head, doubt)


def _misplaced(
    request: MapRequest,
    path: Path,
    map_with: Callable[[SoundCell | None], FloatArray],
    z: FloatArray,
    banded: bool,
) -> str:
    """A doubt about the places of a map, "" for none; of tokens in another order SourceError is raised."""
    if z.shape[1] < 2:
        return ""
    tokens = request.tokens is not None
    wrong = misplaced(map_with, rows=banded and z.shape[2] > 1, around=not tokens)
    if wrong is not None and tokens:
        raise SourceError(f"{path}: {wrong}; correct rows, order and skip of --map-tokens")
    return "" if wrong is None else f"in its feature map {wrong}; are these its axes ({request.axes})?"


def _placed(tensor: FloatArray, request: MapRequest, path: Path) -> FloatArray:
    """The tensor of one sound as [C, T', F']."""
    single = tensor[0] if tensor.ndim == len(request.axes) + 1 and tensor.shape[0] == 1 else tensor
    if single.ndim != len(request.axes) or single.dtype.kind != "f":
        raise SourceError(
            f"{path}: the feature map {request.tensor!r} is {single.dtype} {list(tensor.shape)}, not "
            f"floats [batch, {', '.join(request.axes)}]; name another tensor, or its axes"
        )
    if request.tokens is not None:
        single = _unfolded(single, request.tokens, path)
    single = single.reshape(*single.shape, *[1] * (3 - single.ndim))
    own = request.unfolded
    placed: FloatArray = single.transpose([own.index(axis) for axis in "ctf"]).astype(np.float32)
    return placed


def _unfolded(tokens: FloatArray, how: TokenGrid, path: Path) -> FloatArray:
    """Tokens [N, C] with axes of time and frequency."""
    if not fits(how, len(tokens)):
        raise SourceError(
            f"{path}: {len(tokens)} tokens but {how.skip} are no whole number of {how.rows} rows; correct "
            "--map-tokens ROWS,ORDER,SKIP"
        )
    shape = (how.rows, -1) if how.order == "frequency" else (-1, how.rows)
    return tokens[how.skip :].reshape(*shape, tokens.shape[1])


def _bands(request: MapRequest, rows: int, sample_rate: int, path: Path) -> list[tuple[float, float]]:
    """[low, high] in Hz of every row."""
    edges = list(request.bands_hz or ([0.0, sample_rate / 2] if rows == 1 else []))
    rising = all(low < high for low, high in pairwise(edges))
    if len(edges) != rows + 1 or not rising or edges[0] < 0:
        raise SourceError(
            f"{path}: the feature map has {rows} rows of frequency; give their {rows + 1} edges in Hz, "
            "ascending"
        )
    return list(pairwise(edges))


def _head(model: onnx.ModelProto, path: Path, z: FloatArray, logits: FloatArray) -> tuple[str, Head | None]:
    """Pooling and linear head with which the graph's weights give its logits; ("other", None) if none do."""
    if not np.isfinite(logits).all():
        return "other", None
    frames = z.mean(axis=2, dtype=np.float64)
    pooled = {"mean": frames.mean(axis=1), "max_mean": frames.mean(axis=1) + frames.max(axis=1)}
    classes, channels = len(logits), len(z)
    tensors = [weight for weight in model.graph.initializer if weight.data_type in _FLOATS]
    tensors += [
        node.attribute[0].t
        for node in model.graph.node
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value"
    ]
    small = [one for one in tensors if math.prod(one.dims) in (classes, classes * channels)]
    arrays = [numpy_helper.to_array(one, str(path.parent)).astype(np.float32) for one in small]
    # A convolution of one cell is a matrix, too.
    flat = [one.reshape([size for size in one.shape if size != 1] or [1]) for one in arrays]
    if 1 in (classes, channels):
        flat += [one.reshape(classes, channels) for one in flat if one.shape == (classes * channels,)]
    weights = [one for one in flat if one.shape == (classes, channels)]
    weights += [one.T for one in flat if one.shape == (channels, classes)]
    biases = [np.zeros(classes, np.float32)]
    biases += [one.reshape(-1) for one in arrays if one.size == classes]
    tolerance = _TOLERANCE * max(1.0, float(np.abs(logits).max()))
    for pooling, v in pooled.items():
        for weight in weights:
            for bias in biases:
                if np.abs(weight.astype(np.float64) @ v + bias - logits).max() <= tolerance:
                    layer = Layer(np.ascontiguousarray(weight, np.float32), bias.astype(np.float32))
                    return pooling, Head((layer,))
    return "other", None
