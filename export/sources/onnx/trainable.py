"""A graph from a file as a `Source`: differentiable for training, exported as the file has it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import onnx
import torch
from torch import nn

from ....errors import ParityError, SourceError
from ....runtime.audio.lengths import samples_at_least, samples_of
from ....runtime.bundle.manifest import StageSpec
from ....runtime.inference.onnx_runtime import cpu_session
from ....runtime.inference.scores import scores_of
from ....runtime.values.arrays import FloatArray
from ...bundle.sounds import parity_lengths, synthesise
from ...fused.check import difference
from ...onnx_modules.module import GraphModule
from ...source.exportable import LIMIT, Exportable
from ...source.source import Source, explaining_stages
from .file import LENGTHS, OnnxSource
from .maps import places_of
from .places import scales_at, shown_at, suited
from .probe import GraphProbe


class _InRuntime(nn.Module):
    """A graph as ONNX Runtime computes it, for references: without gradients."""

    def __init__(self, model: onnx.ModelProto, folder: Path) -> None:
        super().__init__()
        self._session = cpu_session(model.SerializeToString(), folder.resolve())

    def forward(self, given: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """The graph's outputs, in order; a single one by itself."""
        fed = {self._session.get_inputs()[0].name: given.numpy()}
        outputs = tuple(torch.from_numpy(one) for one in self._session.run(None, fed))
        return outputs if len(outputs) > 1 else outputs[0]


class _Frontend(nn.Module):
    """The front end's graph: waveform [B, N] -> what the classifier takes."""

    def __init__(self, graph: OnnxSource) -> None:
        super().__init__()
        self.graph = GraphModule(graph.original.entry.frontend(), graph.original.path)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """The graph's only output."""
        return self.graph(waveform)[0]  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True)
class GraphSource(Source):
    """A graph whose decoder or interpreter is trained in PyTorch; the bundle gets the graph as it is.

    graph: what it was made of, with the tensors that are shown as taps
    """

    tools: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript", "onnxruntime")
    trained: ClassVar[bool] = False

    graph: OnnxSource = field(repr=False, compare=False)

    def forward_pass(
        self, waveform: torch.Tensor, precision: AbstractContextManager[Any] | None = None
    ) -> dict[str, torch.Tensor]:
        """As of every source, over sound of the length that the graph takes."""
        wanted = self.graph.original.entry.front.samples
        if wanted is not None and self.rescore == "spectrogram":
            missing = max(0, wanted - waveform.shape[1])
            waveform = nn.functional.pad(waveform[:, :wanted], (0, missing))
        return super().forward_pass(waveform, precision)

    def write_stages(self, folder: Path) -> list[StageSpec]:
        """The graph's own stages, and what was trained. Raises SourceError."""
        return [*self.graph.write_stages(folder), *explaining_stages(self, folder)]

    def rest(self) -> None:
        """Close the file's sessions."""
        self.graph.rest()
        self.__dict__.pop("_by_file", None)

    @cached_property
    def _by_file(self) -> Source:
        """The same source, its front end and its classifier as ONNX Runtime computes them, sound by sound."""
        folder = self.graph.original.path.parent
        return replace(
            self,
            frontend=_InRuntime(self.graph.original.entry.frontend(), folder),
            classifier=_InRuntime(self.graph.stage(one_by_one=True), folder),
        )

    def outputs(self, waveform: FloatArray) -> dict[str, FloatArray]:
        """What the file itself says of the classes, and PyTorch of what was trained over the file's maps."""
        answers = Source.outputs(self._by_file, waveform)
        del answers["logits"]
        return {**answers, **self.graph.outputs(waveform)}


def trainable(graph: OnnxSource, taps: Sequence[str] | None = None) -> GraphSource:
    """A graph as a source that a decoder or an interpreter is trained over.

    Args:
        graph: As `file.load` reads it. Its feature map, where one is named, is the one that is read.
        taps: Names of the taps that something trained reads; None: the maps are looked for, and measured.

    Raises:
        SourceError: The graph uses what PyTorch cannot differentiate, or shows no feature map.
        ParityError: In PyTorch it answers differently.

    """
    if graph.memory is not None:
        raise SourceError(
            f"{graph.original.path}: hands its state from window to window, which training does not; train "
            "with --state NAME=zeros"
        )
    probe = GraphProbe(graph)
    places = places_of(graph, probe, taps)
    shown, steps = shown_at(probe, places)
    analysis = graph.analysis
    if graph.rescore == "waveform" and steps:
        analysis = suited(analysis, min(steps))
    showing = replace(graph, read=tuple(shown), analysis=analysis)
    source = GraphSource(
        **{each.name: getattr(showing, each.name) for each in fields(Exportable)},
        graph=showing,
        frontend=_Frontend(showing).eval(),
        classifier=_classifier(showing),
        taps={one.tap: list(one.dims) for one in showing.taps},
    )
    source = _with_least(source)
    _check_parity(source)
    if taps is not None:
        return source
    return replace(source, scales=scales_at(source, showing, probe, places, steps))


def _classifier(graph: OnnxSource) -> GraphModule:
    """The classifier's stage in PyTorch, for batches where the graph takes them, else in a loop."""
    path = graph.original.path
    looped = GraphModule(graph.stage(one_by_one=True), path).eval()
    if graph.alone:
        return looped
    together = GraphModule(graph.stage(one_by_one=False), path).eval()
    samples = samples_of(graph.window.seconds, graph.sample_rate)
    sounds = torch.from_numpy(graph.fitted(synthesise(2, samples, graph.sample_rate, 0)))
    front = _Frontend(graph)
    with torch.no_grad():
        features = front(sounds)
        alone = [looped(one[None]) for one in features]
        try:
            both = together(features)
        except SourceError:
            # Whatever stands in the way of a batch: the loop serves every graph.
            return looped
    for each, answers in zip(zip(*alone, strict=True), both, strict=True):
        apart = torch.cat(each)
        if apart.shape != answers.shape or difference(answers.numpy(), apart.numpy()) > LIMIT:
            return looped
    return together


def _with_least(source: GraphSource) -> GraphSource:
    """The source with the shortest sound of which every map has a cell."""
    rate, window = source.sample_rate, source.window
    for seconds in (window.minimum_seconds, *(one for one in LENGTHS if one > window.minimum_seconds)):
        if seconds >= window.seconds:
            break
        sound = torch.from_numpy(synthesise(1, samples_at_least(seconds, rate), rate, 3))
        try:
            with torch.no_grad():
                tensors = source.forward_pass(sound)
        except SourceError:
            continue
        if all(tensors[tap].numel() for tap in source.taps):
            return replace(source, window=msgspec.structs.replace(window, minimum_seconds=seconds))
    return replace(source, window=msgspec.structs.replace(window, minimum_seconds=window.seconds))


def _check_parity(source: GraphSource) -> None:
    """PyTorch answers as ONNX Runtime does, for several lengths and batches. Raises ParityError."""
    window = samples_of(source.window.seconds, source.sample_rate)
    lengths = [length for length in parity_lengths(source) if length <= window]
    for length, batch in {(lengths[0], 1), (lengths[len(lengths) // 2], 3), (window, 2)}:
        sounds = synthesise(batch, length, source.sample_rate, length)
        theirs = source.graph.outputs(sounds)
        with torch.no_grad():
            logits = source.forward_pass(torch.from_numpy(sounds))["logits"].numpy()
        expected = theirs.get("logits")
        ours = logits
        if expected is None:
            expected, ours = theirs["scores"], scores_of(logits, source.task)
        far = difference(ours, expected)
        if not far <= source.parity_limit:
            raise ParityError(
                f"{source.graph.original.path}: in PyTorch it answers to {batch} x {length} samples by "
                f"{far:.1e} (relative) otherwise than in ONNX Runtime, above "
                f"{source.parity_limit:.0e}; a decoder cannot be trained over it"
            )
