"""A graph with all that is computed on the way to its scores: tensors, their shapes, gradients and steps."""

from __future__ import annotations

import copy
from collections.abc import Collection

import numpy as np
import torch

from ....errors import SourceError
from ....runtime.audio.lengths import samples_of
from ....runtime.values.arrays import FloatArray
from ...onnx_modules.module import GraphModule, Seen
from ...source.exportable import LIMIT
from .file import OnnxSource
from .graph import needed


class GraphProbe:
    """The graph of a source in PyTorch, one sound at a time, with all that is computed on the way."""

    def __init__(self, graph: OnnxSource) -> None:
        """Take the part of the graph that its scores need. Raises SourceError for unsupported operators."""
        self.path, self.entry, self.original = graph.original.path, graph.original.entry, graph.original
        self.stretch = self.entry.front.stretch
        if self.entry.front.join is not None and (
            self.stretch is None or self.stretch.hop > self.stretch.frames
        ):
            raise SourceError(
                f"{self.path}: takes patches with gaps between them, so its feature maps do not cover the "
                "sound; training needs patches that meet"
            )
        trimmed = copy.deepcopy(graph.model)
        scores = graph.original.output.name
        nodes = needed(trimmed.graph.node, scores)
        del trimmed.graph.node[:]
        trimmed.graph.node.extend(nodes)
        del trimmed.graph.output[:]
        trimmed.graph.output.add().name = scores
        self.module = GraphModule(trimmed, self.path)
        self.exact = graph.parity_limit == LIMIT
        self.samples = samples_of(graph.window.seconds, graph.sample_rate)
        self.fixed = self.entry.front.samples is not None
        # Features of a fixed number of frames may be filled by more sound than a window.
        self.filled = self.entry.front.window or self.samples
        if self.stretch is not None:
            # Maps are looked for in one patch.
            self.samples, self.fixed = self.stretch.samples, True
            self.filled = self.stretch.frames * self.stretch.step

    def shapes(self, sound: FloatArray) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor of real numbers, in the order in which they are computed."""
        shapes: dict[str, tuple[int, ...]] = {}

        def seen(name: str, value: torch.Tensor) -> None:
            if value.is_floating_point():
                shapes[name] = tuple(value.shape)

        self._run(sound, seen)
        return shapes

    def values(self, sound: FloatArray, names: Collection[str]) -> dict[str, torch.Tensor]:
        """The tensors of these names."""
        values: dict[str, torch.Tensor] = {}

        def seen(name: str, value: torch.Tensor) -> None:
            if name in names:
                values[name] = value

        self._run(sound, seen)
        return values

    def influential(self, sound: FloatArray, first: int) -> set[str]:
        """Tensors on which the scores depend beyond their `first` rows, by the gradient.

        An AST's last tokens are computed for every patch, and only those of its classes are read.
        Raises SourceError where the scores have no gradient.
        """
        values: dict[str, torch.Tensor] = {}

        def seen(name: str, value: torch.Tensor) -> None:
            if value.requires_grad and value.dim() >= 3:
                values[name] = value

        (scores,) = self.module.run(self._inputs(sound, differentiable=True), seen)
        if not scores.requires_grad:
            raise SourceError(f"{self.path}: its scores have no gradient by the sound, so nothing is learnt")
        # Squared: probabilities add up to one, of which there is no gradient.
        gradients = torch.autograd.grad(scores.square().sum(), list(values.values()), allow_unused=True)
        beyond = {
            name: one[:, first if one.shape[1] > first else 0 :]
            for name, one in zip(values, gradients, strict=True)
            if one is not None
        }
        return {name for name, one in beyond.items() if bool(one.any())}

    @torch.no_grad()
    def _run(self, sound: FloatArray, seen: Seen) -> None:
        self.module.run(self._inputs(sound), seen)

    def _inputs(self, sound: FloatArray, *, differentiable: bool = False) -> dict[str, torch.Tensor]:
        """What the graph takes, by name."""
        given = self.original.inputs(self.entry.front.rows(sound))
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in given.items()}
        for one in tensors.values():
            one.requires_grad_(differentiable and one.is_floating_point())
        return tensors
