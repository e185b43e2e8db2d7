"""A front end that is a graph of its own: front.onnx, waveform -> features. Never torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from ....errors import SourceError
from ....printable import first_line
from ....runtime.bundle.graphs import fill_weights
from ....runtime.bundle.nodes import Nodes
from ....runtime.inference.onnx_runtime import cpu_session
from ....runtime.values.arrays import Array, FloatArray
from ...bundle.sounds import synthesise
from ...frontends.frontend import Frontend
from ...graphs.files import Dims
from .entry import Entry
from .graph import input_type, loop, needed, prepared, renamed
from .original import opened
from .reading import opset_of, read_model
from .side_inputs import GivenInputs, split_inputs
from .waves import Waves, wave_input

# Sounds that tell which dims of the features follow the length, in seconds.
_TOLD = (1.0, 1.5)


@dataclass(frozen=True, kw_only=True)
class FrontGraph(Frontend):
    """Waveforms through a graph from a file.

    wave: its input; output: the tensor with the features
    kind: its type
    axes: where the classifier has axes of 1 between the front end's; None: as the front end gives them
    dtype: of the classifier's input
    """

    path: Path
    rate: int
    graph: onnx.ModelProto = field(repr=False, compare=False)
    session: Any = field(repr=False, compare=False)
    wave: Entry[Waves]
    output: str
    kind: str = "float32"
    axes: tuple[int, ...] | None = None
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float32))

    def __str__(self) -> str:
        return self.path.name

    @property
    def time_axis(self) -> int:
        """The axis that is longer for a longer sound."""
        shapes = [
            self.rows(synthesise(1, round(seconds * self.rate), self.rate, 0)[0]).shape for seconds in _TOLD
        ]
        moved = [axis for axis, (one, other) in enumerate(zip(*shapes, strict=True)) if one != other]
        return moved[0] if moved else len(shapes[0]) - 1

    def suited(self, dims: Sequence[int | str], dtype: npt.DTypeLike) -> FrontGraph:
        """With axes of 1 where the classifier has them, and its type."""
        ones = tuple(axis for axis, size in enumerate(dims) if axis and size == 1)
        return replace(self, axes=ones, dtype=np.dtype(dtype))

    def rows(self, sound: FloatArray) -> Array:
        """By the file itself in onnxruntime."""
        features = self._features(sound[None])
        if self.axes is not None:
            inner = [size for size in features.shape[1:] if size != 1]
            features = features.reshape(1, *inner)
            for axis in self.axes:
                if axis <= features.ndim:
                    features = np.expand_dims(features, axis)
        return np.asarray(features, self.dtype)

    def _features(self, sounds: FloatArray) -> Array:
        """Sounds [B, N] -> [B, ...], one by one."""
        if self.samples is not None:
            missing = max(0, self.samples - sounds.shape[1])
            sounds = np.pad(sounds[:, : self.samples], ((0, 0), (0, missing)))
        try:
            each = [
                np.asarray(self.session.run([self.output], {self.wave.name: self.wave.front.rows(sound)})[0])
                for sound in sounds
            ]
        except Exception as error:
            # onnxruntime's errors have no common base.
            raise SourceError(
                f"{self.path}: fails on {sounds.shape[1]} samples ({first_line(error)})"
            ) from error
        if self.wave.front.batched and each[0].shape[:1] != (1,):
            raise SourceError(
                f"{self.path}: gives {list(each[0].shape)} for one sound, not [1, ...]: a row a sound "
                "(patches are described by a TOML file, docs/frontends.md)"
            )
        return np.concatenate(each) if self.wave.front.batched else np.stack(each)

    @property
    def dims(self) -> Dims:
        """Dims of what it gives: numbers where they do not follow the sound's length."""
        shapes = [
            self._features(synthesise(1, round(seconds * self.rate), self.rate, 0)).shape for seconds in _TOLD
        ]
        return [
            "batch",
            *(
                one if one == other else f"frames_{axis}"
                for axis, (one, other) in enumerate(zip(*(shape[1:] for shape in shapes), strict=True))
            ),
        ]

    def model(self) -> tuple[onnx.ModelProto, Dims]:
        """The graph with the names of a stage; looped over the batch where it takes one sound at a time."""
        dims = self.dims
        whole = self._stage(dims, one_by_one=not self.wave.front.batched)
        if self.wave.front.batched and not self._takes_batches(whole):
            whole = self._stage(dims, one_by_one=True)
        return whole, dims

    def _takes_batches(self, stage: onnx.ModelProto) -> bool:
        sounds = synthesise(2, self.samples or round(_TOLD[0] * self.rate), self.rate, 0)
        try:
            together = cpu_session(stage.SerializeToString()).run(["features"], {"waveform": sounds})[0]
        except Exception:
            # Whatever stands in the way of a batch: the loop serves every graph.
            return False
        alone = self._features(sounds)
        return together.shape == alone.shape and bool(np.allclose(together, alone, rtol=1e-4, atol=1e-5))

    def _stage(self, dims: Dims, *, one_by_one: bool) -> onnx.ModelProto:
        built = prepared(self.graph)
        taken, given = renamed(self.wave.name), renamed(self.output)
        graph = Nodes(opset_of(built))
        sound = "waveform"
        if self.samples is not None:
            padded = graph.add("Pad", sound, graph.whole(0, 0, 0, self.samples))
            sound = graph.part(padded, 1, 0, self.samples)
        row = self.wave.front.row_nodes(graph, sound)
        before, nodes = list(graph.nodes), list(built.graph.node)
        if one_by_one:
            after = Nodes(graph.opset, "earmark/after")
            one = after.over("Squeeze", given, [0]) if self.wave.front.batched else given
            graph.constants |= after.constants
            kind = int(helper.np_dtype_to_tensor_dtype(np.dtype(self.kind)))
            end = helper.make_tensor_value_info(one, kind, None)
            body = [*nodes, *after.nodes]
            nodes = [
                loop(body, [row], self.wave, input_type(built.graph, taken), {"earmark/all": end}, graph)
            ]
            given = "earmark/all"
        else:
            nodes.insert(0, helper.make_node("Identity", [row], [taken]))
        nodes.append(helper.make_node("Cast", [given], ["features"], to=TensorProto.FLOAT))
        stage = helper.make_graph(
            needed([*before, *nodes], "features"),
            "frontend",
            [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", "samples"])],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, list(dims))],
            [*(weight for weight in built.graph.initializer if weight.name != taken), *graph.initializers()],
        )
        stage.sparse_initializer.extend(built.graph.sparse_initializer)
        built.graph.CopyFrom(stage)
        return built

    def row_nodes(self, graph: Nodes, tensor: str) -> str:
        """Axes of 1 where the classifier has them, and its type."""
        if self.axes is not None:
            ones = [axis for axis, size in enumerate(self.dims) if axis and size == 1]
            if ones:
                tensor = graph.over("Squeeze", tensor, ones)
            if self.axes:
                tensor = graph.over("Unsqueeze", tensor, self.axes)
        if self.dtype == np.float32:
            return tensor
        return graph.cast(tensor, int(helper.np_dtype_to_tensor_dtype(self.dtype)))


def read_front(path: Path, rate: int) -> FrontGraph:
    """The front end in a file, for waveforms of `rate` Hz.

    Raises SourceError where it is none, or where it gives several tensors or none that is float.
    """
    model = read_model(path)
    value, sides = split_inputs(model, path, rate, GivenInputs())
    wave = wave_input(value, model, path, rate, None)
    if sides or wave.copies > 1:
        raise SourceError(
            f"{path}: takes {', '.join([value.name, *(side.name for side in sides)])}, {wave.copies} at "
            "once; a front end takes one sound, and nothing beside it: export it again so"
        )
    fill_weights(model, path)
    if len(model.graph.output) != 1:
        names = ", ".join(value.name for value in model.graph.output)
        raise SourceError(
            f"{path}: gives {names}; a front end gives one tensor: export it with the features alone"
        )
    session = opened(model, path)
    output = model.graph.output[0].name
    kind = helper.tensor_dtype_to_np_dtype(model.graph.output[0].type.tensor_type.elem_type)
    if kind.kind != "f":
        raise SourceError(f"{path}: its output {output!r} is {kind}; features of a front end are float")
    return FrontGraph(
        path=path,
        rate=rate,
        graph=model,
        session=session,
        wave=wave,
        output=output,
        kind=kind.name,
        samples=wave.front.samples,
    )
