"""What a graph from a file takes, and how sound gets into it: as it is, or by a front end. Never torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import onnx
from onnx import helper

from ....errors import SourceError
from ....runtime.bundle.manifest import AnalysisSpec
from ....runtime.bundle.nodes import Nodes
from ....runtime.values.arrays import Array, FloatArray
from ...frontends.frontend import Frontend, Join, Stretch
from ...graphs.files import Dims

# Words in names of tensors and dims that are features'.
FEATURES = r"mel|mfcc|fbank|filterbank|spec|stft|embed|coeff|cepstr|(^|_)(bands?|bins?|freqs?|frames?)($|_)"
# Operators that hand their values on as they are.
PASSING = frozenset(
    ["Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout"]
)


class Entry(ABC):
    """How sound gets into the graph.

    name: of the graph's input; samples: the length that sound is cut and padded to, None: any
    copies: rows that the graph takes at once, no more and no fewer, and that a sound is therefore copied to
    """

    name: str
    samples: int | None
    copies: int

    @property
    def border(self) -> Literal["stft", "features"]:
        """The tensor between front end and classifier."""
        return "features"

    @property
    def analysis(self) -> AnalysisSpec | None:
        """The listenable STFT, where the graph takes what is computed from it."""
        return None

    @property
    def join(self) -> Join | None:
        """How the scores of a sound's rows are joined; None: a sound is one row."""
        return None

    @property
    def stretch(self) -> Stretch | None:
        """The patches that are these rows."""
        return None

    @property
    def batched(self) -> bool:
        """Whether the graph's input has an axis of sounds, or of rows."""
        return True

    @property
    @abstractmethod
    def time_axis(self) -> int:
        """Of what the graph takes: the axis of samples or frames."""

    @property
    @abstractmethod
    def dims(self) -> Dims:
        """Dims of the border tensor."""

    @abstractmethod
    def feed(self, sound: FloatArray) -> Array:
        """What the graph takes for one sound [N]. Raises SourceError where it is too short."""

    @abstractmethod
    def rows(self, graph: Nodes, tensor: str) -> str:
        """Nodes from the border tensor to rows as the graph takes them."""

    @abstractmethod
    def frontend(self) -> onnx.ModelProto:
        """frontend.onnx, "waveform" -> the border tensor."""


@dataclass(frozen=True)
class FeatureInput(Entry):
    """The graph's input takes features that a front end makes."""

    name: str
    front: Frontend
    copies: int = 1

    @property
    def samples(self) -> int | None:  # type: ignore[override]
        """Of the front end."""
        return self.front.samples

    @property
    def border(self) -> Literal["stft", "features"]:
        """The listenable STFT, where the features begin with it."""
        return "features" if self.front.analysis is None else "stft"

    @property
    def analysis(self) -> AnalysisSpec | None:
        """Of the front end."""
        return self.front.analysis

    @property
    def join(self) -> Join | None:
        """Of the front end's patches."""
        return self.front.join

    @property
    def stretch(self) -> Stretch | None:
        """Of the front end."""
        return self.front.stretch

    @cached_property
    def _stage(self) -> tuple[onnx.ModelProto, Dims]:
        return self.front.model()

    @property
    def time_axis(self) -> int:
        """Of the front end's rows."""
        return self.front.time_axis

    @property
    def dims(self) -> Dims:
        """Of what the front end gives."""
        return self._stage[1]

    def feed(self, sound: FloatArray) -> Array:
        """The reference's features."""
        return self.front.rows(sound)

    def rows(self, graph: Nodes, tensor: str) -> str:
        """What the front end leaves to do."""
        return self.front.row_nodes(graph, tensor)

    def frontend(self) -> onnx.ModelProto:
        """The front end, which knows itself how long sound may be; a copy, since writing changes a graph."""
        copied = onnx.ModelProto()
        copied.CopyFrom(self._stage[0])
        return copied


def dims_of(value: Any) -> list[int | str]:
    """Dims of an input: numbers, names, or "?"."""
    return [dim.dim_value or dim.dim_param or "?" for dim in value.type.tensor_type.shape.dim]


def feature_input(value: Any, path: Path, front: Frontend, window: int, sound: FloatArray) -> FeatureInput:
    """The input `value`, which takes the features of `front`, of which `sound` [window] is an example.

    Where the graph's own dims fix how many frames it takes, windows get their length.
    Raises SourceError where features and input disagree, naming both.
    """
    dims = dims_of(value)
    wanted = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    front = front.suited(dims, wanted)
    rows = front.rows(sound)
    shown, given = ", ".join(map(str, dims)), ", ".join(map(str, rows.shape[1:]))
    where = f"{path}: its input {value.name!r} takes {wanted} [{shown}]"
    if not dims or len(dims) != rows.ndim:
        raise SourceError(
            f"{where}, the front end gives [batch, {given}]; correct output.layout (--frontend-set "
            "output.layout=...), or the front end"
        )
    wrong = [
        axis
        for axis, (have, want) in enumerate(zip(rows.shape, dims, strict=True))
        if axis and isinstance(want, int) and have != want
    ]
    if wrong:
        raise SourceError(
            f"{where}, the front end gives [batch, {given}] for {len(sound)} samples; correct the bins or "
            "output.layout, or fix the number of frames by frames.count or --window"
        )
    if rows.dtype != wanted:
        raise SourceError(f"{where}, the front end gives {rows.dtype}; set output.dtype")
    copies = dims[0] if isinstance(dims[0], int) else 1
    if front.samples is None and _changes(front, sound, dims):
        front = replace(front, samples=window)
    return FeatureInput(value.name, front, copies)


def _changes(front: Frontend, sound: FloatArray, dims: list[int | str]) -> bool:
    """Whether a shorter sound would give what the graph's fixed dims do not take."""
    for part in (0.97, 0.75, 0.5):
        try:
            shape = front.rows(sound[: int(part * len(sound))]).shape
        except SourceError:
            return False
        if any(
            axis and isinstance(want, int) and have != want
            for axis, (have, want) in enumerate(zip(shape, dims, strict=True))
        ):
            return True
    return False
