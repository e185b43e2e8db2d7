"""Feature maps inside a graph: found by their shapes, placed in time and frequency by bursts and tones."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import torch

from ....errors import SourceError
from ....runtime.audio.lengths import samples_of
from ...models.mel import mel_points
from ...onnx_modules.module import GraphModule, Seen
from ...source.exportable import LIMIT, FloatArray
from .entry import FeatureInput
from .feature_map import ShownTensor
from .file import OnnxSource
from .graph import needed

# Bursts and tones that axes are recognised by.
_BURSTS, _TONES = 8, 10
# Of the correlation of a response's place along an axis with the burst's time or the tone's pitch.
_ORDERED = 0.9
# How far from its time a burst may be answered, as a part of the window.
_ASTRAY = 0.15
# Fewer channels are a spectrogram, fewer cells in time a summary.
_LEAST_CHANNELS, _LEAST_FRAMES = 4, 3
# Steps that are estimated are off by less than this.
_OFF = 0.15
# Tensors of one shape that are looked at: the last ones.
_OF_ONE_SHAPE = 3
# Maps that a decoder reads, the coarsest.
_MOST_MAPS = 4
# Tokens before those of the grid, such as a class token.
_MOST_SKIPPED = 4
_TAP = re.compile(r"(?P<tensor>.+)@(?:(?P<skipped>\d+)\+)?(?P<axes>[ctf]{2,3})(?P<rows>\d*)", re.DOTALL)
Array = npt.NDArray[np.float64]


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
        if self.entry.join is not None:
            raise SourceError(
                f"{self.path}: takes patches, so its feature maps have no place in the sound; training "
                "needs a graph that takes a window at once"
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
        self.fixed = self.entry.samples is not None
        # Features of a fixed number of frames may be filled by more sound than a window.
        front = self.entry.front if isinstance(self.entry, FeatureInput) else None
        self.filled = (front.window if front is not None else None) or self.samples

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

    def influential(self, sound: FloatArray) -> set[str]:
        """Tensors on which the scores depend beyond their first few rows, by the gradient.

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
            name: one[:, _MOST_SKIPPED if one.shape[1] > _MOST_SKIPPED else 0 :]
            for name, one in zip(values, gradients, strict=True)
            if one is not None
        }
        return {name for name, one in beyond.items() if bool(one.any())}

    @torch.no_grad()
    def _run(self, sound: FloatArray, seen: Seen) -> None:
        self.module.run(self._inputs(sound), seen)

    def _inputs(self, sound: FloatArray, *, differentiable: bool = False) -> dict[str, torch.Tensor]:
        """What the graph takes, by name."""
        given = self.original.inputs(self.entry.feed(sound))
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
            frames: int | str = sizes[1] if still else f"frames_map{number}"
            tensors.append(
                ShownTensor(
                    place.tap, place.tensor, place.axes, sizes[0], frames, sizes[2], place.skipped, kind
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


def find_maps(probe: GraphProbe, sample_rate: int, most_frames: int) -> list[Place]:
    """Maps that a decoder reads: of each number of frames the deepest, coarsest first, at most four.

    Deepest of those whose cells the scores depend on.
    most_frames: of the listenable STFT; finer maps are left out
    Raises SourceError where there is none.
    """
    sounds = _Sounds(probe.samples, sample_rate)
    influential = probe.influential(sounds.bursts[_BURSTS // 2])
    shapes = {name: shape for name, shape in probe.shapes(sounds.quiet).items() if name in influential}
    real = {name: shape for name, shape in shapes.items() if name not in probe.module.whole}
    # Whole numbers have a scale and a zero point of their own, and are read where there is nothing else.
    deepest = _found(probe, real, sounds, most_frames) or _found(probe, shapes, sounds, most_frames)
    if not deepest:
        raise SourceError(
            f"{probe.path}: no feature map was recognised in it (a tensor with channels and an axis that "
            "follows time); name one by --feature-map and --map-axes"
        )
    return [deepest[frames] for frames in sorted(deepest)][:_MOST_MAPS]


def _found(
    probe: GraphProbe, shapes: Mapping[str, tuple[int, ...]], sounds: _Sounds, most_frames: int
) -> dict[int, Place]:
    """The deepest map of each number of frames, among tensors of these shapes."""
    part = probe.samples / max(probe.samples, probe.filled)
    likely = _likely(shapes, most_frames, probe.entry.copies)
    before = probe.values(sounds.quiet, likely)
    responses = {
        kind: [_marginals(before, probe.values(sound, likely)) for sound in given]
        for kind, given in (("burst", sounds.bursts), ("tone", sounds.tones))
    }
    deepest: dict[int, Place] = {}
    grids: dict[tuple[int, int], Place] = {}
    for name in likely:
        bursts, tones = ([one[name] for one in responses[kind]] for kind in ("burst", "tone"))
        place = _tokens(name, shapes[name], grids, bursts, part) or _placed(
            name, shapes[name], bursts, tones, part
        )
        if place is None:
            continue
        sizes = place.sizes(shapes[name])
        if sizes[0] < _LEAST_CHANNELS or not _LEAST_FRAMES <= sizes[1] <= most_frames:
            continue
        known = deepest.get(sizes[1])
        # What is joined over frequency says less of where than the map before.
        if known is None or sizes[2] > 1 or known.sizes(shapes[known.tensor])[2] == 1:
            deepest[sizes[1]] = place
        if sizes[2] > 1:
            grids[sizes[1:]] = place
    return deepest


class _Sounds:
    """What axes are recognised by: faint noise, and bursts and tones in it, [N] each."""

    def __init__(self, samples: int, rate: int) -> None:
        random = np.random.default_rng(0)
        noise = 0.003 * random.standard_normal(samples)
        self.quiet = noise.astype(np.float32)
        width = max(1, samples // (2 * _BURSTS))
        self.bursts, self.tones = [], []
        for number in range(_BURSTS):
            burst = noise.copy()
            start = (samples * (2 * number + 1)) // (2 * _BURSTS) - width // 2
            burst[start : start + width] += 0.5 * random.standard_normal(width)
            self.bursts.append(burst.astype(np.float32))
        time = np.arange(samples) / rate
        for pitch in mel_points(_TONES, rate)[1:-1].tolist():
            self.tones.append((noise + 0.3 * np.sin(2 * np.pi * pitch * time)).astype(np.float32))


def _likely(shapes: Mapping[str, tuple[int, ...]], most_frames: int, batch: int) -> list[str]:
    """Tensors that may be maps, by their shape: of each shape the last ones, in order."""
    of_shape: dict[tuple[int, ...], list[str]] = {}
    for name, shape in shapes.items():
        wide = sum(size > 1 for size in shape[1:])
        # Tokens are more than frames, by their rows.
        if len(shape) in {3, 4} and shape[0] == batch and wide >= 2 and min(shape[1:3]) <= 64 * most_frames:
            of_shape.setdefault(shape, []).append(name)
    chosen = {name for names in of_shape.values() for name in names[-_OF_ONE_SHAPE:]}
    return [name for name in shapes if name in chosen]


def _marginals(
    before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]
) -> dict[str, list[Array]]:
    """How much each tensor changed, summed over all axes but one, for every axis after the batch."""
    changed: dict[str, list[Array]] = {}
    for name, value in after.items():
        energy = (value - before[name]).double().square()
        axes = range(1, value.dim())
        changed[name] = [energy.sum([0, *(one for one in axes if one != axis)]).numpy() for axis in axes]
    return changed


def _centres(energies: Sequence[Array]) -> Array:
    """Where along an axis each response lies, 0..1; what is everywhere alike does not count."""
    centres = []
    for energy in energies:
        weights = (energy - energy.min()) ** 2
        total = weights.sum()
        places = (np.arange(len(energy)) + 0.5) / len(energy)
        centres.append((weights * places).sum() / total if total > 0 else np.nan)
    return np.array(centres)


def _order(centres: Array) -> float:
    """How strictly centres rise, -1..1; 0 where they say nothing."""
    if not np.isfinite(centres).all() or np.ptp(centres) < 1e-6:
        return 0.0
    return float(np.corrcoef(centres, np.arange(len(centres)))[0, 1])


def _follows_time(energies: Sequence[Array], part: float) -> float:
    """How strictly an axis follows the bursts' times, at their places; 0 where it does not.

    part: of the axis that the window fills
    """
    centres = _centres(energies)
    order = _order(centres)
    due = part * (np.arange(_BURSTS) + 0.5) / _BURSTS
    astray = float(np.abs(centres - due).mean()) if order > 0 else 1.0
    return order if order >= _ORDERED and astray <= _ASTRAY else 0.0


def _placed(
    name: str,
    shape: Sequence[int],
    bursts: Sequence[list[Array]],
    tones: Sequence[list[Array]],
    part: float,
) -> Place | None:
    """Which axis is which."""
    rank = len(shape) - 1
    in_time = [_follows_time([one[axis] for one in bursts], part) for axis in range(rank)]
    t = int(np.argmax(in_time))
    if not in_time[t]:
        return None
    others = [axis for axis in range(rank) if axis != t]
    if rank == 2:
        return Place(name, "ct" if t == 1 else "tc")
    pitched = [abs(_order(_centres([one[axis] for one in tones]))) for axis in others]
    # A convolution's channels come first; tones tell otherwise only where they are plain.
    usual = others.index(0) if 0 in others else 1
    best = int(np.argmax(pitched))
    plain = pitched[best] >= _ORDERED and pitched[1 - best] < _ORDERED
    channels = others[1 - best] if plain else others[usual]
    if shape[1 + channels] == 1:
        channels = next(axis for axis in others if axis != channels)
    names = {t: "t", channels: "c"}
    return Place(name, "".join(names.get(axis, "f") for axis in range(rank)))


def _tokens(
    name: str,
    shape: Sequence[int],
    grids: Mapping[tuple[int, int], Place],
    bursts: Sequence[list[Array]],
    part: float,
) -> Place | None:
    """Tokens [1, N, D] of a grid that the graph had before; None where they are none."""
    if len(shape) != 3:
        return None
    for (frames, rows), grid in reversed(grids.items()):
        skipped = shape[1] - frames * rows
        if not 0 <= skipped <= _MOST_SKIPPED:
            continue
        energies = [one[0][skipped:] for one in bursts]
        orders = {
            "ftc": _follows_time([energy.reshape(rows, frames).sum(axis=0) for energy in energies], part),
            "tfc": _follows_time([energy.reshape(frames, rows).sum(axis=1) for energy in energies], part),
        }
        axes = max(orders, key=lambda order: orders[order])
        if orders[axes]:
            return Place(name, axes, rows, skipped, grid.patches or grid)
    return None
