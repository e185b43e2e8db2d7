"""How far a sound lies from training clips of the class that a model gives it, by statistics alone.

A model that never had to tell two classes apart has no features to miss one by, so these vectors are none of
its own (`runtime.methods.prototypes.acoustics`). Of the class alone it is taken at its word:

    z = x P W       P the largest principal directions, W the inverse root of the covariance within classes
                    (Ledoit and Wolf's), x standardised
    d(z, c)         mean angle of z to the nearest clip of each of the four nearest recordings of class c,
                    an angle as the chord |z / |z| - y / |y||
    r(z, c)         d(z, c) / mean of d(y, c) over clips y of c, each without its own recording
    m(z, c)         cos(z, mean of c) - largest of cos(z, mean of any other class)

The measures are -r in the space of all statistics ("sound"), -r in that of timbre and rhythm ("timbre"), and
m ("margin"). What is usual of each is measured on clips whose recordings P, W and the means have not seen.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from ..forks import fork_waits
from .views import FloatArray

# Changes with the statistics: vectors of other kinds are not compared.
KIND = 1
# Statistics of timbre, rhythm, texture and shape, in their order in the vector.
SIZES = (42, 72, 12, 26)
# A record of `acoustics.npy`: row of the clips table, the class that the model gives it, its statistics.
ACOUSTICS = np.dtype([("clip", "<i4"), ("label", "<i4"), ("vector", "<f4", (sum(SIZES),))])

Measure = Literal["sound", "timbre", "margin"]
MEASURES: tuple[Measure, ...] = ("sound", "timbre", "margin")

_DIRECTIONS = 80
_NEAREST = 4
# A class with fewer clips that have another recording has no distance of its own to go by.
_FEWEST_OF_CLASS = 4
# Parts of the recordings, each measured by what the others tell.
_PARTS = 5
_SHRUNK, _TINY = 1e-3, 1e-12

_Array = npt.NDArray[np.float64]
_Labels = npt.NDArray[np.int32]


class AcousticsInfo(msgspec.Struct, frozen=True):
    """Which statistics `acoustics.npy` holds, and of how many clips."""

    kind: Annotated[int, msgspec.Meta(ge=1)]
    clips: Annotated[int, msgspec.Meta(ge=1)]


class Statistics(msgspec.Struct, frozen=True, eq=False):
    """Those of one clip: vector [sum(SIZES)], and the class that the model gives it."""

    label: int
    vector: FloatArray


class Acoustics:
    """What training clips are like, class by class, and how far other sounds lie from them."""

    def __init__(self, vectors: FloatArray, labels: _Labels, recordings: _Labels) -> None:
        """Learn from the statistics [n, sum(SIZES)] of clips, their classes [n] and recordings [n]."""
        self._all = _Space(vectors, labels, recordings, SIZES)
        self._timbre = _Space(vectors, labels, recordings, SIZES[:2])

    def measures(self, vector: FloatArray, label: int) -> dict[Measure, float] | None:
        """Each of a sound's statistics, for the class that the model gives it; higher: more like that class.

        None where no clip of the class is known, or of no other.
        """
        sound, timbre = self._all.relative(vector, label), self._timbre.relative(vector, label)
        margin = self._all.margin(vector, label)
        if sound is None or timbre is None or margin is None:
            return None
        return {"sound": -sound, "timbre": -timbre, "margin": margin}


def held_out(vectors: FloatArray, labels: _Labels, recordings: _Labels) -> list[dict[Measure, float] | None]:
    """The measures of each clip [n] by what the clips of other parts of the recordings tell.

    Args:
        vectors: [n, sum(SIZES)] in an order that does not hang on how the index grew.
        labels: [n] classes that the model gives.
        recordings: [n].

    """
    held: list[dict[Measure, float] | None] = [None] * len(vectors)
    # Class after class, so that every part has its share of each.
    by_class = np.argsort(labels, kind="stable").tolist()
    first = dict.fromkeys(recordings[by_class].tolist())
    part_of = {recording: number % _PARTS for number, recording in enumerate(first)}
    parts = np.array([part_of[recording] for recording in recordings.tolist()])
    for part in range(_PARTS):
        others = parts != part
        if others.sum() < 2 or others.all():
            continue
        known = Acoustics(vectors[others], labels[others], recordings[others])
        for row in np.flatnonzero(~others).tolist():
            held[row] = known.measures(vectors[row], int(labels[row]))
    return held


class _Space:
    """Some groups of the statistics, whitened within classes."""

    @fork_waits
    def __init__(
        self, vectors: FloatArray, labels: _Labels, recordings: _Labels, sizes: tuple[int, ...]
    ) -> None:
        self._columns = sum(sizes)
        values = vectors[:, : self._columns].astype(np.float64)
        scales = []
        for group in np.split(values, np.cumsum(sizes)[:-1], axis=1):
            # What hardly varies is no evidence; every group counts as much as any other.
            scale = group.std(axis=0) + _SHRUNK * group.std() + _TINY
            scales.append(scale * np.sqrt(group.shape[1]))
        self._mean, self._scale = values.mean(axis=0), np.concatenate(scales)
        scaled = (values - self._mean) / self._scale
        directions = np.linalg.svd(scaled, full_matrices=False)[2][: min(_DIRECTIONS, len(values) - 1)].T
        projected = scaled @ directions
        self._classes = sorted(set(labels.tolist()))
        means = {label: projected[labels == label].mean(axis=0) for label in self._classes}
        within = projected - np.stack([means[label] for label in labels.tolist()])
        variances, axes = np.linalg.eigh(ledoit_wolf(within))
        self._whitening = directions @ (axes / np.sqrt(np.maximum(variances, _TINY)))
        # Clips of a class in the order of their recordings.
        order = np.lexsort((recordings, labels))
        self._labels, self._recordings = labels[order], recordings[order]
        whitened = scaled[order] @ self._whitening
        self._units = _unit(whitened)
        self._centres = _unit(
            np.stack([whitened[self._labels == label].mean(axis=0) for label in self._classes])
        )
        own = np.array([self._without_own(row) for row in range(len(order))])
        fitting = np.isfinite(own)
        overall = float(own[fitting].mean()) if fitting.any() else 1.0
        self._usual: dict[int, float] = {}
        for label in self._classes:
            of = own[fitting & (self._labels == label)]
            self._usual[label] = max(float(of.mean()) if len(of) >= _FEWEST_OF_CLASS else overall, _TINY)

    def relative(self, vector: FloatArray, label: int) -> float | None:
        """Distance to the class, beside what is usual there: r(z, c)."""
        if label not in self._usual:
            return None
        return self._distance(self._whiten(vector), label) / self._usual[label]

    @fork_waits
    def margin(self, vector: FloatArray, label: int) -> float | None:
        """How much nearer in angle than any other class: m(z, c)."""
        if label not in self._usual or len(self._classes) < 2:
            return None
        cosines, place = self._centres @ self._whiten(vector), self._classes.index(label)
        return float(cosines[place] - np.delete(cosines, place).max())

    @fork_waits
    def _whiten(self, vector: FloatArray) -> _Array:
        scaled = (vector[: self._columns].astype(np.float64) - self._mean) / self._scale
        return _unit(scaled @ self._whitening)

    @fork_waits
    def _distance(self, unit: _Array, label: int, but: int | None = None) -> float:
        """Mean over the nearest recordings of the class; not a number where there is none but that one."""
        members = self._labels == label
        if but is not None:
            members &= self._recordings != but
        if not members.any():
            return float("nan")
        chords = np.sqrt(np.maximum(2.0 - 2.0 * self._units[members] @ unit, 0.0))
        recordings = self._recordings[members]
        begins = np.flatnonzero(np.diff(recordings, prepend=recordings[0] - 1))
        return float(np.sort(np.minimum.reduceat(chords, begins))[:_NEAREST].mean())

    def _without_own(self, row: int) -> float:
        return self._distance(self._units[row], int(self._labels[row]), int(self._recordings[row]))


@fork_waits
def _unit(vectors: _Array) -> _Array:
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + _TINY))


@fork_waits
def ledoit_wolf(samples: _Array) -> _Array:
    """The covariance [D, D] of samples [n, D] of mean zero, shrunk towards a multiple of the identity.

    O. Ledoit and M. Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004.
    """
    count, size = samples.shape
    products = samples.T @ samples
    covariance = products / count
    mean = np.trace(covariance) / size
    squares = (products**2).sum() / count**2
    scatter = ((samples**2).sum(axis=1) ** 2).sum() / count
    apart = squares - size * mean**2
    share = min(max((scatter - squares) / count, 0.0) / apart, 1.0) if apart > 0.0 else 0.0
    return np.asarray((1.0 - share) * covariance + share * mean * np.eye(size))
