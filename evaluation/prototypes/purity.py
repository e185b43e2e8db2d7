"""Purity of channels: how much of the vector where a channel peaks is that channel's own.

APEX's core is EPIC's (arXiv 2505.12897): with Zhat = U Z on the channel axis, of a clip x and a channel c

    p* = argmax_p Zhat_c(p)          P(x, c) = Zhat_c(p*) / max(||Zhat(p*)||_2, 1e-8)

and the purity of U is the mean of P over every channel's top-n clips, those with the largest Zhat_c(p*),
one a source recording. The views are those of `prototypes_index.views`: Z itself (square), its mean over
frequency (time) or over time (frequency); of time_frequency, whose vector is T[t*] and F[f*] together, the
channel's own part is (T_c(t*), F_c(f*)): P = sign(T_c + F_c) |(T_c, F_c)| / |(T, F)|. Always -1 <= P <= 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...prototypes_index.views import View, views_of
from ...runtime.values.arrays import Array

Axis = Literal["square", "time", "frequency"]

# The maps of which a view's vector is made.
AXES: Mapping[View, tuple[Axis, ...]] = {
    "square": ("square",),
    "time": ("time",),
    "frequency": ("frequency",),
    "time_frequency": ("time", "frequency"),
}
# Clips merged into the best so far at once; whatever it is, the same are found.
BLOCK = 256
_SHORTEST = 1e-8
_LEAST = np.float32(1e-30)
_GATHERED_BYTES = 64 << 20


@dataclass(frozen=True)
class Cells:
    """Vectors [N, C] float32 at the places of many clips; those of clip i are starts[i]:starts[i + 1]."""

    vectors: Array
    starts: Array

    @property
    def clips(self) -> int:
        """How many clips."""
        return len(self.starts) - 1

    @property
    def channels(self) -> int:
        """C."""
        return int(self.vectors.shape[1])

    def of(self, clip: int) -> Array:
        """The clip's vectors [places, C]."""
        return self.vectors[int(self.starts[clip]) : int(self.starts[clip + 1])]


@dataclass(frozen=True)
class FeatureMaps:
    """The feature maps of many clips (windows of sound), raw, that is before any U.

    cells: "square" of T * F cells a clip, time first; "time" T; "frequency" F, the mean over the other axis
    recordings: [clips] which source recording each was cut from; rows: F
    """

    cells: Mapping[Axis, Cells]
    recordings: Array
    rows: int

    @property
    def clips(self) -> int:
        """How many clips."""
        return self.cells["square"].clips

    @property
    def channels(self) -> int:
        """C."""
        return self.cells["square"].channels

    @property
    def views(self) -> tuple[View, ...]:
        """The views that they have: with one row, none that localises frequency."""
        return views_of(self.rows)


@dataclass(frozen=True)
class Strongest:
    """The clips in which each channel is strongest, best first, at most one a recording.

    clips [C, n], -1 where there are fewer; places: for each map of the view [C, n], rows of its `Cells`;
    scores [C, n], the channel's value there (time_frequency: the mean of its two)
    """

    clips: Array
    places: tuple[Array, ...]
    scores: Array


def random_rotation(channels: int, seed: int) -> Array:
    """A rotation [C, C] float32 drawn evenly from all: the control that shows what any U would do."""
    random = np.random.default_rng((seed, channels))
    turn, triangle = np.linalg.qr(random.standard_normal((channels, channels)))
    turn *= np.sign(np.diag(triangle))
    if np.linalg.det(turn) < 0:
        turn[0] *= -1
    rotation: Array = turn.astype(np.float32)
    return rotation


def strongest(
    maps: FeatureMaps,
    view: View,
    rotation: Array,
    count: int,
    *,
    focus: float = 0.0,
    block: int = BLOCK,
) -> Strongest:
    """The `count` clips in which each channel of Zhat = U Z is strongest, at most one a recording.

    rotation: U [C, C]
    focus: choose places and clips by Zhat_c * cos^focus, where cos = Zhat_c / ||Zhat|| (0: by value); scores
        are then the logarithms of that, -inf where Zhat_c is nowhere positive
    Ties go to the earlier place and clip. Clip by clip the same numbers whatever `block` is.
    Raises ValueError for a view that maps with one frequency row do not have.
    """
    if view not in maps.views:
        raise ValueError(f"the view {view} does not exist for feature maps with one frequency row")
    axes = AXES[view]
    tables = [maps.cells[axis] for axis in axes]
    turned = np.ascontiguousarray(rotation.T, dtype=np.float32)
    best = _Best(maps.channels, count, len(axes))
    for first in range(0, maps.clips, block):
        clips = range(first, min(first + block, maps.clips))
        peaks = [[_peak(table, clip, turned, focus) for clip in clips] for table in tables]
        scores = np.array([[score for score, _ in row] for row in peaks]).mean(axis=0)
        places = np.array([[place for _, place in row] for row in peaks])
        best.merge(np.arange(first, clips.stop), scores, places, maps.recordings)
    return best.result()


def purities(maps: FeatureMaps, view: View, rotation: Array, top: Strongest) -> Array:
    """Purity [C, n] at every place of `top`, of an orthogonal U [C, C]; NaN where there is none."""
    parts = [
        _own_and_length(maps.cells[axis], rotation, places)
        for axis, places in zip(AXES[view], top.places, strict=True)
    ]
    own = np.stack([value for value, _ in parts])
    length = np.sqrt(np.sum([square for _, square in parts], axis=0))
    share = own[0] if len(own) == 1 else np.sign(own.sum(axis=0)) * np.sqrt((own**2).sum(axis=0))
    purity_of: Array = share / np.maximum(length, _SHORTEST)
    purity_of[top.clips < 0] = np.nan
    return purity_of


def purity(maps: FeatureMaps, view: View, rotation: Array, count: int) -> float:
    """Mean purity over every channel's top `count` clips, chosen anew for this U."""
    top = strongest(maps, view, rotation, count)
    return float(np.nanmean(purities(maps, view, rotation, top)))


def purity_table(
    parts: Mapping[str, FeatureMaps],
    rotation: Array,
    count: int,
    *,
    seed: int,
) -> dict[str, dict[str, dict[str, float]]]:
    """Purity of raw channels, of U, and of a random rotation: table[view][part][before | after | random].

    parts: feature maps by name ("train", "held_out"); top clips are chosen anew for each figure
    """
    table: dict[str, dict[str, dict[str, float]]] = {}
    some = next(iter(parts.values()))
    raw, chance = np.eye(some.channels, dtype=np.float32), random_rotation(some.channels, seed)
    kinds = {"before": raw, "after": rotation, "random": chance}
    for view in some.views:
        table[view] = {
            part: {kind: round(purity(maps, view, u, count), 6) for kind, u in kinds.items()}
            for part, maps in parts.items()
        }
    return table


def unit_vectors(cells: Cells, places: Array) -> Iterator[tuple[slice, Array]]:
    """The vectors at `places` [C, n] (-1: none, zeros) divided by their length: channels, [some, n, C]."""
    for some, vectors in _gathered(cells, places):
        lengths = np.sqrt(np.einsum("ijk,ijk->ij", vectors, vectors, dtype=np.float64))
        yield some, vectors / np.maximum(lengths, _SHORTEST)[..., None]


def _peak(cells: Cells, clip: int, turned: Array, focus: float) -> tuple[Array, Array]:
    """Of one clip, each channel's largest value [C] and its place [C], a row of the table."""
    # One product a clip: its bits then do not depend on what else is looked at.
    vectors = np.asarray(cells.of(clip))
    hat = vectors @ turned
    if focus > 0:
        lengths = np.sqrt(np.einsum("ij,ij->i", hat, hat, dtype=np.float64)).astype(np.float32)
        # Logarithms order alike, and cost a fifth of powers.
        weighed = np.float32(1 + focus) * np.log(np.maximum(hat, _LEAST))
        weighed -= np.float32(focus) * np.log(np.maximum(lengths, _LEAST))[:, None]
        hat = np.where(hat > 0, weighed, np.float32(-np.inf))
    places = np.argmax(hat, axis=0)
    return hat[places, np.arange(hat.shape[1])], places + int(cells.starts[clip])


class _Best:
    """The best clips of every channel so far, at most one a recording."""

    def __init__(self, channels: int, count: int, axes: int) -> None:
        self.count = count
        self.scores = np.full((count, channels), -np.inf, dtype=np.float32)
        self.clips = np.full((count, channels), -1, dtype=np.int64)
        self.places = np.full((axes, count, channels), -1, dtype=np.int64)

    def merge(self, clips: Array, scores: Array, places: Array, recordings: Array) -> None:
        """See more clips [b] with their scores [b, C] and places [axes, b, C]."""
        scores = np.concatenate((self.scores, scores))
        clips = np.concatenate((self.clips, np.broadcast_to(clips[:, None], (len(clips), scores.shape[1]))))
        places = np.concatenate((self.places, places), axis=1)
        order = np.argsort(-scores, axis=0, kind="stable")
        taken = np.take_along_axis(clips, order, axis=0)
        again = _seen_above(np.where(taken >= 0, recordings[taken], -1)) & (taken >= 0)
        # Repeated recordings go last; all else keeps its order.
        kept = np.argsort(again | (taken < 0), axis=0, kind="stable")[: self.count]
        order = np.take_along_axis(order, kept, axis=0)
        fresh = ~np.take_along_axis(again, kept, axis=0)
        self.scores = np.where(fresh, np.take_along_axis(scores, order, axis=0), -np.inf)
        self.clips = np.where(fresh, np.take_along_axis(clips, order, axis=0), -1)
        self.places = np.where(fresh, np.take_along_axis(places, order[None], axis=1), -1)

    def result(self) -> Strongest:
        """The best clips of all that were merged."""
        return Strongest(self.clips.T, tuple(axis.T for axis in self.places), self.scores.T)


def _seen_above(values: Array) -> Array:
    """Where in each column of [m, C] a value has stood above already."""
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    again = np.zeros(values.shape, dtype=bool)
    again[1:] = ordered[1:] == ordered[:-1]
    seen = np.empty_like(again)
    np.put_along_axis(seen, order, again, axis=0)
    return seen


def _gathered(cells: Cells, places: Array) -> Iterator[tuple[slice, Array]]:
    """The vectors at `places` [C, n], some channels at a time: [some, n, C]; zeros where there is none."""
    step = max(1, _GATHERED_BYTES // max(1, 4 * places.shape[1] * cells.channels))
    for first in range(0, len(places), step):
        some = slice(first, min(first + step, len(places)))
        vectors = np.asarray(cells.vectors[np.maximum(places[some], 0)], dtype=np.float32)
        vectors[places[some] < 0] = 0.0
        yield some, vectors


def _own_and_length(cells: Cells, rotation: Array, places: Array) -> tuple[Array, Array]:
    """Zhat_c and ||Zhat||^2 at the places of every channel c, float64 [C, n]: ||Zhat|| = ||Z||."""
    own, squares = np.empty(places.shape), np.empty(places.shape)
    for some, vectors in _gathered(cells, places):
        own[some] = np.einsum("ijk,ik->ij", vectors, rotation[some], dtype=np.float64)
        squares[some] = np.einsum("ijk,ijk->ij", vectors, vectors, dtype=np.float64)
    return own, squares
