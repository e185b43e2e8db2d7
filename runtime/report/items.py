"""What a page knows of each sound: the JSON that its script reads, as types."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

# Begin, end in seconds; low, high in Hz.
Box = tuple[float, float, float, float]


class Picture(msgspec.Struct, frozen=True):
    """A spectrogram as 8-bit greyscale PNGs in base64, low frequencies at the bottom.

    Attributes:
        loudness: 0 at -80 dB below the loudest cell and less, 255 at the loudest.
        mask: 0..255 for 0..1, on the same cells; empty where there is none.
        seconds: What its width spans.
        max_hz: What its height spans, from 0 Hz on.

    """

    loudness: str
    mask: str
    seconds: float
    max_hz: float


class ShownSounds(msgspec.Struct, frozen=True):
    """Sound as mono FLAC of 16 bits in base64; what is removed is original minus kept.

    Attributes:
        rate: In Hz.
        scale: What all of it was multiplied by, so that 16 bits serve quiet sound, too.
        original: The input.
        kept: What the mask keeps of it; empty where there is no mask.

    """

    rate: int
    scale: float
    original: str
    kept: str = ""


class Segment(msgspec.Struct, frozen=True):
    """A segment as pictures show it; `uncertainty` is a standard deviation, None where there is none."""

    box: Box
    importance: float
    uncertainty: float | None


class ShownSegments(msgspec.Struct, frozen=True):
    """What the method segments answers, with its unit and how far it can be believed in words.

    pairs: a sentence each for stretches of which either suffices or both are needed
    """

    axis: str
    unit: str
    note: str
    rows: list[Segment]
    pairs: list[str]


class Track(msgspec.Struct, frozen=True):
    """A component as a track of the mixer; `sound` is FLAC at the rate and scale of the item's sounds."""

    name: str
    note: str
    relevance: float
    sound: str


class ShownClip(msgspec.Struct, frozen=True):
    """A stretch of a training clip, from `start_s` on."""

    name: str
    start_s: float
    picture: Picture
    sounds: ShownSounds


class ShownMatch(msgspec.Struct, frozen=True):
    """A place of the input beside the place in a training clip that it resembles.

    Attributes:
        label: Labels of the training clip.
        similarity: Cosine, -1..1.
        clip: Its file.
        here: The place in the input.
        there: The place in the training clip.
        stretch: Index into `Item.clips`; None where the bundle holds no sound.
        attribution: Whose sound it is.
        unlike: Whether it lies in a passage of another length or rhythm, as there is none of a like one.

    """

    label: str
    similarity: float
    clip: str
    here: Box
    there: Box
    stretch: int | None
    attribution: str = ""
    unlike: bool = False


class ShownView(msgspec.Struct, frozen=True):
    """A view of the index, and its matches, best first."""

    name: str
    matches: list[ShownMatch]


class Contribution(msgspec.Struct, frozen=True):
    """A summand of the target's logit; `box` is where the channel peaks in the input, None for the rest."""

    name: str
    value: float
    box: Box | None = None


class Item(msgspec.Struct, frozen=True):
    """A sound, or a stretch of a recording, and its explanation.

    Attributes:
        label: What is explained.
        score: Its score, 0..1, or its value.
        start_s: Where the sound begins in its recording; times within the item count from there.
        seconds: Its length.
        summary: The answer in sentences.
        predictions: The best labels with their scores, best first.
        warnings: What to know before believing it.
        facts: What was run: pairs (name, value).
        contributions_note: What the contributions sum to.
        others: What further methods say: pairs (topic, text).
        without: Why there is no sound or picture; empty where there is.

    """

    label: str
    score: float
    start_s: float
    seconds: float
    summary: list[str]
    predictions: list[tuple[str, float]]
    warnings: list[str]
    facts: list[tuple[str, str]]
    picture: Picture | None = None
    sounds: ShownSounds | None = None
    segments: ShownSegments | None = None
    tracks: list[Track] = []
    clips: list[ShownClip] = []
    views: list[ShownView] = []
    contributions: list[Contribution] = []
    contributions_note: str = ""
    others: list[tuple[str, str]] = []
    without: str = ""


class Row(msgspec.Struct, frozen=True):
    """A line of the page's index.

    Attributes:
        id: What decisions are kept by.
        file: The sound, as it was named.
        path: Its absolute path, for tables; its name where it is no file.
        truth: The name of its folder, where that is a label; else empty.

    """

    id: str
    file: str
    path: str
    label: str
    score: float
    start_s: float
    end_s: float
    low_hz: float | None = None
    high_hz: float | None = None
    time: str = ""
    truth: str = ""


class SearchedSound(msgspec.Struct, frozen=True):
    """A sound that the page is about, whether or not it has rows."""

    file: str
    path: str
    duration_s: float
    sample_rate: int
    warnings: list[str] = []
    error: str = ""


class Index(msgspec.Struct, frozen=True):
    """What the page knows before any item is opened.

    Attributes:
        kind: "sounds": one explanation a sound; "detections": stretches of recordings.
        key: Names the report where the browser keeps decisions.
        labels: Of the model.
        rows: In the order of the items.
        notes: What is to be said of the report as a whole.
        values: Whether scores are values of a regression, and no shares.

    """

    kind: Literal["sounds", "detections"]
    key: str
    labels: list[str]
    rows: list[Row]
    sounds: list[SearchedSound]
    notes: list[str] = []
    values: bool = False


def script_json(value: Any) -> str:
    """A struct as JSON that can stand in a script element of any page: without <, > and &, in ASCII."""
    text = json.dumps(msgspec.to_builtins(value), allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
