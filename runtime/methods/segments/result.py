"""What the method `segments` answers: an importance with sign and uncertainty for every segment."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ....times import span_text
from ..result import MethodResult
from .document import SegmentsDict

Values = npt.NDArray[np.float64]

# What a row of the result holds.
COLUMNS = ("start_s", "end_s", "fmin_hz", "fmax_hz", "importance", "magnitude", "uncertainty")
# A surrogate that explains less than this of what it has not seen explains nothing.
LOWEST_R2 = 0.3
_UNITS = {
    "log_odds": "log-odds",
    "impurity": "shares of the forest",
    "score": "shares of the score",
    "value": "in units of the value",
}


@dataclass(frozen=True, eq=False, repr=False)
class SegmentsResult(MethodResult):
    """How much each of M segments speaks for (positive) or against (negative) the target.

    Attributes:
        start_s: [M] seconds; segments are in order of time, then frequency.
        end_s: [M] seconds.
        fmin_hz: [M] Hz.
        fmax_hz: [M] Hz.
        importance: [M] by how much the segment raises the target's log-odds (unit "log_odds"), its share of
            the forest's impurity ("impurity"), or in a sound longer than the model's window its share of the
            score of the sound ("score"). Of a regression by how much it raises the value ("value"); in a
            longer sound, its share of the difference from the value of silence.
        magnitude: [M], 0 or more, what ranks the segments; per `segment_seconds` of sound where segments
            differ in length.
        uncertainty: [M] standard deviation of `importance`, 0 or more; NaN where the surrogate has none.
        windows: [M] how many of the model's windows look at the segment, on average over its length.
        r2: Share of the variance of the log-odds that the surrogate predicts on masks it has not seen, at
            most 1; below 0 where the mean would serve better.
        score: The target's probability for the whole sound, 0..1, or its value.
        calls: Sounds that the model was asked about.
        seconds: Time of the explainer itself.
        scoring_seconds: Time of the model.
        surrogate: What was fitted.
        fill: What replaced masked segments.
        axis: What was masked: "time", "frequency" or "both".
        seed: Seed of the masks.
        unit: What `importance` is measured in: "log_odds", "impurity", "score" or "value".
        signed: False where the sign is not the surrogate's own but that of the marginal effect (forest).
        warnings: What the user should know before believing it, one line each.

    """

    start_s: Values
    end_s: Values
    fmin_hz: Values
    fmax_hz: Values
    importance: Values
    magnitude: Values
    uncertainty: Values
    windows: Values
    r2: float
    score: float
    calls: int
    seconds: float = field(compare=False)
    scoring_seconds: float = field(compare=False)
    surrogate: str
    fill: str
    axis: str
    seed: int
    unit: str = "log_odds"
    signed: bool = True
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.importance)

    def top(self, count: int = 5) -> list[int]:
        """The segments that matter most.

        Args:
            count: How many, 0 or more.

        Returns:
            Their indices by magnitude, largest first.

        """
        return [int(index) for index in np.argsort(-self.magnitude, kind="stable")[:count]]

    def strongest(self, count: int = 5) -> list[int]:
        """The segments of most importance per second, for or against.

        Args:
            count: How many, 0 or more.

        Returns:
            Their indices by |density|, largest first.

        """
        return [int(index) for index in np.argsort(-np.abs(self.density), kind="stable")[:count]]

    @property
    def density(self) -> Values:
        """Importance per second and window [M]: by it segments that are not alike are ranked and drawn."""
        return np.asarray(self.importance / (self.windows * (self.end_s - self.start_s)))

    @property
    def effects(self) -> tuple[str, str]:
        """What segments of positive and of negative importance do."""
        return ("raises it", "lowers it") if self.unit == "value" else ("for it", "against it")

    @property
    def uneven(self) -> bool:
        """Whether segments are not alike: in length, but for the sound's end, or in how many windows look."""
        lengths = (self.end_s - self.start_s)[self.end_s < self.end_s[-1]]
        unlike = len(lengths) > 0 and np.ptp(lengths) > 0.01 * lengths.max()
        return bool(unlike or np.ptp(self.windows) > 0.01)

    def to_csv(self) -> str:
        """Write the segments as a table.

        Returns:
            A header and a line for each segment, with commas between.

        """
        columns = [getattr(self, name) for name in COLUMNS]
        lines = [",".join(f"{value:.6g}" for value in row) for row in zip(*columns, strict=True)]
        return "\n".join([",".join(COLUMNS), *lines, ""])

    def to_dict(self) -> SegmentsDict:
        """Everything in plain types.

        Returns:
            A JSON-ready mapping; fields are added, never renamed.

        """
        rows = zip(*(getattr(self, name) for name in (*COLUMNS, "windows")), strict=True)
        return {
            "axis": self.axis,
            "surrogate": self.surrogate,
            "fill": self.fill,
            "unit": self.unit,
            "signed": self.signed,
            "r2": _finite(self.r2, 4),
            "score": round(self.score, 6),
            "calls": self.calls,
            "seconds": round(self.seconds, 4),
            "scoring_seconds": round(self.scoring_seconds, 4),
            "seed": self.seed,
            "rows": [
                {
                    "start_s": round(float(start), 4),
                    "end_s": round(float(end), 4),
                    "fmin_hz": round(float(low), 1),
                    "fmax_hz": round(float(high), 1),
                    "importance": round(float(importance), 6),
                    "magnitude": round(float(magnitude), 6),
                    "windows": round(float(windows), 4),
                    "uncertainty": _finite(uncertainty, 6),
                }
                for start, end, low, high, importance, magnitude, uncertainty, windows in rows
            ],
        }

    def fields(self) -> Mapping[str, Any]:
        """Name itself as `Result` does.

        Returns:
            {"segments": itself}.

        """
        return {"segments": self}

    def lines(self, top: int) -> Iterator[tuple[str, str]]:
        """Say which segments matter most, in order of rank, and how far they can be believed.

        Args:
            top: Most segments that are named, 0 or more.

        Returns:
            Pairs (topic, text), one for each line; the topic is empty where it goes on.

        """
        sign = "" if self.signed else ", sign of the marginal effect"
        for rank, index in enumerate(self.strongest(top)):
            place = []
            if self.axis != "frequency":
                place.append(span_text(float(self.start_s[index]), float(self.end_s[index])))
            if self.axis != "time":
                place.append(f"{self.fmin_hz[index]:.0f}-{self.fmax_hz[index]:.0f} Hz")
            spread = self.uncertainty[index]
            doubt = f" ± {spread:.3g}" if math.isfinite(spread) else ""
            raises = self.importance[index] >= 0
            says = self.effects[0] if raises else self.effects[1]
            rate = f" ({self.density[index]:+.3g} a second)" if self.uneven else ""
            text = f"{', '.join(place)}   {says}: {self.importance[index]:+.3g}{doubt}{rate}"
            yield "segments" if rank == 0 else "", text
        yield (
            "",
            f"{_UNITS[self.unit]}{sign}; {self.surrogate} surrogate, {self.fill} fill, "
            f"held-out R2 {self.r2:.2f}, {self.calls} calls",
        )

    def summary(self) -> Iterator[tuple[str, str]]:
        """Say which three segments matter most, and how far to believe them.

        Returns:
            Pairs (topic, text), one for each line; the topic is empty where it goes on.

        """
        return self.lines(3)

    def evidence_spans(self) -> Sequence[tuple[float, float]]:
        """Take the segments that speak for the target with at least a quarter of the strongest importance.

        Of a value, those that raise or lower it so much.

        Returns:
            Pairs (start_s, end_s) in seconds, in order; empty for bands, and where nothing speaks for it.

        """
        if self.axis == "frequency" or not len(self.importance):
            return ()
        strength = np.abs(self.importance) if self.unit == "value" else self.importance
        rows = np.flatnonzero(strength > max(0.0, 0.25 * float(strength.max())))
        return sorted({(float(self.start_s[row]), float(self.end_s[row])) for row in rows})


def _finite(value: float, digits: int) -> float | None:
    """JSON has no NaN and no infinity."""
    return round(float(value), digits) if np.isfinite(value) else None
