"""The nearest training sounds of a clip, by the bundle's views or by anybody's function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import MethodError
from ...runtime.engine import Engine
from ...runtime.inference.window import Window
from ...runtime.methods.prototypes.prototype import Place
from ...runtime.results.result import Result
from ..questions import Match, PrototypeFunction, Question, answered


@dataclass(frozen=True)
class Nearest:
    """A training sound called near.

    Attributes:
        label, labels: Its first label, and all.
        similarity: NaN where none is told.
        place: Of the input, what it matches.
        prototype: Whether it is a channel's prototype; False for functions.

    """

    label: str
    labels: Sequence[str]
    similarity: float
    place: Place
    prototype: bool = False


def of_views(result: Result) -> dict[str, list[Nearest]]:
    """What the bundle's views call near."""
    return {
        view: [
            Nearest(one.label, one.labels, one.similarity, one.place, one.kind == "prototype")
            for one in nearest
        ]
        for view, nearest in (result.prototypes or {}).items()
    }


def of_function(
    name: str,
    function: PrototypeFunction,
    engine: Engine,
    windows: Sequence[Window],
    target: int,
    duration_s: float,
    seed: int,
) -> list[Nearest]:
    """What a function calls near, asked about the window that says most for the target.

    Raises:
        MethodError: It raised, or gave no matches.

    """
    window = max(windows, key=lambda one: float(one.logits[target]))
    answer: Any = answered(name, function, Question.of(engine, window, target, seed))
    matches = list(answer) if isinstance(answer, Sequence) else []
    if not matches or not all(isinstance(one, Match) for one in matches):
        raise MethodError(f"{name}: give the nearest training sounds as a list of Match, the best first")
    begin = window.offset / engine.manifest.sample_rate
    return [
        Nearest(one.label, (one.label,), one.similarity, _place(one, engine, begin, duration_s))
        for one in matches
    ]


def _place(match: Match, engine: Engine, begin_s: float, duration_s: float) -> Place:
    """The place of the input, in the sound's own time."""
    end = duration_s - begin_s if match.end_s is None else match.end_s
    start, low = match.start_s or 0.0, match.fmin_hz or 0.0
    high = 0.5 * engine.manifest.sample_rate if match.fmax_hz is None else match.fmax_hz
    if not (0.0 <= start < end and 0.0 <= low < high):
        raise MethodError(f"a match lies at {start:g}-{end:g} s and {low:g}-{high:g} Hz, which is no place")
    return Place(begin_s + start, min(begin_s + end, duration_s), low, high)
