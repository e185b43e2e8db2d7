"""`Detection`: where a label was detected in a recording, and why."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from ..document import DetectionDict
from ..scores.labels import best
from ..values.arrays import FloatArray
from ..values.records import ResultRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ..results.result import Result
    from ..scores.windows import WindowScores

_ID_DIGITS = 16


def detection_id(recording: str, label: str, start_s: float) -> str:
    """A name for a detection that is the same in every run: 16 hexadecimal digits; milliseconds count."""
    key = f"{recording}\n{label}\n{start_s:.3f}"
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:_ID_DIGITS]


@dataclass(frozen=True, eq=False, repr=False)
class ScoredWindow(ResultRecord):
    """The scores of one window of a recording or a stream.

    Attributes:
        number: Counted over the stream, from 0.
        start_s: Its begin in seconds; exact to the sample.
        end_s: Its end.
        labels: What was looked for.
        scores: A score 0..1 for each of `labels`, after calibration.

    """

    number: int
    start_s: float
    end_s: float
    labels: tuple[str, ...]
    scores: FloatArray

    def top(self, most: int = 3) -> tuple[tuple[str, float], ...]:
        """The best labels.

        Args:
            most: How many at the most.

        Returns:
            Pairs (label, score), best first.

        """
        return tuple((self.labels[k], float(self.scores[k])) for k in best(self.scores, most))


@dataclass(frozen=True, eq=False, repr=False)
class Detection(ResultRecord):
    """A label over a stretch of a recording, and the explanation of that stretch for that label.

    Attributes:
        id: The same in every run: made of recording, label and start.
        label: What was detected.
        score: The highest score of its windows, 0..1.
        mean_score: Their mean score, 0..1.
        start_s: Begin in seconds; in a stream by its clock.
        end_s: End in seconds. Where windows overlap, the border between two is the middle of what they share.
        windows: Numbers of its windows, from the first to the last one.
        clip_start_s: Begin of what its windows contain, which is what was explained.
        clip_end_s: Its end. Of detections of more than a minute only the time around the peak is explained.
        low_hz: Lower end of the band with the central 80 % of the evidence; None without a mask.
        high_hz: Upper end of it.
        evidence: Where in it the evidence lies, (start_s, end_s) in order; none without a mask.
        explanation: Of the clip alone, for the label; None where none was asked for or given.
        warnings: What to know of this detection, one line each; the explanation has its own.

    """

    id: str
    label: str
    score: float
    mean_score: float
    start_s: float
    end_s: float
    windows: range
    clip_start_s: float
    clip_end_s: float
    low_hz: float | None = None
    high_hz: float | None = None
    evidence: tuple[tuple[float, float], ...] = ()
    explanation: Result | None = None
    warnings: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        """How long it lasts, in seconds."""
        return self.end_s - self.start_s

    def to_dict(self) -> DetectionDict:
        """Everything but arrays and sound in plain types.

        Returns:
            A JSON-ready mapping; `windows` are the numbers of the first and last window.

        """
        return {
            "id": self.id,
            "label": self.label,
            "score": self.score,
            "mean_score": self.mean_score,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "clip_start_s": self.clip_start_s,
            "clip_end_s": self.clip_end_s,
            "low_hz": self.low_hz,
            "high_hz": self.high_hz,
            "windows": [self.windows[0], self.windows[-1]],
            "evidence_s": [[start, end] for start, end in self.evidence],
            "warnings": list(self.warnings),
            "explanation": None if self.explanation is None else self.explanation.to_dict(),
        }

    @classmethod
    def of(cls, document: DetectionDict) -> Detection:
        """What `to_dict` gave.

        Args:
            document: That.

        Returns:
            The detection, without its explanation.

        """
        first, last = document["windows"]
        values: dict[str, Any] = {
            **document,
            "windows": range(first, last + 1),
            "evidence": tuple((start, end) for start, end in document["evidence_s"]),
            "explanation": None,
            "warnings": tuple(document["warnings"]),
        }
        return cls(**{one.name: values[one.name] for one in fields(cls)})


class SearchedRecording(Protocol):
    """What pages and plots ask of `Detections`."""

    @property
    def input(self) -> str: ...  # noqa: D102
    @property
    def items(self) -> Sequence[Detection]: ...  # noqa: D102
    @property
    def windows(self) -> WindowScores: ...  # noqa: D102
    @property
    def bundle(self) -> str: ...  # noqa: D102
    @property
    def summary(self) -> str: ...  # noqa: D102
    @property
    def duration_s(self) -> float: ...  # noqa: D102
    @property
    def sample_rate(self) -> int: ...  # noqa: D102
    @property
    def recorded_at(self) -> datetime | None: ...  # noqa: D102
    @property
    def warnings(self) -> tuple[str, ...]: ...  # noqa: D102
