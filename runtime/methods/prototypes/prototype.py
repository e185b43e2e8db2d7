"""A prototype: a place in a training sound that resembles a place in the input, and its sound."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from .... import limits
from ....errors import AudioError, MethodError, PrototypeIndexError
from ....times import span_text
from ...audio.stretch import read_stretch, samples_between
from ...values.arrays import FloatArray
from ...values.records import ResultRecord
from ..saved import read_saved
from .document import PlaceDict, PrototypeDict

# Order of the band-pass, and how much sound around a crop it is let ring into.
_FILTER_ORDER = 4
_MARGIN_S = 0.25
# A place is a part of a window; the file may have a higher rate, and channels.
_MOST_VALUES = 8 * limits.WINDOW_SAMPLES


@dataclass(frozen=True, slots=True)
class Place:
    """A nominal region of a sound, in seconds and Hz (a receptive field is larger)."""

    start_s: float
    end_s: float
    fmin_hz: float
    fmax_hz: float

    def to_dict(self) -> PlaceDict:
        """JSON-ready."""
        return {
            "start_s": round(self.start_s, 6),
            "end_s": round(self.end_s, 6),
            "fmin_hz": round(self.fmin_hz, 3),
            "fmax_hz": round(self.fmax_hz, 3),
        }


@dataclass(frozen=True, slots=True)
class WindowSound:
    """A window of the input: amplitude [T, F], spans `seconds` from `start_s` on and 0 to `max_hz`.

    As many columns as a picture needs: of longer windows each is the maximum of several frames.
    """

    amplitude: FloatArray
    start_s: float
    seconds: float
    max_hz: float


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Prototype(ResultRecord):
    """A place in a training sound that resembles a place in the input.

    Attributes:
        view: The view in which it was looked up.
        label: Label of the training sound.
        similarity: Cosine of the two embeddings, -1..1.
        clip: The training file, relative to its folder.
        start_s: Begin of the place in that file, in seconds.
        end_s: Its end.
        fmin_hz: Its lowest frequency in Hz.
        fmax_hz: Its highest.
        place: The place in the input.
        channels: The feature map's channels behind the input's place, the largest contribution first.
        kind: "prototype" (one of the clips in which some channel is strongest) or "clip" (any other).
        unlike: Whether it lies in a passage of another length or rhythm, as no training sound has a like one.

    """

    view: str
    label: str
    similarity: float
    clip: str
    start_s: float
    end_s: float
    fmin_hz: float
    fmax_hz: float
    place: Place
    channels: tuple[int, ...]
    kind: Literal["prototype", "clip"] = "clip"
    attribution: str = ""
    # Further labels of the training sound, where it has several.
    also: tuple[str, ...] = ()
    unlike: bool = False
    # The whole file in the generation; None where the bundle was built without sound.
    sound: Path | None = field(default=None, repr=False, compare=False)
    # What its samples are multiplied by: it is kept at a level at which nothing is clipped or lost.
    gain: float = field(default=1.0, repr=False, compare=False)
    # The window of the input in which `place` lies, for pictures.
    window: WindowSound | None = field(default=None, repr=False, compare=False)
    # Whether the view pins down a band, hence `audio` filters; the stretch is always cut out.
    crops_frequency: bool = field(default=True, repr=False, compare=False)
    # The place as sound, in a saved result.
    saved: Path | None = field(default=None, repr=False, compare=False)

    @property
    def audible(self) -> bool:
        """Whether `audio` has a file to read."""
        return self.sound is not None or self.saved is not None

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels of the training sound."""
        return (self.label, *self.also)

    def audio(self) -> tuple[FloatArray, int]:
        """The place as sound: waveform [1, samples] and sample rate in Hz.

        The stretch from start_s to end_s (for the view frequency the clip's whole window), and of it, in
        views that localise frequency, the band alone.

        Raises:
            MethodError: The bundle holds no sound; the text names the source file.
            PrototypeIndexError: The file is gone or damaged.
            DataError: That of a saved result is.

        """
        if self.saved is not None:
            return read_saved(self.saved, _MOST_VALUES)
        if self.sound is None:
            raise MethodError(
                f"this bundle was indexed without sound, or the result saved without this one; "
                f"listen to {self.clip} from {self.start_s:.2f} s to "
                f"{self.end_s:.2f} s in the training data, or index again with --audio"
            )
        margin = _MARGIN_S if self.crops_frequency else 0.0
        wave, rate, start = self._read(self.sound, self.start_s - margin, self.end_s + margin)
        if self.crops_frequency:
            wave = _band(wave, rate, self.fmin_hz, self.fmax_hz)
        first, last = samples_between(self.start_s, self.end_s, rate, start + wave.shape[1])
        return np.ascontiguousarray(wave[:, first - start : last - start]), rate

    def around(self, seconds: float) -> tuple[FloatArray, int, float]:
        """Up to `seconds` of the clip around the place: waveform [samples], rate, where it starts in seconds.

        Raises as `audio`.
        """
        if self.sound is None:
            raise MethodError(f"this bundle was indexed without sound; {self.clip} cannot be shown")
        middle = 0.5 * (self.start_s + self.end_s)
        begin = max(0.0, middle - 0.5 * seconds)
        wave, rate, start = self._read(self.sound, begin, begin + seconds)
        return wave.mean(axis=0), rate, start / rate

    def _read(self, path: Path, start_s: float, end_s: float) -> tuple[FloatArray, int, int]:
        """That stretch of the file at its own level: waveform [channels, n], rate, first sample."""
        try:
            wave, rate, first = read_stretch(path, start_s, end_s, _MOST_VALUES)
        except AudioError as error:
            raise PrototypeIndexError(
                f"{error}; load the bundle again, or index it again with --audio"
            ) from error
        return (wave.astype(np.float64) * self.gain).astype(np.float32), rate, first

    def to_dict(self) -> PrototypeDict:
        """JSON-ready."""
        where = Place(self.start_s, self.end_s, self.fmin_hz, self.fmax_hz).to_dict()
        record: PrototypeDict = {
            "label": self.label,
            "labels": list(self.labels),
            "similarity": round(self.similarity, 6),
            "clip": self.clip,
            "start_s": where["start_s"],
            "end_s": where["end_s"],
            "fmin_hz": where["fmin_hz"],
            "fmax_hz": where["fmax_hz"],
            "place": self.place.to_dict(),
            "channels": list(self.channels),
            "kind": self.kind,
        }
        if self.attribution:
            record["attribution"] = self.attribution
        if self.unlike:
            record["unlike"] = True
        return record


def place_text(at: Place | Prototype) -> str:
    """When and in which band it lies."""
    return f"{span_text(at.start_s, at.end_s)}, {at.fmin_hz:.0f}-{at.fmax_hz:.0f} Hz"


def _band(wave: FloatArray, rate: int, low: float, high: float) -> FloatArray:
    """The part of `wave` [channels, samples] between `low` and `high` Hz, zero phase."""
    from scipy.signal import butter, sosfiltfilt

    nyquist = rate / 2
    # A band that reaches an end of the spectrum is open there; a hair from it, a filter is unstable.
    lower, upper = low > 0.001 * nyquist, high < 0.99 * nyquist
    if (not lower and not upper) or low >= 0.99 * nyquist:
        return wave if low < 0.99 * nyquist else np.zeros_like(wave)
    if lower and upper:
        sections = butter(_FILTER_ORDER, [low, high], btype="bandpass", fs=rate, output="sos")
    elif lower:
        sections = butter(_FILTER_ORDER, low, btype="highpass", fs=rate, output="sos")
    else:
        sections = butter(_FILTER_ORDER, high, btype="lowpass", fs=rate, output="sos")
    padding = min(wave.shape[1] - 1, 3 * (2 * len(sections) + 1))
    filtered: FloatArray = sosfiltfilt(sections, wave, axis=1, padlen=max(0, padding)).astype(np.float32)
    return filtered
