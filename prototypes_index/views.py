"""The views of a feature map: where every channel peaks, and the vector there.

The formulas are this project's definitions, consistent with APEX's abstract (arXiv 2605.10153), on
EPIC's channel core (arXiv 2505.12897): for channel c

    square          (t*, f*) = argmax Z[:, :, c]                     q = Z[t*, f*]
    time            t* = argmax T[:, c], T = mean of Z over f        q = T[t*]
    frequency       f* = argmax F[:, c], F = mean of Z over t        q = F[f*]
    time_frequency  t* and f* independently, as above                q = T[t*] and F[f*], concatenated

By these vectors alone all views find what sounds all the time: a click in a hum lies nearest to another
sound's hum. So vectors keep a tenth of what is common to the whole sound (*contrast*, `embed`):

    square          q = Z[t*, f*] - 0.9 F[f*]
    time            q = T[t*] - 0.9 mean_t T
    frequency       q = F[f*] - 0.9 mean_f F
    time_frequency  the last two, each divided by its length, time's times 1.5, concatenated

(What passes and what hums share a band, so that the band alone says less of what passes.)

Where nothing stands out, that is the same direction as without.

A map of one cell is an embedding of the window, which has no places. Its only view is

    window          the cell                                         q = Z
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import PrototypeIndexError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
View = Literal["square", "time", "frequency", "time_frequency", "window"]

VIEWS: tuple[View, ...] = ("square", "time", "frequency", "time_frequency", "window")
# What a view's place pins down; the other axis spans the whole window or band (cell index -1).
LOCALISES_TIME: frozenset[View] = frozenset({"square", "time", "time_frequency"})
LOCALISES_FREQUENCY: frozenset[View] = frozenset({"square", "frequency", "time_frequency"})
# What the passage counts beside the band.
_PASSAGE = np.float32(1.5)
# How much of what a whole sound has in common is taken out of vectors.
CONTRAST = 0.9


@dataclass(frozen=True, slots=True)
class Places:
    """The distinct places of one sound's channels in one view.

    Attributes:
        cells: [P, 2] (frame, frequency row) of each place, ascending; -1 where the view does not localise.
        of_channel: [C] the place at which each channel peaks.
        scores: [C] the channel's value at its peak (time_frequency: the mean of its two peaks).
        vectors: [P, D] the embedding at each place, not normalised; D = C, time_frequency 2 C.

    """

    cells: IntArray
    of_channel: IntArray
    scores: FloatArray
    vectors: FloatArray


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the cells of a feature map lie, nominally (a receptive field is larger than a cell).

    Attributes:
        frame_seconds: Frame t spans [t, t + 1) * frame_seconds.
        bands_hz: [low, high] of every row.

    """

    frame_seconds: float
    bands_hz: tuple[tuple[float, float], ...]

    def frames_in(self, seconds: float) -> int:
        """How many frames hold some of the first `seconds`; at least 1."""
        return max(1, math.ceil(round(seconds / self.frame_seconds, 6)))

    def regions(self, cells: IntArray, offset_s: float, duration_s: float) -> npt.NDArray[np.float64]:
        """Region [P, 4] (start_s, end_s, fmin_hz, fmax_hz) of each cell [P, 2] (frame, row; -1: all).

        offset_s: where the window starts; duration_s: real sound in it, which no region leaves
        """
        frame, row = cells[:, 0], cells[:, 1]
        # A last frame that starts past the real sound (the map has one frame too many) ends with it.
        start = np.minimum(frame * self.frame_seconds, max(0.0, duration_s - self.frame_seconds))
        end = np.minimum((frame + 1) * self.frame_seconds, duration_s)
        somewhere = frame >= 0
        regions = np.empty((len(cells), 4))
        regions[:, 0] = offset_s + np.where(somewhere, start, 0.0)
        regions[:, 1] = offset_s + np.where(somewhere, end, duration_s)
        regions[:, 2:] = _bands_and_all(self.bands_hz)[row]
        return regions


@lru_cache(maxsize=16)
def _bands_and_all(bands_hz: tuple[tuple[float, float], ...]) -> npt.NDArray[np.float64]:
    """[F + 1, 2]: every band, and in the last place, which is -1, what all span."""
    bands = np.asarray(bands_hz, dtype=np.float64).reshape(-1, 2)
    return np.vstack((bands, (bands[:, 0].min(), bands[:, 1].max())))


def views_of(rows: int, frames: int | str | None = None) -> tuple[View, ...]:
    """The views of a feature map with that many frequency rows.

    With one row (waveform models) nothing localises frequency, and time equals square; with one frame beside
    that, where the number of frames is fixed, there is nothing but the window.
    """
    if rows == 1:
        return ("window",) if frames == 1 else ("square", "time")
    return ("square", "time", "frequency", "time_frequency")


def dimension(view: View, channels: int) -> int:
    """Length of a view's vectors."""
    return 2 * channels if view == "time_frequency" else channels


@dataclass(frozen=True, slots=True)
class Peaks:
    """Where each channel peaks in one view.

    Attributes:
        frame: [C], both, whatever the view pins down.
        row: See `frame`.
        scores: [C], the value there (time_frequency: the mean of its two peaks).

    """

    frame: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    scores: FloatArray


def find_places(
    view: View,
    maps: Mapping[str, FloatArray],
    frames: int | None = None,
) -> Places:
    """The places of one sound in `view`; ties go to the first place (time before frequency).

    maps: "square" [T, F, C], "time" [T, C], "frequency" [F, C] of one sound
    frames: how many leading frames are real sound, see `real_maps`
    Raises PrototypeIndexError where the map has one frequency row and hence no such view, or is empty.
    """
    maps = real_maps(maps, frames)
    channels = peaks_of((view,), maps)[view]
    rows = maps["square"].shape[1]
    nowhere = np.zeros_like(channels.frame)
    frame = channels.frame if view in LOCALISES_TIME else nowhere
    row = channels.row if view in LOCALISES_FREQUENCY else nowhere
    distinct, of_channel = np.unique(frame * rows + row, return_inverse=True)
    cells = np.stack((distinct // rows, distinct % rows), axis=1).astype(np.int32)
    embedded = embed(view, maps, cells)
    return Places(localised(view, cells), of_channel.astype(np.int32).reshape(-1), channels.scores, embedded)


def real_maps(maps: Mapping[str, FloatArray], frames: int | None) -> dict[str, FloatArray]:
    """The maps without the frames after the first `frames`, which are padding and hold no place.

    The frequency map is then the mean over the real frames. None: all are real. Raises PrototypeIndexError
    where the map is empty.
    """
    square, time, frequency = maps["square"], maps["time"], maps["frequency"]
    if not square.size:
        raise PrototypeIndexError("the feature map is empty; the sound is too short for this model")
    if frames is not None and frames < len(square):
        kept = max(frames, 1)
        square, time = square[:kept], time[:kept]
        frequency = square.mean(axis=0)
    return {"square": square, "time": time, "frequency": frequency}


def peaks_of(views: Iterable[View], maps: Mapping[str, FloatArray]) -> dict[View, Peaks]:
    """Where each channel peaks in each of `views`; ties go to the first place.

    Raises PrototypeIndexError where the map has one frequency row and hence no such view.
    """
    square = maps["square"]
    rows, channels = square.shape[1:]
    time, frequency = _peaks(maps["time"]), _peaks(maps["frequency"])
    peaks_by_view: dict[View, Peaks] = {}
    for view in views:
        if view == "window":
            nowhere = np.zeros(channels, np.int64)
            peaks_by_view[view] = Peaks(nowhere, nowhere, square.mean(axis=(0, 1)).astype(np.float32))
            continue
        if view not in views_of(rows):
            raise PrototypeIndexError(
                f"the view {view} does not exist for a feature map with one frequency row; "
                f"use {' or '.join(views_of(rows))}"
            )
        if view == "square":
            peaks, scores = _peaks(square.reshape(-1, channels))
            peaks_by_view[view] = Peaks(peaks // rows, peaks % rows, scores)
        else:
            both = np.float32(0.5) * (time[1] + frequency[1])
            scores = {"time": time[1], "frequency": frequency[1]}.get(view, both)
            peaks_by_view[view] = Peaks(time[0], frequency[0], scores.astype(np.float32))
    return peaks_by_view


def embed(view: View, maps: Mapping[str, FloatArray], cells: npt.NDArray[Any]) -> FloatArray:
    """The vectors [P, D] of the cells [P, 2] (frame, row; -1 where the view spans all)."""
    frame, row = cells[:, 0], cells[:, 1]
    square, time, frequency = maps["square"], maps["time"], maps["frequency"]
    removed = np.float32(CONTRAST)
    if view == "window":
        whole: FloatArray = np.repeat(square.mean(axis=(0, 1))[None], len(cells), axis=0)
        return whole
    if view == "square":
        vectors: FloatArray = square[frame, row] - removed * frequency[row]
        return vectors
    bands: FloatArray = frequency[row] - removed * frequency.mean(axis=0)
    if view == "frequency":
        return bands
    passages: FloatArray = time[frame] - removed * time.mean(axis=0)
    if view == "time":
        return passages
    return np.concatenate((_PASSAGE * normalise(passages), normalise(bands)), axis=1)


def localised(view: View, cells: IntArray) -> IntArray:
    """The cells [P, 2] with -1 where the view does not localise."""
    if view not in LOCALISES_TIME:
        cells[:, 0] = -1
    if view not in LOCALISES_FREQUENCY:
        cells[:, 1] = -1
    return cells


def normalise(vectors: FloatArray) -> FloatArray:
    """The vectors [P, D] divided by their Euclidean length; a vector of zeros stays one."""
    lengths = np.sqrt(np.einsum("pd,pd->p", vectors, vectors, dtype=np.float64))
    scaled: FloatArray = (vectors / np.maximum(lengths, 1e-8)[:, None]).astype(np.float32)
    return scaled


def _peaks(reduced: FloatArray) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """First argmax and maximum over axis 0 of [places, C]."""
    peaks = np.argmax(reduced, axis=0)
    return peaks, reduced[peaks, np.arange(reduced.shape[1])]
