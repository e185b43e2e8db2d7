"""What a graph from a file takes, and how sound gets into it: as it is, or by a front end. Never torch."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import onnx
from onnx import helper

from ....errors import SourceError
from ....runtime.values.arrays import FloatArray
from ...frontends.frontend import Frontend
from ...graphs.files import Dims

Front_co = TypeVar("Front_co", bound=Frontend, covariant=True)

# Words in names of tensors and dims that are features'.
FEATURES = r"mel|mfcc|fbank|filterbank|spec|stft|embed|coeff|cepstr|(^|_)(bands?|bins?|freqs?|frames?)($|_)"
# Operators that hand their values on as they are.
PASSING = frozenset(
    ["Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout"]
)


@dataclass(frozen=True)
class Entry(Generic[Front_co]):
    """The input of a graph that takes the sound: its name, and what makes of a sound what it takes.

    copies: rows that the graph takes at once, no more and no fewer, and that a sound is therefore copied to
    """

    name: str
    front: Front_co
    copies: int = 1

    @property
    def border(self) -> Literal["stft", "features"]:
        """The tensor between front end and classifier: the STFT, where the features begin with it."""
        return "features" if self.front.analysis is None else "stft"

    @cached_property
    def _stage(self) -> tuple[onnx.ModelProto, Dims]:
        return self.front.model()

    @property
    def dims(self) -> Dims:
        """Dims of the border tensor."""
        return self._stage[1]

    def frontend(self) -> onnx.ModelProto:
        """frontend.onnx, "waveform" -> the border tensor; a copy, since writing changes a graph."""
        return copy.deepcopy(self._stage[0])


def words_of(name: str) -> str:
    """A tensor's name as words: valenceArousal, valence_arousal, valence-arousal."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def dims_of(value: Any) -> list[int | str]:
    """Dims of an input: numbers, names, or "?"."""
    return [dim.dim_value or dim.dim_param or "?" for dim in value.type.tensor_type.shape.dim]


def feature_input(value: Any, path: Path, front: Frontend, window: int, sound: FloatArray) -> Entry[Frontend]:
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
    return Entry(value.name, front, copies)


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
