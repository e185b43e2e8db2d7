"""How like each class of training clips a sound is, by statistics of sound, and by the model's score.

A model that never had to tell two classes apart has no features to miss one by, so these vectors are none of
its own (`runtime.methods.prototypes.acoustics`), and the classes are those of the clips:

    z = x W         W the inverse root of the covariance within classes (Ledoit and Wolf's), x standardised
    d(z, c)         mean angle of z to the nearest clip of each of the four nearest recordings of class c,
                    an angle as the chord |z / |z| - y / |y||
    r(z, c)         d(z, c) / mean of d(y, c) over clips y of c, each without its own recording
    m(z, c)         cos(z, mean of c) - largest of cos(z, mean of any other class)

The measures of every class are -r ("sound"), m ("margin") and the score that the model gives it ("score").
What is usual of the first two is measured on clips whose recordings W and the means have not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from ..forks import fork_waits
from .views import FloatArray

_Labels = npt.NDArray[np.int32]

# Changes with the statistics: vectors of other kinds are not compared.
KIND = 2
# Statistics of timbre, of the rhythm of bands and of the sound, of spectrum and texture, in their order.
SIZES = (36, 28, 9, 10, 14)
# Highest scores that are kept of a sound.
SCORES = 8
# A record of `acoustics.npy`: row of the clips table, and a clip's `Statistics`.
ACOUSTICS = np.dtype(
    [
        ("clip", "<i4"),
        ("labels", "<i4", (SCORES,)),
        ("scores", "<f4", (SCORES,)),
        ("vector", "<f4", (sum(SIZES),)),
    ]
)

Measure = Literal["sound", "margin", "score"]
MEASURES: tuple[Measure, ...] = ("sound", "margin", "score")

_NEAREST = 4
# A class with fewer clips that have another recording has no distance of its own to go by.
_FEWEST_OF_CLASS = 4
# Parts of the recordings, each measured by what the others tell.
_PARTS = 5
_SHRUNK, _TINY = 1e-3, 1e-12

_Array = npt.NDArray[np.float64]


class AcousticsInfo(msgspec.Struct, frozen=True):
    """Which statistics `acoustics.npy` holds, and of how many clips."""

    kind: Annotated[int, msgspec.Meta(ge=1)]
    clips: Annotated[int, msgspec.Meta(ge=1)]


class Statistics(msgspec.Struct, frozen=True, eq=False):
    """Those of one sound, [sum(SIZES)], and the model's highest scores.

    labels: [SCORES] that have them, -1 where the model has fewer
    scores: [SCORES], 0..1; of all other labels next to none
    """

    vector: FloatArray
    labels: _Labels
    scores: FloatArray


def statistics_in(record: np.void) -> Statistics:
    """Those in a record of `acoustics.npy`, copied."""
    return Statistics(record["vector"].copy(), record["labels"].copy(), record["scores"].copy())


class Held(NamedTuple):
    """A training clip by what others tell: the measures [M, K] of every class, and which is its own."""

    measures: _Array
    own: int


class Acoustics:
    """What training clips are like, class by class, and how far other sounds lie from them."""

    @fork_waits
    def __init__(self, vectors: FloatArray, labels: _Labels, recordings: _Labels) -> None:
        """Learn from the statistics [n, sum(SIZES)] of clips, their classes [n] and recordings [n]."""
        values = vectors.astype(np.float64)
        scales = []
        for group in np.split(values, np.cumsum(SIZES)[:-1], axis=1):
            # What hardly varies is no evidence; every group counts as much as any other.
            scale = group.std(axis=0) + _SHRUNK * group.std() + _TINY
            scales.append(scale * np.sqrt(group.shape[1]))
        self._mean, self._scale = values.mean(axis=0), np.concatenate(scales)
        scaled = (values - self._mean) / self._scale
        self.labels: list[int] = sorted(set(labels.tolist()))
        rows_of = [np.flatnonzero(labels == label) for label in self.labels]
        within = scaled.copy()
        for rows in rows_of:
            within[rows] -= scaled[rows].mean(axis=0)
        variances, axes = np.linalg.eigh(ledoit_wolf(within))
        self._whitening = axes / np.sqrt(np.maximum(variances, _TINY))
        whitened = scaled @ self._whitening
        self._centres = _unit(np.stack([whitened[rows].mean(axis=0) for rows in rows_of]))
        # Clips in the order of their classes and recordings, and where each recording of each class begins.
        order = np.lexsort((recordings, labels))
        self._units = _unit(whitened[order])
        of_clips = np.stack([labels[order], recordings[order]])
        self._begins = np.flatnonzero((np.diff(of_clips, prepend=-1) != 0).any(axis=0))
        label_of, self._recordings = of_clips[:, self._begins]
        # The rows of a class among the recordings; behind the last where it has fewer.
        counts = [int(np.count_nonzero(label_of == label)) for label in self.labels]
        self._slots = np.full((len(counts), max(counts)), len(label_of))
        for slots, label in zip(self._slots, self.labels, strict=True):
            own = np.flatnonzero(label_of == label)
            slots[: len(own)] = own
        apart = np.array(
            [
                self._distances(unit, but=recording)[self.labels.index(label)]
                for unit, (label, recording) in zip(self._units, of_clips.T.tolist(), strict=True)
            ]
        )
        self._usual = self._usual_of(apart, of_clips[0])

    def _usual_of(self, apart: _Array, labels: _Labels) -> _Array:
        """Mean distance [K] of clips [n] to other recordings of their class; of all where they are few."""
        known = np.isfinite(apart)
        overall = float(apart[known].mean()) if known.any() else 1.0
        of = [apart[known & (labels == label)] for label in self.labels]
        usual = [float(one.mean()) if len(one) >= _FEWEST_OF_CLASS else overall for one in of]
        return np.maximum(usual, _TINY)

    def _distances(self, unit: _Array, but: int | None = None) -> _Array:
        """d(z, c) [K]; not a number where a class has no recording, or none but that one."""
        # By einsum, which is as quick here: BLAS would give it several threads, which wait for each other.
        cosines = np.einsum("nd,d->n", self._units, unit)
        chords = np.sqrt(np.maximum(2.0 - 2.0 * cosines, 0.0))
        nearest = np.append(np.minimum.reduceat(chords, self._begins), np.inf)
        if but is not None:
            nearest[:-1][self._recordings == but] = np.inf
        nearest = np.sort(nearest[self._slots], axis=1)[:, :_NEAREST]
        known = nearest < np.inf
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(known, nearest, 0.0).sum(axis=1) / np.count_nonzero(known, axis=1))

    def measures(self, sound: Statistics) -> _Array | None:
        """Those of a sound, [M, K] as `MEASURES` and `labels`; higher: more like the class.

        None where there are fewer than two classes.
        """
        if len(self.labels) < 2:
            return None
        scaled = (sound.vector.astype(np.float64) - self._mean) / self._scale
        unit = _unit(np.einsum("d,dk->k", scaled, self._whitening))
        cosines = np.einsum("kd,d->k", self._centres, unit)
        second, first = np.sort(cosines)[-2:]
        margins = cosines - np.where(cosines == first, second, first)
        given = dict(zip(sound.labels.tolist(), sound.scores.tolist(), strict=True))
        scores = np.array([given.get(label, 0.0) for label in self.labels])
        return np.stack([-self._distances(unit) / self._usual, margins, scores])


def held_out(clips: Sequence[Statistics], labels: _Labels, recordings: _Labels) -> list[Held | None]:
    """The measures of each clip [n] by what the clips of other parts of the recordings tell.

    clips: class after class, so that every part has its share of each
    None where the others have no clip of the class, or of no other class.
    """
    held: list[Held | None] = [None] * len(clips)
    vectors = np.stack([clip.vector for clip in clips])
    first = dict.fromkeys(recordings.tolist())
    part_of = {recording: number % _PARTS for number, recording in enumerate(first)}
    parts = np.array([part_of[recording] for recording in recordings.tolist()])
    for part in range(_PARTS):
        others = parts != part
        if others.sum() < 2 or others.all():
            continue
        known = Acoustics(vectors[others], labels[others], recordings[others])
        for row in np.flatnonzero(~others).tolist():
            measures, own = known.measures(clips[row]), int(labels[row])
            if measures is not None and own in known.labels:
                held[row] = Held(measures, known.labels.index(own))
    return held


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
