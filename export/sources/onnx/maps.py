"""Feature maps inside a graph: found by their shapes, placed in time and frequency by bursts and tones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ....errors import SourceError
from ....runtime.values.arrays import Values
from ...models.mel import mel_points
from .candidates import LEAST_CHANNELS, MOST_MAPS, MOST_SKIPPED
from .file import OnnxSource
from .places import LEAST_HOP, TensorPlace
from .probe import GraphProbe

# Bursts and tones that axes are recognised by.
_BURSTS, _TONES = 8, 10
# Of the correlation of a response's place along an axis with the burst's time or the tone's pitch.
_ORDERED = 0.9
# How far from its time a burst may be answered, as a part of the window.
_ASTRAY = 0.15
# Fewer cells in time are a summary.
_LEAST_FRAMES = 3
# Tensors of one shape that are looked at: the last ones.
_OF_ONE_SHAPE = 3


def places_of(graph: OnnxSource, probe: GraphProbe, taps: Sequence[str] | None) -> list[TensorPlace]:
    """Where the feature maps are that are shown.

    taps: their names; None: the feature map that the user named, or those that are found
    Raises SourceError where a name is no tensor's, or no map is found.
    """
    if taps is not None:
        named = {tap: TensorPlace.of(tap) for tap in taps if tap not in {"stft", "target"}}
        if None in named.values():
            strange = ", ".join(tap for tap, place in named.items() if place is None)
            raise SourceError(f"{graph.original.path}: shows no {strange}, which what was trained reads")
        return [place for place in named.values() if place is not None]
    if graph.shown is not None:
        return [TensorPlace(graph.shown.request.tensor, graph.shown.request.axes)]
    finest = 2 * graph.analysis.n_fft // LEAST_HOP
    least = graph.analysis.hop if graph.rescore == "spectrogram" else finest
    return _find_maps(probe, graph.sample_rate, 1 + probe.samples // least)


def _find_maps(probe: GraphProbe, sample_rate: int, most_frames: int) -> list[TensorPlace]:
    """Maps that a decoder reads: of each number of frames the deepest, coarsest first, at most four.

    Deepest of those whose cells the scores depend on.
    most_frames: of the listenable STFT; finer maps are left out
    Raises SourceError where there is none.
    """
    sounds = _ProbeSounds(probe.samples, sample_rate)
    influential = probe.influential(sounds.bursts[_BURSTS // 2], MOST_SKIPPED)
    shapes = {name: shape for name, shape in probe.shapes(sounds.quiet).items() if name in influential}
    real = {name: shape for name, shape in shapes.items() if name not in probe.module.whole}
    # Whole numbers have a scale and a zero point of their own, and are read where there is nothing else.
    deepest = _found(probe, real, sounds, most_frames) or _found(probe, shapes, sounds, most_frames)
    if not deepest:
        raise SourceError(
            f"{probe.path}: no feature map was recognised in it (a tensor with channels and an axis that "
            "follows time); name one by --feature-map and --map-axes"
        )
    return [deepest[frames] for frames in sorted(deepest)][:MOST_MAPS]


def _found(
    probe: GraphProbe, shapes: Mapping[str, tuple[int, ...]], sounds: _ProbeSounds, most_frames: int
) -> dict[int, TensorPlace]:
    """The deepest map of each number of frames, among tensors of these shapes."""
    part = probe.samples / max(probe.samples, probe.filled)
    likely = _likely(shapes, most_frames, probe.entry.copies)
    before = probe.values(sounds.quiet, likely)
    responses = {
        kind: [_marginals(before, probe.values(sound, likely)) for sound in given]
        for kind, given in (("burst", sounds.bursts), ("tone", sounds.tones))
    }
    deepest: dict[int, TensorPlace] = {}
    grids: dict[tuple[int, int], TensorPlace] = {}
    for name in likely:
        bursts, tones = ([one[name] for one in responses[kind]] for kind in ("burst", "tone"))
        place = _tokens(name, shapes[name], grids, bursts, part) or _placed(
            name, shapes[name], bursts, tones, part
        )
        if place is None:
            continue
        sizes = place.sizes(shapes[name])
        if probe.stretch is not None and sizes[1] * probe.stretch.hop % probe.stretch.frames:
            # The next patch begins within a cell.
            continue
        if sizes[0] < LEAST_CHANNELS or not _LEAST_FRAMES <= sizes[1] <= most_frames:
            continue
        known = deepest.get(sizes[1])
        # What is joined over frequency says less of where than the map before.
        if known is None or sizes[2] > 1 or known.sizes(shapes[known.tensor])[2] == 1:
            deepest[sizes[1]] = place
        if sizes[2] > 1:
            grids[sizes[1:]] = place
    return deepest


class _ProbeSounds:
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
) -> dict[str, list[Values]]:
    """How much each tensor changed, summed over all axes but one, for every axis after the batch."""
    changed: dict[str, list[Values]] = {}
    for name, value in after.items():
        energy = (value - before[name]).double().square()
        axes = range(1, value.dim())
        changed[name] = [energy.sum([0, *(one for one in axes if one != axis)]).numpy() for axis in axes]
    return changed


def _centres(energies: Sequence[Values]) -> Values:
    """Where along an axis each response lies, 0..1; what is everywhere alike does not count."""
    centres = []
    for energy in energies:
        weights = (energy - energy.min()) ** 2
        total = weights.sum()
        places = (np.arange(len(energy)) + 0.5) / len(energy)
        centres.append((weights * places).sum() / total if total > 0 else np.nan)
    return np.array(centres)


def _order(centres: Values) -> float:
    """How strictly centres rise, -1..1; 0 where they say nothing."""
    if not np.isfinite(centres).all() or np.ptp(centres) < 1e-6:
        return 0.0
    return float(np.corrcoef(centres, np.arange(len(centres)))[0, 1])


def _follows_time(energies: Sequence[Values], part: float) -> float:
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
    bursts: Sequence[list[Values]],
    tones: Sequence[list[Values]],
    part: float,
) -> TensorPlace | None:
    """Which axis is which."""
    rank = len(shape) - 1
    in_time = [_follows_time([one[axis] for one in bursts], part) for axis in range(rank)]
    t = int(np.argmax(in_time))
    if not in_time[t]:
        return None
    others = [axis for axis in range(rank) if axis != t]
    if rank == 2:
        return TensorPlace(name, "ct" if t == 1 else "tc")
    pitched = [abs(_order(_centres([one[axis] for one in tones]))) for axis in others]
    # A convolution's channels come first; tones tell otherwise only where they are plain.
    usual = others.index(0) if 0 in others else 1
    best = int(np.argmax(pitched))
    plain = pitched[best] >= _ORDERED and pitched[1 - best] < _ORDERED
    channels = others[1 - best] if plain else others[usual]
    if shape[1 + channels] == 1:
        channels = next(axis for axis in others if axis != channels)
    names = {t: "t", channels: "c"}
    return TensorPlace(name, "".join(names.get(axis, "f") for axis in range(rank)))


def _tokens(
    name: str,
    shape: Sequence[int],
    grids: dict[tuple[int, int], TensorPlace],
    bursts: Sequence[list[Values]],
    part: float,
) -> TensorPlace | None:
    """Tokens [1, N, D] of a grid that the graph had before; None where they are none."""
    if len(shape) != 3:
        return None
    for (frames, rows), grid in reversed(grids.items()):
        skipped = shape[1] - frames * rows
        if not 0 <= skipped <= MOST_SKIPPED:
            continue
        energies = [one[0][skipped:] for one in bursts]
        orders = {
            "ftc": _follows_time([energy.reshape(rows, frames).sum(axis=0) for energy in energies], part),
            "tfc": _follows_time([energy.reshape(frames, rows).sum(axis=1) for energy in energies], part),
        }
        axes = max(orders, key=lambda order: orders[order])
        if orders[axes]:
            return TensorPlace(name, axes, rows, skipped, grid.patches or grid)
    return None
