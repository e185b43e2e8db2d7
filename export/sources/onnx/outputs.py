"""Which output of a graph is the scores, and how they become one score a label. Never torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto

from ....errors import SourceError
from ....runtime.bundle.nodes import Nodes
from ....runtime.inference.scores import SHARPNESS
from ....runtime.values.arrays import Array, FloatArray, Values

Reduce = Literal["mean", "max", "lme"]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class ScoreOutput:
    """The output that the scores are in.

    others: the graph's other outputs
    rank: its number of axes
    labels: the axis of labels, None where a detector's one score has none
    frames: the axis of frames, None where there is one score a label
    reduce: how the scores of frames are joined: their mean, their maximum, or between them
        lme(x) = log(mean_t(exp(a x_t))) / a, a = 5
    kind: its type, one of NumPy's names
    batched: whether its first axis is the batch
    """

    name: str
    others: tuple[str, ...] = ()
    rank: int = 2
    labels: int | None = 1
    frames: int | None = None
    reduce: Reduce | None = None
    kind: str = "float32"
    batched: bool = True

    def of(self, value: Array) -> FloatArray:
        """The scores [K] of the first sound in it."""
        wide = value.astype(np.float64)
        if self.batched:
            wide = wide[:1]
        if self.frames is not None:
            wide = _joined(wide, self.frames, self.reduce or "mean")
        joined: FloatArray = wide.reshape(-1).astype(np.float32)
        return joined

    def nodes(self, graph: Nodes, tensor: str, classes: int, *, copies: int) -> str:
        """From the output, or a tensor of its shape, to scores [B, K], of `copies` to the first's [1, K]."""
        if copies > 1 and self.batched:
            tensor = graph.part(tensor, 0, 0, 1)
        if self.kind != "float32":
            tensor = graph.cast(tensor, TensorProto.FLOAT)
        if self.frames is not None:
            tensor = self._joining(graph, tensor, self.frames)
        if self.frames is None and self.rank == 2 and self.batched and self.labels == 1:
            return tensor
        return graph.add("Reshape", tensor, graph.whole(-1, classes))

    def _joining(self, graph: Nodes, tensor: str, axis: int) -> str:
        if self.reduce != "lme":
            return graph.over("ReduceMax" if self.reduce == "max" else "ReduceMean", tensor, [axis])
        sharpness = graph.constant(SHARPNESS)
        peak = graph.over("ReduceMax", tensor, [axis])
        raised = graph.add("Exp", graph.add("Mul", graph.add("Sub", tensor, peak), sharpness))
        mean = graph.add("Log", graph.over("ReduceMean", raised, [axis]))
        return graph.add("Add", peak, graph.add("Div", mean, sharpness))


def _joined(values: Values, axis: int, how: Reduce) -> Values:
    if how == "mean":
        mean: Values = values.mean(axis=axis)
        return mean
    peak: Values = values.max(axis=axis, keepdims=True)
    if how == "max":
        return peak
    raised = np.exp(SHARPNESS * (values - peak)).mean(axis=axis, keepdims=True)
    lme: Values = peak + np.log(raised) / SHARPNESS
    return lme


def score_output(
    path: Path,
    answers: Sequence[Mapping[str, Any]],
    classes: int,
    wanted: str | None,
    reduce: Reduce | None,
    batch: int | None,
) -> ScoreOutput:
    """Choose among a graph's outputs.

    answers: to one sound, and where the graph takes any length to a shorter one
    batch: rows that were fed; None: the graph has no axis of sounds
    Raises SourceError listing what there is.
    """
    first = answers[0]
    shown = ", ".join(
        f"{name} {list(np.shape(value))} {getattr(value, 'dtype', type(value).__name__)}"
        for name, value in first.items()
    )
    if wanted is not None and wanted not in first:
        raise SourceError(f"{path}: has no output {wanted!r}; it has {shown}")
    fitting, changing = [], ""
    for name in first if wanted is None else [wanted]:
        shapes = [np.shape(one[name]) for one in answers]
        kind = getattr(first[name], "dtype", np.dtype(object))
        axes = _axes(shapes, classes, batch) if kind.kind == "f" else None
        if axes is not None:
            labels, frames, batched = axes
            others = tuple(one for one in first if one != name)
            rank = len(shapes[0])
            fitting.append(ScoreOutput(name, others, rank, labels, frames, reduce, kind.name, batched))
        elif kind.kind == "f" and _axes(shapes[:1], classes, batch) is not None:
            changing = " and ".join(str(list(shape)) for shape in sorted(set(shapes)))
    ready = [one for one in fitting if (one.frames is not None) == (reduce is not None)]
    if len(ready) == 1:
        return ready[0]
    if ready:
        raise SourceError(
            f"{path}: several outputs could be the scores ({shown}); name one by --scores-output"
        )
    if fitting and reduce is None:
        raise SourceError(
            f"{path}: its output {fitting[0].name} {list(np.shape(first[fitting[0].name]))} holds scores of "
            "frames; say how they are joined, by --reduce max (one frame is enough), mean or lme"
        )
    if fitting:
        raise SourceError(f"{path}: gives one score a label ({shown}), none of frames; leave --reduce out")
    if changing:
        raise SourceError(
            f"{path}: gives {changing} for sounds of unlike length: scores of frames need an axis of labels "
            "beside that of frames"
        )
    raise SourceError(
        f"{path}: none of its outputs ({shown}) is [batch, {classes}] for {classes} labels, nor [batch, "
        f"frames, {classes}] of frames; every score needs its label, and a floating type"
    )


def _axes(
    shapes: Sequence[Shape], classes: int, batch: int | None
) -> tuple[int | None, int | None, bool] | None:
    """The axes of labels and of frames, and whether the first is the batch; None: these are no scores.

    shapes: of one sound and, perhaps, of a shorter one
    """
    rank = len(shapes[0])
    if any(len(shape) != rank for shape in shapes):
        return None
    for batched in (True, False):
        if batched and (batch is None or rank == 0 or any(shape[0] != batch for shape in shapes)):
            continue
        if batched and rank == 1 and classes > 1:
            continue
        rest = range(1 if batched else 0, rank)
        for labels in [axis for axis in reversed(rest) if all(shape[axis] == classes for shape in shapes)]:
            frames = [axis for axis in rest if axis != labels and any(shape[axis] != 1 for shape in shapes)]
            if len(frames) < 2:
                return labels, frames[0] if frames else None, batched
        if classes == 1 and len(rest) <= 1:
            return None, rest[0] if rest else None, batched
    return None


def logits_tensor(model: onnx.ModelProto, output: ScoreOutput, *, several: bool) -> str | None:
    """The tensor that a last softmax (or sigmoid, where several labels may hold) takes.

    Its values have all digits, which probabilities have lost, and channels' contributions add up to them.
    None: the scores end otherwise, or are joined in a way that only holds behind it.
    """
    name = output.name
    makers = {made: node for node in model.graph.node for made in node.output}
    node = makers.get(name)
    while node is not None and node.op_type == "Identity":
        node = makers.get(node.input[0])
    if node is None or node.domain not in ("", "ai.onnx"):
        return None
    if several:
        joined = output.reduce in (None, "max")
        return str(node.input[0]) if node.op_type == "Sigmoid" and joined else None
    if node.op_type not in {"Softmax", "LogSoftmax"} or output.reduce is not None or output.labels is None:
        return None
    axis = next((one.i for one in node.attribute if one.name == "axis"), -1)
    return str(node.input[0]) if axis % output.rank == output.labels else None
