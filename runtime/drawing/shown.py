"""What pictures show, whoever draws them: `png.py` with Pillow, `axes.py` with matplotlib."""

from __future__ import annotations

from dataclasses import dataclass

from ..values.arrays import FloatArray, Values

# Begin and end in seconds; low and high in Hz.
Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Spectrogram:
    """Loudness over time and frequency, faded where the mask is low.

    Attributes:
        amplitude: [T, F] linear, at least one frame; the frames span `seconds`, the bins 0 to `max_hz`.
        seconds: Length of the sound.
        max_hz: Highest frequency of the bins.
        mask: [T, F] in 0..1, where there is one.
        start_s: Where the sound begins.

    """

    amplitude: FloatArray
    seconds: float
    max_hz: float
    mask: FloatArray | None = None
    start_s: float = 0.0


@dataclass(frozen=True, eq=False)
class Tiles:
    """Signed values of places: what speaks for the label is filled, what speaks against it is striped."""

    boxes: tuple[Box, ...]
    values: Values
    unit: str


@dataclass(frozen=True)
class Join:
    """Two stretches of time, begin and end in seconds each, and the word that joins them, as "or"."""

    first: tuple[float, float]
    second: tuple[float, float]
    word: str


@dataclass(frozen=True, eq=False)
class Bars:
    """Signed values [M] over time, with a standard deviation each (NaN: none).

    words: what a bar up and a bar down says of what is explained; joins: drawn above the bars
    """

    start_s: Values
    end_s: Values
    values: Values
    spread: Values
    unit: str
    words: tuple[str, str] = ("for it", "against it")
    joins: tuple[Join, ...] = ()


@dataclass(frozen=True, eq=False)
class Curve:
    """Something that is 0 or more over the whole time [T], with its name and a number.

    strong: whether it is one of those that matter
    """

    values: FloatArray
    name: str
    number: float
    strong: bool


@dataclass(frozen=True, eq=False)
class Chart:
    """A spectrogram, tiles on it, and strips below it on the same axis of time.

    Attributes:
        title: First line.
        caption: Which sound and which bundle.
        seconds: Length of the time axis.
        spectrogram: None where the sound is not at hand.
        tiles: What lies on it.
        strips: What lies below it, from above.
        note: In place of strips.

    """

    title: str
    caption: str
    seconds: float
    spectrogram: Spectrogram | None = None
    tiles: Tiles | None = None
    strips: tuple[Bars | Curve, ...] = ()
    note: str = ""

    @property
    def max_hz(self) -> float:
        """Highest frequency of what is shown; 0 where there is none."""
        tiles = max((box[3] for box in self.tiles.boxes), default=0.0) if self.tiles else 0.0
        return max(tiles, self.spectrogram.max_hz if self.spectrogram else 0.0)


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """A small spectrogram with a place on it, and lines below it; None: no sound is at hand."""

    spectrogram: Spectrogram | None
    place: Box
    lines: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class SheetRow:
    """Words on the left, the first line in ink, and cells."""

    words: tuple[str, ...]
    cells: tuple[Thumbnail, ...]


@dataclass(frozen=True, eq=False)
class Sheet:
    """Rows of small spectrograms: a place of the input, beside places of training clips.

    Attributes:
        title: First line.
        subtitle: Second line.
        caption: Which sound and which bundle.
        heads: Above the first column, and above the others.
        rows: From above.

    """

    title: str
    subtitle: str
    caption: str
    heads: tuple[str, str]
    rows: tuple[SheetRow, ...]


Picture = Chart | Sheet


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of labels over a recording, and what was detected.

    Attributes:
        title: First line.
        caption: Which recording and which bundle.
        seconds: Length of the recording.
        labels: A row for each.
        start_s: [W] begin of each window.
        end_s: [W] where the next one's share begins.
        values: [W, rows] in 0..1.
        detected: Begin, end in seconds, row.

    """

    title: str
    caption: str
    seconds: float
    labels: tuple[str, ...]
    start_s: Values
    end_s: Values
    values: FloatArray
    detected: tuple[tuple[float, float, int], ...]
