"""What the method `segments` answers: an importance with sign and uncertainty for every segment."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ....times import span_text
from ...values.arrays import Values
from ..result import MethodResult
from .document import SegmentPairDict, SegmentsDict
from .settings import Prior

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


# How two stretches of evidence go together.
PairKind = Literal["either", "both", "sum"]
_SAYS = {"either": "either suffices", "both": "both are needed", "sum": "they add up"}
# An interaction of less than this share of the larger loss is none.
_INTERACTS = 0.5


@dataclass(frozen=True)
class SegmentPair:
    """Two stretches that speak for the target, removed one by one and together, all else in place.

    Attributes:
        first: Begin and end in seconds.
        second: Begin and end in seconds, after the first.
        without_first: By how much the target's log-odds fall where the first is filled.
        without_second: Likewise the second.
        without_both: Likewise both.
        uncertainty: Standard error of `interaction` over fills, 0 or more.

    """

    first: tuple[float, float]
    second: tuple[float, float]
    without_first: float
    without_second: float
    without_both: float
    uncertainty: float

    @property
    def interaction(self) -> float:
        """d(A) + d(B) - d(A and B): below 0 where one stands in for the other, above where they need it."""
        return self.without_first + self.without_second - self.without_both

    @property
    def kind(self) -> PairKind:
        """Whether either suffices, both are needed, or they add up, as far as the fills allow to say."""
        most = max(self.without_first, self.without_second, self.without_both)
        if most <= 0.0 or abs(self.interaction) < max(_INTERACTS * most, 2.0 * self.uncertainty):
            return "sum"
        return "either" if self.interaction < 0.0 else "both"

    @property
    def text(self) -> str:
        """What it says in a line."""
        word = {"either": "or", "both": "and", "sum": "and"}[self.kind]
        places = f" {word} ".join(f"{start:.2f}-{end:.2f} s" for start, end in (self.first, self.second))
        return (
            f"{places}: {_SAYS[self.kind]} (without the first {-self.without_first:+.3g}, without the second "
            f"{-self.without_second:+.3g}, without both {-self.without_both:+.3g})"
        )

    def to_dict(self) -> SegmentPairDict:
        """In plain types."""
        return {
            "first_start_s": round(self.first[0], 4),
            "first_end_s": round(self.first[1], 4),
            "second_start_s": round(self.second[0], 4),
            "second_end_s": round(self.second[1], 4),
            "without_first": round(self.without_first, 6),
            "without_second": round(self.without_second, 6),
            "without_both": round(self.without_both, 6),
            "interaction": round(self.interaction, 6),
            "uncertainty": round(self.uncertainty, 6),
            "kind": self.kind,
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
        prior: What the surrogate started from: "mask" or "flat".
        pairs: Stretches that were removed one by one and together, in log-odds, of each window looked into.
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
    prior: Prior = "flat"
    pairs: tuple[SegmentPair, ...] = ()
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
        """The segments of most importance, for or against; where they are not alike, of most per second.

        Args:
            count: How many, 0 or more.

        Returns:
            Their indices by |importance| or |density|, largest first.

        """
        # Of segments that are alike the last may be a sliver, whose importance per second says nothing.
        strength = np.abs(self.density if self.uneven else self.importance)
        return [int(index) for index in np.argsort(-strength, kind="stable")[:count]]

    @property
    def density(self) -> Values:
        """Importance per second and window [M]: by it segments that are not alike are ranked and drawn."""
        return np.asarray(self.importance / (self.windows * (self.end_s - self.start_s)))

    @property
    def effects(self) -> tuple[str, str]:
        """What segments of positive and of negative importance do."""
        return ("raises it", "lowers it") if self.unit == "value" else ("for it", "against it")

    @property
    def interacting(self) -> tuple[SegmentPair, ...]:
        """The pairs of which either suffices or both are needed."""
        return tuple(pair for pair in self.pairs if pair.kind != "sum")

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
            "prior": self.prior,
            "pairs": [pair.to_dict() for pair in self.pairs],
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
        for number, pair in enumerate(self.interacting[:top]):
            yield "together" if number == 0 else "", pair.text
        start = " from the mask on" if self.prior == "mask" else ""
        yield (
            "",
            f"{_UNITS[self.unit]}{sign}; {self.surrogate} surrogate, {self.fill} fill, "
            f"held-out R2 {self.r2:.2f}, {self.calls} calls{start}",
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
