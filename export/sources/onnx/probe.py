"""A graph with all that is computed on the way to its scores: tensors, their shapes, gradients and steps."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch

from ....errors import SourceError
from ....runtime.audio.lengths import samples_of
from ....runtime.values.arrays import FloatArray
from ...onnx_modules.module import GraphModule, Seen
from ...source.exportable import LIMIT
from .feature_map import ShownTensor
from .file import OnnxSource
from .graph import needed

# Steps that are estimated are off by less than this.
_OFF = 0.15
_TAP = re.compile(r"(?P<tensor>.+)@(?:(?P<skipped>\d+)\+)?(?P<axes>[ctf]{2,3})(?P<rows>\d*)", re.DOTALL)


@dataclass(frozen=True)
class Place:
    """How a tensor of the graph lies over time and frequency.

    Attributes:
        tensor: Its name.
        axes: Their order after the batch: c channels, t time, f frequency.
        rows: Rows of frequency of tokens, whose first two axes are one in the tensor; 0: it has no tokens.
        skipped: Tokens before the first of the grid.
        patches: Of tokens: the map of that grid before them, whose rows tell better where theirs lie, since
            attention spreads what a row answers to over all others.

    """

    tensor: str
    axes: str
    rows: int = 0
    skipped: int = 0
    patches: Place | None = None

    @property
    def tap(self) -> str:
        """The tap's name, which says all of it: "relu_3@ctf", or of tokens "norm@2+ftc12"."""
        return f"{self.tensor}@{f'{self.skipped}+{self.axes}{self.rows}' if self.rows else self.axes}"

    @classmethod
    def of(cls, tap: str) -> Place | None:
        """The place that a tap's name says; None where it is none."""
        match = _TAP.fullmatch(tap)
        if match is None:
            return None
        return cls(match["tensor"], match["axes"], int(match["rows"] or 0), int(match["skipped"] or 0))

    def sizes(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """C, T' and F' of a tensor of this shape; zeros where the axes do not fit."""
        if self.rows:
            return (
                (shape[2], (shape[1] - self.skipped) // self.rows, self.rows)
                if len(shape) == 3
                else (0, 0, 0)
            )
        if len(shape) != len(self.axes) + 1:
            return 0, 0, 0
        each = dict(zip(self.axes, shape[1:], strict=True))
        return each["c"], each["t"], each.get("f", 1)


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
        trimmed = onnx.ModelProto()
        trimmed.CopyFrom(graph.model)
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

    def laid_out(self, waveform: torch.Tensor, place: Place) -> torch.Tensor:
        """The tensor at a place without tokens for one sound [1, N]: [1, C, T', F']."""
        value = self.values(waveform[0].numpy(), [place.tensor])[place.tensor]
        return value.permute(0, *(1 + place.axes.index(axis) for axis in "ctf"))

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

    def shown(self, places: Sequence[Place]) -> tuple[list[ShownTensor], list[float]]:
        """The tensors at these places as a stage shows them, and the samples that one of their cells spans.

        Raises SourceError where the graph has no such tensor, or its axes are others.
        """
        random = np.random.default_rng(0)
        noise = (0.1 * random.standard_normal(self.samples)).astype(np.float32)
        # Some may be halves or bytes in the file.
        kind = "float32" if self.exact else "another"
        long = self.shapes(noise)
        short = long if self.fixed else self.shapes(noise[: self.samples * 3 // 4])
        tensors, steps = [], []
        for number, place in enumerate(places):
            sizes, less = (place.sizes(one.get(place.tensor, ())) for one in (long, short))
            if not sizes[1] or less[1] > sizes[1]:
                raise SourceError(
                    f"{self.path}: has no tensor {place.tensor!r} with the axes {place.axes!r} after the "
                    "batch"
                )
            still = less[1] == sizes[1]
            channels, cells, rows = sizes
            frames: int | str = cells if still else f"frames_map{number}"
            patch = None
            if self.stretch is not None:
                frames = f"frames_map{number}"
                patch = cells, cells * self.stretch.hop // self.stretch.frames
            tensors.append(
                ShownTensor(
                    place.tap, place.tensor, place.axes, channels, frames, rows, place.skipped, kind, patch
                )
            )
            if still:
                steps.append(self.filled / sizes[1])
            else:
                steps.append((self.samples - self.samples * 3 // 4) / (sizes[1] - less[1]))
        return tensors, self._snapped(places, steps)

    def _snapped(self, places: Sequence[Place], steps: Sequence[float]) -> list[float]:
        """Steps as strides make them: the finest exact, the others multiples of each other where they can be.

        Lengths in cells are whole numbers, so steps by two lengths are some per cent off.
        """
        snapped = list(steps)
        order = sorted(range(len(steps)), key=lambda index: steps[index])
        for finer, index in zip([None, *order], order, strict=False):
            if finer is None:
                snapped[index] = self._exact_step(places[index], steps[index])
                continue
            times = steps[index] / snapped[finer]
            if abs(times - round(times)) <= _OFF * times:
                snapped[index] = snapped[finer] * round(times)
        return snapped

    def _exact_step(self, place: Place, step: float) -> float:
        """By how many samples sound is longer at the next cell: between two lengths at which one is added."""
        start = self.samples // 2
        if self.fixed or start + 3 * step > self.samples:
            return step
        silence = np.zeros(self.samples, np.float32)

        def cells(samples: int) -> int:
            return place.sizes(self.shapes(silence[:samples])[place.tensor])[1]

        before, edges = cells(start), []
        if cells(self.samples) == before:
            return step
        for count in (before + 1, before + 2):
            low, high = start, self.samples
            high = min(high, int(start + 3 * step))
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if cells(middle) >= count else (middle, high)
            edges.append(high)
        return float(edges[1] - edges[0])
