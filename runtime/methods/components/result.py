"""What the method `components` answers: of which sounds the evidence consists, and the sound of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np

from ....errors import LabelError
from ....times import span_text
from ...bundle.manifest import ComponentSpec
from ...drawing.shown import Spectrogram
from ...scores.labels import SHOWN
from ...values.arrays import FloatArray
from ...values.lazy import lazy_property
from ...values.records import ResultRecord
from ..evidence import Overview, spans_of
from ..rescoring import Rescored, rescored_lines
from ..result import MethodResult
from .document import ClipDict, ComponentDict, ComponentsDict
from .harmonics import Glide
from .names import ComponentAcoustics, name_of
from .tracks import SavedTracks, Tracks


@dataclass(frozen=True, eq=False, repr=False)
class Component(ResultRecord):
    """One component of the dictionary, in this sound.

    Attributes:
        index: Its column.
        relevance: -1..1, see `ComponentsResult`.
        contribution: theta_{c,k} z_k, its part of the interpreter's logit.
        selected: Relevance above the threshold.
        peak_hz: Frequency of the largest weight of its spectrum.
        bandwidth_hz: Width of the band around it that holds most of the weight.
        label: The class it is most evidence for, "" for none.
        clip: The training clip that activates it most; "" where unknown.
        clip_start_s: When in that clip its activation begins, in seconds.
        clip_end_s: When it ends.
        spans: When it is active in this sound, (start_s, end_s).
        name: What it is, in words.

    """

    index: int
    relevance: float
    contribution: float
    selected: bool
    peak_hz: float
    bandwidth_hz: float
    label: str
    clip: str
    clip_start_s: float
    clip_end_s: float
    spans: tuple[tuple[float, float], ...]
    name: str
    _tracks: Tracks | SavedTracks = field(repr=False, compare=False)

    def audio(self) -> FloatArray:
        """Its track, in the shape, at the rate and of the length of the input; made anew at each call.

        Raises:
            AudioError: The file of a long sound has changed since.

        """
        return self._tracks.shaped(self._tracks.sound([self.index]))

    def to_dict(self) -> ComponentDict:
        """JSON-ready."""
        clip: ClipDict = {
            "name": self.clip,
            "start_s": round(self.clip_start_s, 4),
            "end_s": round(self.clip_end_s, 4),
        }
        return {
            "index": self.index,
            "name": self.name,
            "relevance": round(self.relevance, 6),
            "contribution": round(self.contribution, 6),
            "peak_hz": round(self.peak_hz, 1),
            "bandwidth_hz": round(self.bandwidth_hz, 1),
            "label": self.label or None,
            "clip": clip if self.clip else None,
            "spans_s": [[round(start, 4), round(end, 4)] for start, end in self.spans],
        }


@dataclass(frozen=True, eq=False, repr=False)
class ComponentsResult(MethodResult):
    """The components of a sound, and what each says of a label.

    Index it, or iterate, for each `Component`; a component's facts and sound are made when asked for.

    Attributes:
        label: The one explained.
        holds: Where several labels may, those that do, the surest first, each of which `of` explains.
        contributions: [C, K] theta_{c,k} z_k for every label of the model.
        relevance: [K] r_k = theta_{c,k} z_k / max_j |theta_{c,j} z_j|, -1..1; zeros where nothing is active.
        selected: {k: r_k > threshold}, most relevant first; none is an answer, too: silence.
        by_design: Whether the components are the classifier itself.
        activations: [K, frames] 0 or more, frames `frame_s` seconds apart; long sound: a file-backed float16
            array.
        frame_s: From one frame to the next in seconds.
        seconds: Length of the sound.
        interpreted: Label -> score by the interpreter alone, best first.
        facts: What is known from training of each component.
        rescored: As `Result.rescored`, of the selected components; with rescore=True only.

    """

    label: str
    labels: tuple[str, ...]
    holds: tuple[str, ...]
    contributions: FloatArray
    relevance: FloatArray
    selected: tuple[int, ...]
    threshold: float
    by_design: bool
    activations: FloatArray
    frame_s: float
    seconds: float
    interpreted: Mapping[str, float]
    rescored: Mapping[str, Rescored] | None
    facts: tuple[ComponentSpec, ...] = field(repr=False)
    _tracks: Tracks | SavedTracks = field(repr=False, compare=False)
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.activations)

    def __getitem__(self, index: int) -> Component:
        """The component of that column. Raises IndexError."""
        facts = self.facts[index]
        at = range(len(self))[index]
        over_time = np.asarray(self.activations[at], np.float32)
        spans = spans_of(over_time, self.frame_s, self.seconds)
        measured = ComponentAcoustics(
            facts.peak_hz,
            facts.bandwidth_hz,
            float(self._tracks.fundamentals[at]),
            spans,
            self._tracks.glides[at],
            facts.bands_hz,
        )
        return Component(
            index=at,
            relevance=float(self.relevance[at]),
            contribution=float(self.contributions[self.labels.index(self.label), at]),
            selected=at in self.selected,
            peak_hz=facts.peak_hz,
            bandwidth_hz=facts.bandwidth_hz,
            label=facts.label,
            clip=facts.clip,
            clip_start_s=facts.start_s,
            clip_end_s=facts.end_s,
            spans=spans,
            name=name_of(measured, self.seconds),
            _tracks=self._tracks,
        )

    def __iter__(self) -> Iterator[Component]:
        return (self[index] for index in range(len(self)))

    def of(self, label: str) -> ComponentsResult:
        """The same sound explained for another label, without another forward pass. Raises LabelError."""
        if label not in self.labels:
            raise LabelError(f"no label {label!r} among the components' {', '.join(self.labels[:10])}")
        relevance = relevance_of(self.contributions[self.labels.index(label)])
        selected = selected_of(relevance, self.threshold)
        return replace(self, label=label, relevance=relevance, selected=selected, rescored=None, warnings=())

    @property
    def also(self) -> tuple[str, ...]:
        """The labels that hold beside the one explained."""
        return tuple(label for label in self.holds if label != self.label)

    @property
    def audio(self) -> FloatArray:
        """The selected components together, in the shape, at the rate and of the length of the input.

        Made when first asked for, as `residual`.

        Raises:
            AudioError: The file of a long sound has changed since.

        """
        return self._tracks.shaped(self._kept)

    @property
    def residual(self) -> FloatArray:
        """The removed sound: input - audio."""
        return self._tracks.shaped(self._removed)

    def remainder(self) -> FloatArray:
        """What no component holds: the input is the sum of all components' tracks and this one."""
        whole = self._tracks.sound(range(len(self)))
        return self._tracks.shaped(self._tracks.rest(whole))

    @lazy_property
    def _kept(self) -> FloatArray:
        return self._tracks.sound(self.selected)

    @lazy_property
    def _removed(self) -> FloatArray:
        return self._tracks.rest(self._kept)

    @lazy_property
    def overview(self) -> Overview:
        """Where the selected components lie in time and frequency, for a picture."""
        return self._tracks.overview(self.selected)

    @property
    def max_hz(self) -> float:
        """The highest frequency of the spectrogram."""
        return self._tracks.max_hz

    @property
    def fundamentals(self) -> FloatArray:
        """[K] Hz, of the columns that are harmonic stacks; 0: no such stack."""
        return self._tracks.fundamentals

    @property
    def glides(self) -> Sequence[Glide | None]:
        """Of each component the frequencies in Hz between which its track moves; None where it stays."""
        return self._tracks.glides

    def spectrogram(self, seconds: float) -> Spectrogram:
        """The model's, with the mask of the selected components."""
        return Spectrogram(self.overview.amplitude, seconds, self.max_hz, self.overview.mask)

    def to_dict(self) -> ComponentsDict:
        """JSON-ready: the relevance of all components, facts of those selected, the best labels."""
        rescored = self.rescored
        return {
            "label": self.label,
            "count": len(self),
            "threshold": self.threshold,
            "by_design": self.by_design,
            "interpreted": [
                {"label": label, "score": round(score, 6)}
                for label, score in islice(self.interpreted.items(), SHOWN)
            ],
            "relevance": [round(float(value), 6) for value in self.relevance],
            "selected": [self[index].to_dict() for index in self.selected],
            "also": [
                {"label": label, "selected": [other[index].to_dict() for index in other.selected]}
                for label in self.also
                for other in (self.of(label),)
            ],
            "rescored": None if rescored is None else dict(rescored),
        }

    def fields(self) -> Mapping[str, Any]:
        """Itself."""
        return {"components": self}

    def lines(self, top: int) -> Iterator[tuple[str, str]]:
        """The components that matter most for each label that holds: relevance, what and when, where from."""
        for label in (self.label, *self.also):
            mine = self.of(label)
            whose = f"{label}: " if self.also else ""
            for rank, index in enumerate(mine.selected[:top]):
                one = mine[index]
                known = f"   mostly {one.label}" if one.label else ""
                clip = f", as in {one.clip} {span_text(one.clip_start_s, one.clip_end_s)}" if one.clip else ""
                topic = "consists" if rank == 0 else ""
                yield topic, f"{whose if rank == 0 else ''}{one.relevance:.2f}  {one.name}{known}{clip}"
            count = f"{len(mine.selected)} of {len(self)} components are relevant (above {self.threshold:g})"
            yield ("", count) if mine.selected else ("consists", f"{whose}{count}")
        yield from rescored_lines(self.rescored, "components, ")

    def summary(self) -> Iterator[tuple[str, str]]:
        """The two components that matter most."""
        return self.lines(2)


def relevance_of(contributions: FloatArray) -> FloatArray:
    """Contributions theta z [..., K] over its largest magnitude; zeros where all are zero."""
    most = np.abs(contributions).max(axis=-1, keepdims=True)
    return np.asarray(contributions / np.where(most > 0.0, most, 1.0), np.float32)


def selected_of(relevance: FloatArray, threshold: float) -> tuple[int, ...]:
    """Indices of the relevance [K] above the threshold, largest first; among equals the first."""
    order = np.argsort(-relevance, kind="stable")
    return tuple(int(index) for index in order if relevance[index] > threshold)
