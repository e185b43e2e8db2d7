"""What is asked of `detect` and `stream`, checked in one step before any sound is read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypedDict, get_args

import msgspec
import numpy as np

from ...errors import SettingsError
from ..bundle.manifest import Aggregation, LevelOver, Manifest
from ..document import DetectSettingsDict, Origin
from ..engine import Engine
from ..explaining.request import ExplainOptions, Request, WindowOptions, request_of
from ..inference.pipeline import Precision, no_int8
from ..scores.labels import label_index
from ..values.arrays import FloatArray
from .merging import Merging
from .thresholds import REST, read_thresholds

# The threshold of labels for which none is given.
MIN_SCORE = 0.5
# What is left at this share of the score that it was entered at, where no other is given: chosen over scenes
# with true events, where it keeps the events and leaves fewer false detections (docs/detections.md).
LEAVE_SHARE = 0.75
# Sound and scores are kept for so long.
MOST_SMOOTH_S = 60.0
# One number for all labels, or label -> number, where "*" stands for the labels that are not named.
Thresholds = float | Mapping[str, float]


class DetectOptions(TypedDict, total=False):
    """What counts as a detection; `Explainer.detect` says what each means."""

    min_score: Thresholds | str | Path
    leave_score: Thresholds | None
    labels: Sequence[str] | None
    merge_gap_s: float
    smooth_s: float
    min_s: float
    top_per_window: int | None
    sensitivity: float
    temperature: float
    precision: Precision


class StreamOptions(DetectOptions, WindowOptions, total=False):
    """What a stream takes: what counts as a detection, and how it is explained."""


@dataclass(frozen=True)
class DetectionSettings:
    """Settings of `detect` and `stream`; for the labels of a bundle `merging` makes thresholds of them.

    Attributes:
        min_score: Score 0..1 that one window of a detection reaches: a number, {label: number}, or a file
            of `read_thresholds`. In a mapping "*" stands for the labels that it does not name (else 0.5).
        leave_score: Score 0..1 that all windows of a detection reach (hysteresis), at most `min_score`;
            given as that is. None, and for labels that are not named: three quarters of `min_score`.
        labels: The labels to be detected; None: all.
        smooth_s: Thresholds are asked of means of scores, over the windows whose middles are at most half
            of so many seconds away; 0: of the scores themselves.
        merge_gap_s: Detections of one label at most so many seconds apart become one.
        min_s: Detections shorter than so many seconds are left out.
        top_per_window: Only so many labels of each window count, the best ones; None: all.
        sensitivity: Moves the logits of a multi-label model by 10 (sensitivity - 1) before the sigmoid, as
            BirdNET-Analyzer does: above 1 more is detected. 0.5 to 1.5.
        temperature: What logits are divided by before sigmoid or softmax, above 0: above 1, scores are less
            sure.
        precision: Which classifier detects: "fp32", or "int8", which the bundle must have. Detections are
            explained in fp32.
        hop_s: Seconds from one window to the next; None: as the bundle says.
        aggregate: How an explanation joins the scores of its windows; None: as the bundle says.
        level: Over what the level of the model's pipeline is measured; None: as the bundle says.
        methods: By which detections are explained.
        options: Method -> its options, of those that have some.
        rescore: Whether explanations have the scores of what was kept and of what was removed.
        timeout_s: Seconds after which the search ends; None: at the end of the recording.

    """

    min_score: Thresholds | str | Path = MIN_SCORE
    leave_score: Thresholds | None = None
    labels: Sequence[str] | None = None
    smooth_s: float = 0.0
    merge_gap_s: float = 0.0
    min_s: float = 0.0
    top_per_window: int | None = None
    sensitivity: float = 1.0
    temperature: float = 1.0
    precision: Precision = "fp32"
    hop_s: float | None = None
    aggregate: Aggregation | None = None
    level: LevelOver | None = None
    methods: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rescore: bool = False
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        """Raises SettingsError."""
        if isinstance(self.min_score, (str, Path)):
            read = read_thresholds(self.min_score)
            object.__setattr__(self, "min_score", read.min_score)
            if self.leave_score is None:
                object.__setattr__(self, "leave_score", read.leave_score or None)
        _check_scores("min_score", self.min_score)
        if self.leave_score is not None:
            _check_scores("leave_score", self.leave_score)
        if self.labels is not None:
            object.__setattr__(self, "labels", _listed(self.labels))
        for name in ("merge_gap_s", "min_s"):
            _check_number(name, getattr(self, name), 0.0, math.inf, "give seconds from 0 on")
        most_s = MOST_SMOOTH_S
        _check_number("smooth_s", self.smooth_s, 0.0, most_s, f"give seconds from 0 to {most_s:g}")
        _check_number("sensitivity", self.sensitivity, 0.5, 1.5, "give a number from 0.5 to 1.5")
        _check_number("temperature", self.temperature, 1e-3, 1e3, "give a number above 0, such as 1.5")
        top = self.top_per_window
        if top is not None and (isinstance(top, bool) or not isinstance(top, (int, np.integer)) or top < 1):
            raise SettingsError(f"top_per_window is {top!r}: give a whole number from 1 on")
        if self.precision not in get_args(Precision):
            raise SettingsError(f"precision is {self.precision!r}: give fp32 or int8")

    def merging(self, labels: Sequence[str], bundle: str) -> Merging:
        """The thresholds for each of a bundle's K labels, in the order of the logits.

        Raises LabelError where a label does not exist, SettingsError where one is left at a higher score than
        it is entered at.
        """
        enter = _per_label(self.min_score, MIN_SCORE, labels, bundle)
        leave = np.asarray(enter * np.float32(LEAVE_SHARE), np.float32)
        if self.leave_score is not None:
            given = _per_label(self.leave_score, math.nan, labels, bundle)
            leave = np.where(np.isnan(given), leave, given)
        wanted = np.ones(len(labels), bool)
        if self.labels is not None:
            wanted[:] = False
            wanted[[label_index(label, labels, bundle) for label in self.labels]] = True
        above = np.flatnonzero((leave > enter) & wanted)
        if len(above):
            k = int(above[0])
            raise SettingsError(
                f"leave_score of {labels[k]!r} is {leave[k]:g}, above its min_score of {enter[k]:g}: give at "
                "most that"
            )
        unwanted = np.where(wanted, 0.0, math.inf).astype(np.float32)
        return Merging(
            enter + unwanted,
            leave + unwanted,
            self.merge_gap_s,
            self.min_s,
            self.top_per_window,
            self.smooth_s,
        )

    def calibrated(self, logits: FloatArray) -> FloatArray:
        """Logits [..., K] after temperature and sensitivity."""
        if self.temperature == 1.0 and self.sensitivity == 1.0:
            return logits
        shift = 10.0 * (self.sensitivity - 1.0)
        return np.asarray(logits.astype(np.float64) / self.temperature + shift, np.float32)

    @classmethod
    def of(cls, asked: DetectOptions, request: Request) -> Self:
        """From what a user gave. Raises SettingsError."""
        windowing = request.windowing
        return cls(
            **asked,
            hop_s=windowing.hop_s,
            aggregate=windowing.aggregate,
            level=windowing.level,
            methods=tuple(request.methods),
            options={name: given for name, one in request.methods.items() if (given := one.to_dict())},
            rescore=request.rescore,
            timeout_s=request.timeout_s,
        )

    def check_bundle(self, manifest: Manifest) -> None:
        """Raise SettingsError for a regression and for what this bundle lacks, LabelError for labels.

        A softmax takes no shift: there the sensitivity would change nothing.
        """
        self.merging(manifest.labels, manifest.name)
        if self.precision == "int8" and manifest.stage("classifier_int8") is None:
            raise SettingsError(no_int8(manifest))
        if manifest.task == "regression":
            raise SettingsError(
                "this bundle gives the values of a regression, of which none is detected: earmark explain "
                "--windows (Result.windows) tells them window by window"
            )
        if self.sensitivity != 1.0 and manifest.task != "multi_label":
            raise SettingsError(
                f"sensitivity is {self.sensitivity:g}: it moves the sigmoid of multi-label models, and this "
                "bundle's labels exclude each other; use min_score or temperature"
            )

    def origin(self, engine: Engine, request: Request) -> Origin:
        """What is asked, for the records of failures."""
        return msgspec.structs.replace(request.origin(engine), settings=self.to_dict())

    def to_dict(self) -> DetectSettingsDict:
        """JSON-ready."""
        return msgspec.json.decode(msgspec.json.encode(self, enc_hook=_plain), type=DetectSettingsDict)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> DetectionSettings:
        """What `to_dict` gave."""
        listed: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
        }
        return cls(**listed)


def settled(engine: Engine, counts: DetectOptions, how: ExplainOptions) -> tuple[DetectionSettings, Request]:
    """What is asked, checked for the bundle. Raises SettingsError, LabelError, MethodError."""
    request = request_of(engine, (), how)
    settings = DetectionSettings.of(counts, request)
    settings.check_bundle(engine.manifest)
    return settings, request


def parted(asked: Mapping[str, Any]) -> tuple[DetectOptions, ExplainOptions]:
    """Options by name: what counts as a detection, and how it is explained."""
    counts, how = DetectOptions(), ExplainOptions()
    for name, value in asked.items():
        (counts if name in DetectOptions.__annotations__ else how)[name] = value  # type: ignore[literal-required]
    return counts, how


def _plain(value: Any) -> Any:
    """What JSON has no form for: numbers of NumPy, mappings of other kinds."""
    return dict(value) if isinstance(value, Mapping) else value.item()


def _listed(labels: object) -> tuple[str, ...]:
    """Several labels, each once. Raises SettingsError."""
    if isinstance(labels, str) or not isinstance(labels, Sequence) or not labels:
        raise SettingsError(f"labels is {labels!r}: give a list with at least one label, or None for all")
    return tuple(dict.fromkeys(labels))


def _check_scores(name: str, given: object) -> None:
    """Raise SettingsError unless it is one score 0..1, or several by label."""
    if isinstance(given, Mapping):
        for label, score in given.items():
            _check_number(f"{name} of {label!r}", score, 0.0, 1.0, "scores are 0 to 1")
    else:
        _check_number(name, given, 0.0, 1.0, "scores are 0 to 1")


def _check_number(name: str, value: object, least: float, most: float, hint: str) -> None:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not least <= value <= most or math.isinf(value):  # type: ignore[operator, arg-type]
        raise SettingsError(f"{name} is {value!r}: {hint}")


def _per_label(given: Thresholds | str | Path, rest: float, labels: Sequence[str], bundle: str) -> FloatArray:
    """A threshold for each of K labels, [K]; `rest` for those that are not named."""
    if not isinstance(given, Mapping):
        return np.full(len(labels), given, np.float32)
    found = np.full(len(labels), given.get(REST, rest), np.float32)
    for label, score in given.items():
        if label != REST:
            found[label_index(label, labels, bundle)] = score
    return found
