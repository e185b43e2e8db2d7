"""What `earmark explain` prints of each sound: a few lines for a person, lines of JSON, or one document."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from ..errors import DeviceError, as_earmark_error
from ..runtime.scores.labels import SHOWN
from ..runtime.scores.text import reaching, score_text
from ..times import duration_text, span_text, time_text
from .console import bold, say, say_json, tell_failure, tell_traceback, yellow

if TYPE_CHECKING:
    from ..runtime.audio.listing import Skipped
    from ..runtime.document import Origin
    from ..runtime.results.result import Result


# Columns of the strip that shows when the evidence lies.
_COLUMNS = 48


class Selected(TypedDict):
    """What of a result is shown, as `Result.to_dict` and `Result.save` take it."""

    min_score: float
    windows: bool
    labels: tuple[str, ...] | None


class Display(NamedTuple):
    """How much of a result is shown.

    in_text, in_json: labels, and in detail prototypes, at the most
    min_score: labels with a lower score are left out, but for the best one; labels: only these; None: any
    windows: whether to list every window
    details: whether to tell all that the methods gave, or what a newcomer understands at first sight
    """

    in_text: int = 3
    in_json: int = SHOWN
    min_score: float = 0.0
    windows: bool = False
    details: bool = False
    labels: tuple[str, ...] | None = None

    @property
    def chosen(self) -> Selected:
        """Which labels are shown, and whether windows are."""
        return {"min_score": self.min_score, "windows": self.windows, "labels": self.labels}


def answer(name: str, result: Result, shown: Display) -> list[str]:
    """Lines for `console.say`, which styles them where stdout is a terminal; `name`: the sound's."""
    lines = [f"{bold(name)}  {_facts(result)}"]
    lines += [f"  {topic:<9} {text}" for topic, text in _lines(result, shown)]
    if shown.windows:
        topics = chain(["windows"], repeat(""))
        lines += [
            f"  {topic:<9} {text}" for topic, text in zip(topics, _windows(result, shown), strict=False)
        ]
    lines += [f"  {yellow('warning')}   {warning}" for warning in result.warnings]
    return lines


def about_demo(labels: Sequence[str]) -> str:
    """What has to be said of an answer by a bundle that nobody asked."""
    return (
        f"no bundle was named, so the shipped demo answered: it knows {', '.join(labels)}, "
        "and calls any sound one of them; name your bundle: -b BUNDLE, EARMARK_BUNDLE, earmark.load(path)"
    )


def _facts(result: Result) -> str:
    channels = f"{result.channel_count} channel{'s' if result.channel_count != 1 else ''}"
    return f"{time_text(result.duration_s)}, {result.sample_rate} Hz, {channels}"


def _lines(result: Result, shown: Display) -> Iterator[tuple[str, str]]:
    first, *others = result.shown(shown.in_text, labels=shown.labels)
    task = result.task
    rest = [f"   {label} {score_text(one, task)}" for label, one in others if reaching(one, shown.min_score)]
    topic = "values" if task == "regression" else "predicted" if shown.labels is None else "scores"
    yield topic, bold(f"{first[0]} {score_text(first[1], task)}") + "".join(rest)
    if result.target != result.predictions[0][0]:
        yield "explained", f"{result.target} {score_text(result.score, task)}"
    if not result.parts:
        from ..runtime.methods.loading import all_methods

        hints = [f"-m {one.name} {one.on_request}" for one in all_methods() if one.on_request]
        yield "why", f"not asked: {'; '.join(hints)}"
    if spans := result.evidence_spans():
        yield "", _strip(spans, result.duration_s)
    yield from result.lines(shown.in_text) if shown.details else result.summary()
    yield "bundle", result.bundle
    yield "took", f"{duration_text(sum(result.timings.values()) / 1000.0)} on {result.device}"


def _strip(spans: Sequence[tuple[float, float]], duration_s: float) -> str:
    """The sound from its begin to its end, with # where the evidence lies."""
    step = max(duration_s, 1e-9) / _COLUMNS
    marks = (
        any(start < (column + 1) * step and end > column * step for start, end in spans)
        for column in range(_COLUMNS)
    )
    return f"0 s |{''.join('#' if mark else '.' for mark in marks)}| {time_text(duration_s)}"


def _windows(result: Result, shown: Display) -> Iterator[str]:
    """A line for each window: when it lies, and its best labels."""
    windows = result.windows
    rows = windows.top(shown.in_text, min_score=shown.min_score, labels=shown.labels)
    for start, end, row in zip(windows.start_s, windows.end_s, rows, strict=True):
        scores = "   ".join(f"{label} {score_text(score, windows.task)}" for label, score in row)
        yield f"{span_text(start, end):>17}  {scores}"


class ResultOutput:
    """What is said of each sound: text or a line of JSON at once, or one JSON document at the end."""

    def __init__(self, origin: Origin, *, as_json: bool, as_jsonl: bool, shown: Display) -> None:
        self._origin, self._as_json, self._as_jsonl, self._shown = origin, as_json, as_jsonl, shown
        self._records: list[Mapping[str, Any]] = []
        self.failed = 0
        # Whether the device cannot be used, so that the sounds to come would fail alike.
        self.device_failed = False

    def answer(self, name: str, result: Result, folder: Path | None) -> None:
        """A sound that was explained, and where its files lie."""
        if self._as_json or self._as_jsonl:
            record = result.to_dict(self._shown.in_json, **self._shown.chosen)
            self._record({**record, "input": name})
            return
        say(*answer(name, result, self._shown))
        if folder is not None:
            say(f"  written   {folder}")

    def failure(self, name: str, raised: Exception) -> None:
        """A sound that could not be explained, and why."""
        self.failed += 1
        error = as_earmark_error(raised)
        self.device_failed = isinstance(error, DeviceError) and not isinstance(error, MemoryError)
        tell_failure(name, error)
        if os.environ.get("EARMARK_DEBUG"):
            tell_traceback(raised)
        if self._as_json or self._as_jsonl:
            from ..runtime.document import error_dict, failure_record

            self._record(failure_record("result", name, error_dict(error), self._origin))

    def _record(self, record: Mapping[str, Any]) -> None:
        if self._as_jsonl:
            say_json(record)
        if self._as_json:
            self._records.append(record)

    def close(self, skipped: Sequence[Skipped]) -> None:
        """The document, where one was asked for."""
        if not self._as_json:
            return
        say_results(self._origin, self.failed, self._records, skipped)


def say_results(
    origin: Origin, failed: int, results: Sequence[Mapping[str, Any]], skipped: Sequence[Skipped]
) -> None:
    """Say one JSON document: whose answers, how many failed, all of them, and what was passed over."""
    document = {
        "bundle": origin.bundle,
        "bundle_id": origin.bundle_id,
        "failed": failed,
        "results": results,
        "skipped": [{"input": str(one.path), "reason": one.reason} for one in skipped],
    }
    say_json(document, indent=2)
