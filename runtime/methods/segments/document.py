"""What the method `segments` gives, as JSON has it."""

from __future__ import annotations

from typing import Annotated, TypedDict

from msgspec import Meta


class SegmentDict(TypedDict):
    """One segment."""

    start_s: Annotated[float, Meta(description="Begin in seconds.")]
    end_s: Annotated[float, Meta(description="End in seconds.")]
    fmin_hz: Annotated[float, Meta(description="Lowest frequency in Hz.")]
    fmax_hz: Annotated[float, Meta(description="Highest frequency in Hz.")]
    importance: Annotated[float, Meta(description="For (positive) or against the target, in `unit`.")]
    magnitude: Annotated[float, Meta(description="What ranks the segments, 0 or more.")]
    windows: Annotated[float, Meta(description="Windows of the model that see it, on average.")]
    uncertainty: Annotated[
        float | None, Meta(description="Standard deviation of importance; null where there is none.")
    ]


class SegmentPairDict(TypedDict):
    """Two stretches of evidence, removed one by one and together; losses and interaction in log-odds."""

    first_start_s: Annotated[float, Meta(description="Begin of the first in seconds.")]
    first_end_s: Annotated[float, Meta(description="End of the first in seconds.")]
    second_start_s: Annotated[float, Meta(description="Begin of the second in seconds.")]
    second_end_s: Annotated[float, Meta(description="End of the second in seconds.")]
    without_first: Annotated[float, Meta(description="What the score loses without the first.")]
    without_second: Annotated[float, Meta(description="What the score loses without the second.")]
    without_both: Annotated[float, Meta(description="What the score loses without both.")]
    interaction: Annotated[float, Meta(description="without_first + without_second - without_both.")]
    uncertainty: Annotated[float, Meta(description="Standard error of interaction.")]
    kind: Annotated[str, Meta(description="either suffices, both are needed, or they add up: sum.")]


class SegmentsDict(TypedDict):
    """How much each segment speaks for or against the target."""

    axis: Annotated[str, Meta(description="What was masked: time, frequency or both.")]
    surrogate: Annotated[str, Meta(description="What was fitted.")]
    fill: Annotated[str, Meta(description="What replaced masked segments.")]
    unit: Annotated[str, Meta(description="Of importance: log_odds, impurity, score or value.")]
    signed: Annotated[bool, Meta(description="Whether the sign is the surrogate's own.")]
    r2: Annotated[float | None, Meta(description="Variance explained on masks it has not seen, at most 1.")]
    score: Annotated[float, Meta(description="The target's score for the whole sound, 0..1, or its value.")]
    calls: Annotated[int, Meta(description="Sounds that the model was asked about.")]
    seconds: Annotated[float, Meta(description="Time of the explainer itself.")]
    scoring_seconds: Annotated[float, Meta(description="Time of the model.")]
    seed: Annotated[int, Meta(description="Of the masks.")]
    prior: Annotated[str, Meta(description="What the surrogate started from: mask or flat.")]
    pairs: Annotated[list[SegmentPairDict], Meta(description="Stretches removed one by one and together.")]
    rows: Annotated[list[SegmentDict], Meta(description="The segments, by time, then frequency.")]


class SegmentsFields(TypedDict):
    """What the method adds to a record."""

    segments: Annotated[SegmentsDict | None, Meta(description="Method segments; null where it did not run.")]
