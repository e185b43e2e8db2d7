"""What a graph takes beside the sound: constants, states, lengths and masks. Never torch."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from ....errors import SourceError
from ....runtime.bundle.nodes import Nodes
from ....runtime.values.arrays import Array
from ...frontends.frontend import Frontend
from .entry import Entry, dims_of, words_of

# What names of inputs say, as whole words.
_RATE = re.compile(r"(^|_)(sr|fs|rate|sample_?rate|sampling_?rate)($|_)")
_LENGTH = re.compile(r"(^|_)(len|lens|length|lengths|num_samples|num_frames|n_samples|n_frames)($|_)|_len$")
_MASK = re.compile(r"(^|_)mask($|_)")
# A padding mask marks what is no sound.
_PADDING = re.compile(r"(^|_)pad(ding)?($|_)")
_STATE = re.compile(r"(^|_)(h|c|h\d|c\d|hn|cn|hidden|state|states|cache|context|memory)($|_|\d)")


@dataclass(frozen=True)
class GivenInputs:
    """What the user says of a graph's inputs, as options write it.

    sound: the name of that which takes the sound, or its features
    constants: NAME -> numbers with commas
    states: NAME -> "zeros", "ones" or a number, for all its values, at the beginning of every window; "carry"
        or "carry:OUTPUT": zeros at the beginning of a sound, then what that output gave for the window before
    context_seconds: of the sound before a window, which the graph takes in front of it
    """

    sound: str | None = None
    constants: Mapping[str, str] | None = None
    states: Mapping[str, str] | None = None
    context_seconds: float = 0.0


@dataclass(frozen=True)
class SideInput(ABC):
    """An input beside the sound; kind: its type, one of NumPy's names."""

    name: str
    kind: str

    @abstractmethod
    def __str__(self) -> str:
        """What it is filled with, in words."""

    @abstractmethod
    def value(self, fed: Array, entry: Entry[Frontend]) -> Array:
        """Its values beside `fed`, what `entry` feeds the graph for one sound."""

    @abstractmethod
    def nodes(self, graph: Nodes, taken: str, entry: Entry[Frontend]) -> str:
        """The same in a graph, whose input of sound is the tensor `taken`."""

    @property
    def tensor_type(self) -> int:
        """Its type, one of TensorProto's."""
        return int(helper.np_dtype_to_tensor_dtype(np.dtype(self.kind)))


@dataclass(frozen=True)
class Filled(SideInput):
    """The same values for every window: a constant, or a recurrent state at its beginning."""

    values: Array
    words: str

    def __str__(self) -> str:
        return self.words

    def value(self, fed: Array, entry: Entry[Frontend]) -> Array:
        """The values."""
        return self.values

    def nodes(self, graph: Nodes, taken: str, entry: Entry[Frontend]) -> str:
        """A constant; a single number plus nothing of the sound's length.

        Graphs choose their branches by a sample rate. Onnxruntime 1.32 crashes where it folds branches in
        branches away, which it does of what it knows before the sound.
        """
        values = graph.constant(self.values, self.kind)
        if self.values.size > 1 or self.kind == "bool":
            return values
        none = graph.add("Mul", graph.size(taken, entry.front.time_axis), graph.whole(0))
        if not self.values.ndim:
            none = graph.over("Squeeze", none, [0])
        return graph.add("Add", values, graph.cast(none, self.tensor_type))


@dataclass(frozen=True)
class Carried(Filled):
    """A recurrent state: zeros at the beginning of a sound, then what `after` gave for the window before.

    after: an output
    """

    after: str


@dataclass(frozen=True)
class Length(SideInput):
    """How long the sound is: samples or frames as an integer, the share of the longest as a float (1)."""

    rank: int

    def __str__(self) -> str:
        return "the sound's length" if np.dtype(self.kind).kind in "iu" else "1, the whole length"

    def value(self, fed: Array, entry: Entry[Frontend]) -> Array:
        """One number a sound."""
        length = fed.shape[entry.front.time_axis] if np.dtype(self.kind).kind in "iu" else 1
        return np.full((len(fed) if entry.front.batched else 1,) if self.rank else (), length, self.kind)

    def nodes(self, graph: Nodes, taken: str, entry: Entry[Frontend]) -> str:
        """From the dims of what the graph is fed."""
        whole = np.dtype(self.kind).kind in "iu"
        length = graph.size(taken, entry.front.time_axis) if whole else graph.constant([1.0])
        if not self.rank:
            length = graph.over("Squeeze", length, [0])
        elif entry.front.batched:
            length = graph.add("Expand", length, graph.size(taken, 0))
        return graph.cast(length, self.tensor_type)


@dataclass(frozen=True)
class MaskInput(SideInput):
    """Which samples or frames are sound: all. fill: 1 where a mask marks sound, 0 where it marks padding."""

    fill: int

    def __str__(self) -> str:
        return "ones: all of it is sound" if self.fill else "zeros: nothing is padding"

    def value(self, fed: Array, entry: Entry[Frontend]) -> Array:
        """[B, T]."""
        return np.full((len(fed), fed.shape[entry.front.time_axis]), self.fill, self.kind)

    def nodes(self, graph: Nodes, taken: str, entry: Entry[Frontend]) -> str:
        """From the dims of what the graph is fed."""
        shape = graph.add("Concat", graph.size(taken, 0), graph.size(taken, entry.front.time_axis), axis=0)
        return graph.cast(graph.add("Expand", graph.constant(float(self.fill)), shape), self.tensor_type)


def graph_inputs(model: onnx.ModelProto) -> list[Any]:
    """The graph's inputs but its weights, which older files list among them."""
    weights = {weight.name for weight in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def split_inputs(
    model: onnx.ModelProto, path: Path, rate: int, given: GivenInputs
) -> tuple[Any, tuple[SideInput, ...]]:
    """The input that takes the sound, and what the others are filled with.

    Raises:
        SourceError: It is not clear which one takes the sound, or what another is filled with.

    """
    inputs = {value.name: value for value in graph_inputs(model)}
    told = {**(given.constants or {}), **(given.states or {})}
    for name in (*told, *([given.sound] if given.sound is not None else [])):
        if name not in inputs:
            raise SourceError(f"{path}: has no input {name!r}; it has {', '.join(inputs) or 'none'}")
    if given.sound in told:
        raise SourceError(f"{path}: its input {given.sound!r} cannot be the sound and a constant or state")
    sides: list[SideInput] = []
    unknown = []
    for name, value in inputs.items():
        if name == given.sound:
            continue
        side = _told(value, model, path, given) if name in told else meant(value, rate)
        # Of one input alone the name does not matter.
        if side is None or (len(inputs) == 1 and name not in told):
            unknown.append(name)
        else:
            sides.append(side)
    if given.sound is None and len(unknown) == 1:
        return inputs[unknown[0]], tuple(sides)
    if given.sound is not None and not unknown:
        return inputs[given.sound], tuple(sides)
    raise SourceError(_which(path, inputs, unknown, given))


def meant(value: Any, rate: int) -> SideInput | None:
    """What an input beside the sound is filled with, where its name, type and dims leave no doubt.

    rate: of the sound, in Hz
    """
    name, dims = value.name, dims_of(value)
    kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    word = words_of(name)
    single = not dims or (len(dims) == 1 and not (isinstance(dims[0], int) and dims[0] > 1))
    if single and _RATE.search(word):
        return Filled(name, kind.name, np.full([1] * len(dims), rate, kind), f"{rate}, the sample rate")
    if single and kind.kind in "iuf" and _LENGTH.search(word):
        return Length(name, kind.name, len(dims))
    if len(dims) == 2 and _MASK.search(word):
        return MaskInput(name, kind.name, 0 if _PADDING.search(word) else 1)
    return None


def is_state(value: Any, model: onnx.ModelProto) -> bool:
    """Whether an input looks like a recurrent state: by its name, or since an output has its dims."""
    dims = dims_of(value)
    twins = [one for one in model.graph.output if len(dims) > 1 and dims_of(one) == dims]
    return bool(_STATE.search(value.name.lower())) or len(twins) == 1


def _told(value: Any, model: onnx.ModelProto, path: Path, given: GivenInputs) -> Filled:
    """An input with the values that its user gives. Raises SourceError where they do not fit."""
    name = value.name
    kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    shape = [one if isinstance(one, int) else 1 for one in dims_of(value)]
    if name in (given.states or {}):
        text = (given.states or {})[name]
        if text == "carry" or text.startswith("carry:"):
            after = text.partition(":")[2] or _twin(value, model, path)
            if after not in {one.name for one in model.graph.output}:
                raise SourceError(f"{path}: has no output {after!r}, which --state {name}={text} names")
            words = f"zeros, then what {after!r} gave for the window before"
            return Carried(name, kind.name, np.zeros(shape, kind), words, after)
        words = {"zeros": "0", "ones": "1"}.get(text, text)
        option, meaning = "--state", "at the beginning of every window"
    else:
        words = text = (given.constants or {})[name]
        option, meaning = "--constant", "always"
    try:
        values = np.array([_number(word) for word in words.split(",")])
        filled = np.broadcast_to(values if len(values) > 1 else values[0], shape).astype(kind)
    except ValueError as error:
        raise SourceError(
            f"{path}: {option} {name}={text} does not fill its input {name!r} {kind} {shape}; give one "
            f"number{', zeros or ones' if option == '--state' else ''}, or as many as its last axis has"
        ) from error
    return Filled(name, kind.name, np.ascontiguousarray(filled), f"{text}, {meaning}")


def _twin(value: Any, model: onnx.ModelProto, path: Path) -> str:
    """The only output that may be what a state has become, by type and dims. Raises SourceError."""
    dims, kind = dims_of(value), value.type.tensor_type.elem_type

    def alike(one: Any) -> bool:
        other = dims_of(one)
        return len(other) == len(dims) and not any(
            isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(dims, other, strict=True)
        )

    twins = [
        str(one.name) for one in model.graph.output if one.type.tensor_type.elem_type == kind and alike(one)
    ]
    if len(twins) != 1:
        raise SourceError(
            f"{path}: --state {value.name}=carry: {', '.join(twins) or 'none'} of its outputs may be what it "
            f"has become; name it by --state {value.name}=carry:OUTPUT"
        )
    return twins[0]


def _number(word: str) -> float | int:
    """A number, or true and false."""
    word = word.strip().lower()
    if word in {"true", "false"}:
        return int(word == "true")
    return int(word) if re.fullmatch(r"[+-]?\d+", word) else float(word)


def _which(
    path: Path, inputs: Mapping[str, onnx.ValueInfoProto], unknown: Sequence[str], given: GivenInputs
) -> str:
    """The message where inputs are left without a meaning."""
    shown = ", ".join(
        f"{name!r} {helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)} "
        f"[{', '.join(map(str, dims_of(value)))}]"
        for name, value in inputs.items()
    )
    if not inputs or (given.sound is None and not unknown):
        return f"{path}: takes {shown or 'nothing'}, none of them sound; name the sound's by --input"
    name = unknown[-1]
    sound = "" if given.sound is not None else f"say which is the sound by --input {unknown[0]}, and "
    return (
        f"{path}: takes {len(inputs)} inputs ({shown}); {sound}what the others hold by --constant "
        f"{name}=NUMBER or, for a recurrent state, --state {name}=zeros"
    )
