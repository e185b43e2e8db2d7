"""What a client asks: parameters of a request as types, which the OpenAPI document is made of, too."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta

from ...errors import MethodError
from ...printable import first_line, nearest
from ...runtime.bundle.manifest import Aggregation, LevelOver
from ...runtime.explaining.request import ExplainOptions
from ...runtime.registry import METHODS
from ...runtime.scores.labels import SHOWN
from .options import MethodSettings, settings_by_name

# In place of a method: scores alone.
NONE = "none"
# Windows in which a moment may lie.
_MOST_OVERLAP = 20
# Marks parameters whose values are JSON.
_JSON = {"json": True}


class UploadQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """What both endpoints take."""

    name: Annotated[
        str | None, Meta(description="What the sound is called in the answer; else its file name.")
    ] = None
    methods: Annotated[
        tuple[str, ...] | None,
        Meta(
            description=f"What explains: {', '.join(METHODS)}, or {NONE} for scores alone. May be repeated.",
            examples=[["mask"]],
        ),
    ] = None
    rescore: Annotated[bool, Meta(description="Classify what was kept and what was removed, too.")] = False
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1, description="Of everything that is drawn at random.")] = 0
    options: Annotated[
        MethodSettings | None,
        Meta(
            description="Settings of single methods, as JSON.",
            examples=[{"segments": {"calls": 100}}],
            extra=_JSON,
        ),
    ] = None
    hop_s: Annotated[float | None, Meta(description="Seconds from one window to the next.")] = None
    aggregate: Annotated[
        Aggregation | None, Meta(description="How scores of windows become those of the sound.")
    ] = None
    level: Annotated[
        LevelOver | None, Meta(description="Over what the gain of the model's own pipeline is measured.")
    ] = None
    timeout_s: Annotated[
        float | None,
        Meta(
            description="Seconds after which the answer ends as it is then; at most what the server allows."
        ),
    ] = None

    def how(self, most_s: float, window_s: float) -> ExplainOptions:
        """Options of `Explainer.explain`, for an answer within `most_s` seconds, of windows of `window_s`.

        Raises MethodError where they do not fit together, or would cost too much.
        """
        asked = most_s if self.timeout_s is None else self.timeout_s
        if self.hop_s is not None and self.hop_s < window_s / _MOST_OVERLAP:
            least = window_s / _MOST_OVERLAP
            raise MethodError(f"hop_s is {self.hop_s:g}: this server takes at least {least:g} s")
        return {
            "methods": _named(self.methods),
            "rescore": self.rescore,
            "seed": self.seed,
            "options": settings_by_name(self.options, window_s),
            "hop_s": self.hop_s,
            "aggregate": self.aggregate,
            "level": self.level,
            "timeout_s": min(asked, most_s),
        }


class ExplainQuestion(UploadQuestion, frozen=True, kw_only=True):
    """What `/v1/explain` takes."""

    target: Annotated[str | None, Meta(description="The label to explain; else the one predicted.")] = None
    top: Annotated[
        int, Meta(ge=0, le=100_000, description="Labels in the answer, of the sound and of each window.")
    ] = SHOWN
    windows: Annotated[bool, Meta(description="Give the scores of every window, too.")] = False


class DetectQuestion(UploadQuestion, frozen=True, kw_only=True):
    """What `/v1/detect` takes. Detections are explained by `mask` where the bundle has one."""

    min_score: Annotated[
        float | dict[str, float],
        Meta(
            description='Score that a detection reaches: a number, or JSON by label, where "*" is the rest.',
            examples=[0.5],
            extra=_JSON,
        ),
    ] = 0.5
    leave_score: Annotated[
        float | dict[str, float] | None,
        Meta(description="Score that all its windows reach, given likewise; else 3/4 of that.", extra=_JSON),
    ] = None
    labels: Annotated[tuple[str, ...] | None, Meta(description="Only these labels. May be repeated.")] = None
    smooth_s: Annotated[float, Meta(description="Average scores over so many seconds.")] = 0.0
    merge_gap_s: Annotated[float, Meta(description="Close gaps up to this, seconds.")] = 0.0
    min_s: Annotated[float, Meta(description="Leave out what is shorter, seconds.")] = 0.0
    top_per_window: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Count only the best labels of a window.")
    ] = None
    sensitivity: Annotated[float, Meta(description="Of multi-label models, 0.5 to 1.5.")] = 1.0
    temperature: Annotated[float, Meta(description="What logits are divided by.")] = 1.0
    precision: Annotated[
        Literal["fp32", "int8"], Meta(description="Which classifier detects; int8 where the bundle has one.")
    ] = "fp32"


Asked = TypeVar("Asked", bound=UploadQuestion)


def question_of(kind: type[Asked], given: Iterable[tuple[str, str]]) -> Asked:
    """What is asked, from names and values as texts.

    Raises MethodError where a parameter does not exist, is given twice, or its value does not fit.
    """
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for name, text in given:
        if name not in fields:
            hint = nearest(name, fields, f"there are {', '.join(fields)}")
            raise MethodError(f"there is no parameter {name!r}; {hint}")
        if repeatable(kind, name):
            values.setdefault(name, []).append(text)
        elif name in values:
            raise MethodError(f"{name} is given more than once: give one")
        else:
            values[name] = _json(name, text) if holds_json(kind, name) else text
    try:
        question = msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise MethodError(_placed(str(error))) from error
    for name in fields:
        value = getattr(question, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise MethodError(f"{name} is {value}: give a finite number")
    return question


@cache
def holds_json(kind: type[UploadQuestion], name: str) -> bool:
    """Whether the values of a parameter are JSON."""
    hint = get_type_hints(kind, include_extras=True)[name]
    return any(isinstance(meta, Meta) and meta.extra == _JSON for meta in get_args(hint)[1:])


@cache
def repeatable(kind: type[UploadQuestion], name: str) -> bool:
    """Whether a parameter may be given several times."""
    hint = get_type_hints(kind)[name]
    return any(getattr(one, "__origin__", None) is tuple for one in (hint, *get_args(hint)))


def _json(name: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MethodError(f"{name} is not JSON ({first_line(error)}): give it as in {_EXAMPLE}") from error


_EXAMPLE = '{"segments": {"calls": 100}} or 0.5'


def _placed(message: str) -> str:
    """What msgspec says of a value, with its name in front."""
    text, _, place = message.partition(" - at `$.")
    return f"{place.rstrip('`')}: {text}" if place else text


def _named(methods: tuple[str, ...] | None) -> list[str] | None:
    """The methods as `Explainer.explain` takes them. Raises MethodError."""
    if methods is None:
        return None
    if NONE in methods:
        if len(methods) > 1:
            raise MethodError(f"{NONE} goes with no other method")
        return []
    return list(methods)
