"""What the JSON of earmark holds: the record of one sound, whether it was explained or not.

The types say what a record is. `runtime/json_schema.py` makes the published JSON Schema of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
from msgspec import Meta

from ..errors import EarmarkError
from ..version import __version__
from .bundle.manifest import Aggregation, LevelOver, Task
from .methods.loading import all_methods
from .scores.windows import Prediction, Span, WindowDict

# A field that is added leaves it as it is; it rises where a reader would misunderstand a record.
SCHEMA_VERSION = 1

Kind = Literal["result", "detections"]


class ErrorDict(TypedDict):
    """Why a sound has no answer."""

    type: Annotated[str, Meta(description="Class of the error, such as AudioError.")]
    message: Annotated[str, Meta(description="One line: what was wrong, with which file, what to do.")]


class ExplainSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a result was asked for with. None of hop, aggregate and level: as the bundle says."""

    targets: Annotated[
        tuple[str, ...], Meta(description="Labels that were named; none: the one predicted.")
    ] = ()
    methods: Annotated[
        Mapping[str, Mapping[str, Any]],
        Meta(description="Method -> its options, but for those left out; empty: scores alone."),
    ] = {}
    rescore: Annotated[bool, Meta(description="Whether the parts were classified, too.")] = False
    hop_s: Annotated[float | None, Meta(description="Seconds from window to window.")] = None
    aggregate: Annotated[
        Aggregation | None, Meta(description="How scores of windows were joined: mean, max or lme.")
    ] = None
    level: Annotated[
        LevelOver | None, Meta(description="Over what the gain of the model's pipeline was measured.")
    ] = None
    timeout_s: Annotated[
        float | None, Meta(description="Seconds after which the answer was to end; null: none.")
    ] = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return msgspec.json.decode(msgspec.json.encode(self))  # type: ignore[no-any-return]


class DetectSettingsDict(TypedDict):
    """What detections were asked for with: the arguments of `detect`."""

    min_score: Annotated[
        float | dict[str, float], Meta(description='Score of a detection, or by label; "*": of the others.')
    ]
    leave_score: Annotated[
        float | dict[str, float] | None, Meta(description="Score of all its windows; null: 3/4 of min_score.")
    ]
    labels: Annotated[list[str] | None, Meta(description="What was looked for; null: all labels.")]
    smooth_s: Annotated[float, Meta(description="Seconds over which scores were averaged.")]
    merge_gap_s: Annotated[float, Meta(description="Detections so near in seconds became one.")]
    min_s: Annotated[float, Meta(description="Seconds below which detections were left out.")]
    top_per_window: Annotated[int | None, Meta(description="Labels that counted in a window; null: all.")]
    sensitivity: Annotated[float, Meta(description="1: as the model has it.")]
    temperature: Annotated[float, Meta(description="What logits were divided by.")]
    precision: NotRequired[Annotated[Literal["fp32", "int8"], Meta(description="Which classifier detected.")]]
    hop_s: Annotated[float | None, Meta(description="Seconds from window to window; null: the bundle's.")]
    aggregate: Annotated[
        Aggregation | None, Meta(description="How explanations joined scores of windows; null: the bundle's.")
    ]
    level: Annotated[
        LevelOver | None, Meta(description="Over what the model's gain was measured; null: the bundle's.")
    ]
    methods: Annotated[list[str], Meta(description="What explained detections.")]
    options: Annotated[
        dict[str, dict[str, Any]], Meta(description="Method -> its options, of those that have some.")
    ]
    rescore: Annotated[bool, Meta(description="Whether the parts were classified, too.")]
    timeout_s: Annotated[
        float | None, Meta(description="Seconds after which the search was to end; null: none.")
    ]


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What answered, and how it was asked: in every record, errors included."""

    bundle: str = ""
    bundle_id: str = ""
    device: str = ""
    seed: int = 0
    settings: Mapping[str, Any] = {}


class HeadDict(TypedDict):
    """What every record begins with, also that of a sound that has no answer."""

    schema_version: Annotated[int, Meta(description="Of this form of records: 1.")]
    earmark: Annotated[str, Meta(description="Version of earmark that wrote it.")]
    kind: Annotated[Kind, Meta(description='"result" of explain, or "detections".')]
    input: Annotated[str, Meta(description="Name of the sound: its path, or the name that was given.")]
    error: Annotated[ErrorDict | None, Meta(description="Why there is no answer; null where there is one.")]
    bundle: Annotated[str, Meta(description="Name of the bundle that was asked.")]
    bundle_id: Annotated[str, Meta(description="Hash of it.")]
    device: Annotated[str, Meta(description="What ran: cpu, cuda:N, tensorrt, or names of providers.")]
    seed: Annotated[int, Meta(description="Of everything that was drawn at random.")]
    settings: Annotated[
        Mapping[str, Any], Meta(description="What was asked; of detections the arguments of detect.")
    ]


class AnsweredDict(TypedDict):
    """What records of both kinds have, null or empty where there is no answer."""

    partial: Annotated[bool, Meta(description="Whether time was over before the end; a warning says more.")]
    sample_rate: Annotated[int | None, Meta(description="Of the input in Hz; null without an answer.")]
    channel_count: Annotated[int | None, Meta(description="Of the input; null without an answer.")]
    duration_s: Annotated[float | None, Meta(description="Of the input in seconds; null without an answer.")]
    windows: Annotated[int, Meta(description="How many windows of the model were classified.")]
    timings_ms: Annotated[dict[str, float], Meta(description="Stage -> milliseconds.")]
    warnings: Annotated[list[str], Meta(description="What to know before believing it, one line each.")]


class ResultDict(HeadDict, AnsweredDict):
    """The record of one sound and label, as `explain` writes it. Methods add the fields that they give."""

    predictions: Annotated[list[Prediction], Meta(description="The best labels, best first.")]
    task: Annotated[
        Task | None,
        Meta(
            description="single_label, multi_label, or regression, whose scores are values and come in the "
            "order of the labels; null without an answer."
        ),
    ]
    label_count: Annotated[int, Meta(description="How many labels the model has.")]
    target: Annotated[str | None, Meta(description="The label explained; null without an answer.")]
    target_score: Annotated[float | None, Meta(description="Its score; null without an answer.")]
    window_scores: Annotated[
        list[WindowDict] | None, Meta(description="The best labels of every window; null unless asked for.")
    ]


class DetectionDict(TypedDict):
    """A detection; times are seconds from the recording's begin, scores 0..1."""

    id: Annotated[str, Meta(description="The same in every run: of recording, label and start.")]
    label: Annotated[str, Meta(description="What was detected.")]
    score: Annotated[float, Meta(description="The highest score of its windows.")]
    mean_score: Annotated[float, Meta(description="Their mean score.")]
    start_s: Annotated[float, Meta(description="Where it begins.")]
    end_s: Annotated[float, Meta(description="Where it ends.")]
    clip_start_s: Annotated[float, Meta(description="Begin of the sound that was explained.")]
    clip_end_s: Annotated[float, Meta(description="Its end.")]
    low_hz: Annotated[float | None, Meta(description="Lower end of the evidence; null without a mask.")]
    high_hz: Annotated[float | None, Meta(description="Upper end of it.")]
    windows: Annotated[
        list[int], Meta(description="Numbers of its first and its last window.", min_length=2, max_length=2)
    ]
    evidence_s: Annotated[list[Span], Meta(description="[begin, end] of the evidence in it.")]
    warnings: Annotated[list[str], Meta(description="What to know of it, one line each.")]
    explanation: Annotated[
        ResultDict | None, Meta(description="The record of its explanation; null where there is none.")
    ]


class DetectionsDict(HeadDict, AnsweredDict):
    """The record of one recording, as `detect` writes it."""

    detections: Annotated[list[DetectionDict], Meta(description="In the order of their begin.")]
    summary: Annotated[str | None, Meta(description="How many of which label; null without an answer.")]
    recorded_at: Annotated[
        str | None, Meta(description="When the recording began, ISO 8601; null where nobody knows.")
    ]


def error_dict(error: EarmarkError) -> ErrorDict:
    """An error as records have it."""
    return {"type": type(error).__name__, "message": str(error)}


def head(kind: Kind, name: str, origin: Origin, error: ErrorDict | None = None) -> HeadDict:
    """The first fields of a record, schema_version to settings; error: why there is no answer."""
    return {
        "schema_version": SCHEMA_VERSION,
        "earmark": __version__,
        "kind": kind,
        "input": name,
        "error": error,
        "bundle": origin.bundle,
        "bundle_id": origin.bundle_id,
        "device": origin.device,
        "seed": origin.seed,
        "settings": origin.settings,
    }


def failure_record(kind: Kind, name: str, error: ErrorDict, origin: Origin) -> dict[str, Any]:
    """The record of a sound that has no answer: every field of its kind, null or empty; JSON-ready."""
    nothing: AnsweredDict = {
        "partial": False,
        "sample_rate": None,
        "channel_count": None,
        "duration_s": None,
        "windows": 0,
        "timings_ms": {},
        "warnings": [],
    }
    record = {**head(kind, name, origin, error), **nothing}
    if kind == "detections":
        return {**record, "detections": [], "summary": None, "recorded_at": None}
    given = {name: None for method in all_methods() for name in method.gives}
    return {
        **record,
        "predictions": [],
        "task": None,
        "label_count": 0,
        "target": None,
        "target_score": None,
        "window_scores": None,
        **given,
    }
