"""Feature maps of a graph as taps: where their cells lie, and the listenable STFT whose frames they hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import torch

from ....errors import SourceError
from ....runtime.audio.lengths import samples_of
from ....runtime.bundle.manifest import AnalysisSpec
from ...graphs.stft import stft
from ...models.scales import Scale, measure_scales
from ...source.source import Source
from .feature_map import ShownTensor
from .file import OnnxSource
from .probe import GraphProbe

# The listenable STFT's hop by its n_fft, where a waveform graph leaves it open.
LEAST_HOP, _MOST_HOP = 6, 2
# Steps that are estimated are off by less than this.
_OFF = 0.15
_TAP = re.compile(r"(?P<tensor>.+)@(?:(?P<skipped>\d+)\+)?(?P<axes>[ctf]{2,3})(?P<rows>\d*)", re.DOTALL)


@dataclass(frozen=True)
class TensorPlace:
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
    patches: TensorPlace | None = None

    @property
    def tap(self) -> str:
        """The tap's name, which says all of it: "relu_3@ctf", or of tokens "norm@2+ftc12"."""
        return f"{self.tensor}@{f'{self.skipped}+{self.axes}{self.rows}' if self.rows else self.axes}"

    @classmethod
    def of(cls, tap: str) -> TensorPlace | None:
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


def shown_at(probe: GraphProbe, places: Sequence[TensorPlace]) -> tuple[list[ShownTensor], list[float]]:
    """The tensors at these places as a stage shows them, and the samples that one of their cells spans.

    Raises SourceError where the graph has no such tensor, or its axes are others.
    """
    random = np.random.default_rng(0)
    noise = (0.1 * random.standard_normal(probe.samples)).astype(np.float32)
    # Some may be halves or bytes in the file.
    kind = "float32" if probe.exact else "another"
    long = probe.shapes(noise)
    short = long if probe.fixed else probe.shapes(noise[: probe.samples * 3 // 4])
    tensors, steps = [], []
    for number, place in enumerate(places):
        sizes, less = (place.sizes(one.get(place.tensor, ())) for one in (long, short))
        if not sizes[1] or less[1] > sizes[1]:
            raise SourceError(
                f"{probe.path}: has no tensor {place.tensor!r} with the axes {place.axes!r} after the batch"
            )
        still = less[1] == sizes[1]
        channels, cells, rows = sizes
        frames: int | str = cells if still else f"frames_map{number}"
        patch = None
        if probe.stretch is not None:
            frames = f"frames_map{number}"
            patch = cells, cells * probe.stretch.hop // probe.stretch.frames
        tensors.append(
            ShownTensor(
                place.tap, place.tensor, place.axes, channels, frames, rows, place.skipped, kind, patch
            )
        )
        if still:
            steps.append(probe.filled / sizes[1])
        else:
            steps.append((probe.samples - probe.samples * 3 // 4) / (sizes[1] - less[1]))
    return tensors, _snapped(probe, places, steps)


def _snapped(probe: GraphProbe, places: Sequence[TensorPlace], steps: Sequence[float]) -> list[float]:
    """Steps as strides make them: the finest exact, the others multiples of each other where they can be.

    Lengths in cells are whole numbers, so steps by two lengths are some per cent off.
    """
    snapped = list(steps)
    order = sorted(range(len(steps)), key=lambda index: steps[index])
    for finer, index in zip([None, *order], order, strict=False):
        if finer is None:
            snapped[index] = _exact_step(probe, places[index], steps[index])
            continue
        times = steps[index] / snapped[finer]
        if abs(times - round(times)) <= _OFF * times:
            snapped[index] = snapped[finer] * round(times)
    return snapped


def _exact_step(probe: GraphProbe, place: TensorPlace, step: float) -> float:
    """By how many samples sound is longer at the next cell: between two lengths at which one is added."""
    start = probe.samples // 2
    if probe.fixed or start + 3 * step > probe.samples:
        return step
    silence = np.zeros(probe.samples, np.float32)

    def cells(samples: int) -> int:
        return place.sizes(probe.shapes(silence[:samples])[place.tensor])[1]

    before, edges = cells(start), []
    if cells(probe.samples) == before:
        return step
    for count in (before + 1, before + 2):
        low, high = start, probe.samples
        high = min(high, int(start + 3 * step))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if cells(middle) >= count else (middle, high)
        edges.append(high)
    return float(edges[1] - edges[0])


def suited(analysis: AnalysisSpec, step: float) -> AnalysisSpec:
    """The listenable STFT with a hop of which a cell of the finest map, `step` samples, holds a number.

    At least two, since finer maps are left out where there are coarser ones.
    """
    usual = analysis.n_fft // 4
    most = max(1, int(step * LEAST_HOP / analysis.n_fft))
    least = max(min(2, most), int(np.ceil(step * _MOST_HOP / analysis.n_fft)))
    choices = range(least, max(most, least) + 1)

    def misfit(count: int) -> tuple[float, float]:
        hop = step / count
        return round(abs(hop - round(hop)) / hop, 3), abs(np.log(hop / usual))

    hop = round(step / min(choices, key=misfit))
    return msgspec.structs.replace(analysis, hop=hop)


def scales_at(
    source: Source,
    graph: OnnxSource,
    probe: GraphProbe,
    places: Sequence[TensorPlace],
    steps: Sequence[float],
) -> list[Scale]:
    """Where the maps' cells lie: their stride by how they follow the length, their rows by tones.

    Rows of tokens lie where those of their patches do.
    """
    window = samples_of(source.window.seconds, source.sample_rate)
    fixed = graph.original.entry.front.samples is not None
    least = samples_of(source.window.minimum_seconds, source.sample_rate)
    samples = window if fixed else max(least, min(window, source.sample_rate))
    spans = {one.tap: step for one, step in zip(graph.read, steps, strict=True)}

    def taps_of(waveform: torch.Tensor) -> dict[str, torch.Tensor]:
        features = (
            stft(waveform, source.analysis) if source.rescore == "spectrogram" else source.frontend(waveform)
        )
        named = dict(zip(source.taps, source.classifier(features)[1:], strict=True))
        for place in places:
            if place.patches is not None:
                tensor, axes = place.patches.tensor, place.patches.axes
                value = probe.values(waveform[0].numpy(), [tensor])[tensor]
                named[place.tap] = value.permute(0, *(1 + axes.index(axis) for axis in "ctf"))
        return {tap: named[tap] for tap in spans}

    measured = measure_scales(taps_of, 1 + samples // source.analysis.hop, samples, source.sample_rate)
    return [
        msgspec.structs.replace(
            scale,
            channels=int(source.taps[scale.tap][1]),
            stride=max(1, round(spans[scale.tap] / source.analysis.hop)),
        )
        for scale in measured
    ]
