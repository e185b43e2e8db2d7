"""A method's part of a result: what it gives, saves, says, and what verify asks of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from ..audio.writing import SoundFormat
from ..drawing.shown import Spectrogram
from ..values.records import ResultRecord

# Which sound is saved: none, only the stretches with evidence, or all of it.
AudioKind = Literal["none", "clips", "full"]


class About(msgspec.Struct, frozen=True):
    """What the files of one result have in common.

    Attributes:
        title: The label explained and its score, for pictures.
        sample_rate: Of the input, in Hz.
        duration_s: Of the input, in seconds.
        audio: Which sound is written.
        format: How it is written.
        caption: Which sound and which bundle, for pictures.
        spectrogram: Gives that of the sound; None where nothing of it is at hand.

    """

    title: str
    sample_rate: int
    duration_s: float
    audio: AudioKind = "full"
    format: SoundFormat = "wav"
    caption: str = ""
    spectrogram: Callable[[], Spectrogram | None] = lambda: None


class Difference(msgspec.Struct, frozen=True):
    """A number that `earmark verify` reports of an explanation, and what it may be at the most."""

    name: str
    value: float
    limit: float


class MethodResult(ResultRecord):
    """A method's part of a result.

    Attributes:
        warnings: What the user should know before believing it.

    """

    __slots__ = ()

    warnings: tuple[str, ...] = ()

    def fields(self) -> Mapping[str, Any]:
        """What it gives by the names in `Method.gives`: attributes of `Result` and keys of its JSON.

        Values are None, JSON's own, objects with a `to_dict()`, and mappings and sequences of these.
        """
        raise NotImplementedError

    def lines(self, top: int) -> Iterable[tuple[str, str]]:
        """Lines of (topic, text) for a person, with at most `top` of what there are many."""
        return ()

    def summary(self) -> Iterable[tuple[str, str]]:
        """The same at first sight, for somebody who knows no method: when, which band, like what."""
        return self.lines(1)

    def evidence_spans(self) -> Sequence[tuple[float, float]]:
        """Where in time the evidence lies, (start_s, end_s); empty where the method does not say."""
        return ()

    def spectrogram(self, seconds: float) -> Spectrogram | None:
        """That of the sound, which lasts `seconds`, with the method's mask, if it has one; for pictures."""
        return None

    def verify(self) -> Iterable[Difference]:
        """Make all that is made only when it is asked for; differences that ought to be small."""
        return ()
