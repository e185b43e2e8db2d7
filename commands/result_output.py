"""What `earmark explain` prints of each sound: text, lines of JSON, or one JSON document."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import DeviceError, as_earmark_error
from .answer import answer
from .console import say, say_json, tell_failure, tell_traceback

if TYPE_CHECKING:
    from ..runtime.audio.listing import Skipped
    from ..runtime.document import Origin
    from ..runtime.results.result import Result

Record = Mapping[str, Any]


class Shown(NamedTuple):
    """What is shown: how many labels in text and in JSON, from which score on, of windows too, in detail."""

    in_text: int
    in_json: int
    min_score: float
    windows: bool
    details: bool
    labels: tuple[str, ...] | None


class ResultOutput:
    """What is said of each sound: text or a line of JSON at once, or one JSON document at the end."""

    def __init__(self, origin: Origin, *, as_json: bool, as_jsonl: bool, shown: Shown) -> None:
        self._origin, self._as_json, self._as_jsonl, self._shown = origin, as_json, as_jsonl, shown
        self._records: list[Record] = []
        self.failed = 0
        # Whether the device cannot be used, so that the sounds to come would fail alike.
        self.device_failed = False

    def answer(self, name: str, result: Result, folder: Path | None) -> None:
        """A sound that was explained, and where its files lie."""
        if not (self._as_json or self._as_jsonl):
            shown = self._shown
            say(
                *answer(
                    name,
                    result,
                    shown.in_text,
                    min_score=shown.min_score,
                    windows=shown.windows,
                    details=shown.details,
                    labels=shown.labels,
                )
            )
            if folder is not None:
                say(f"  written   {folder}")
        if self._as_json or self._as_jsonl:
            shown = self._shown
            record = result.to_dict(
                shown.in_json, min_score=shown.min_score, windows=shown.windows, labels=shown.labels
            )
            self._record({**record, "input": name})

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

    def _record(self, record: Record) -> None:
        if self._as_jsonl:
            say_json(record)
        if self._as_json:
            self._records.append(record)

    def close(self, skipped: Sequence[Skipped]) -> None:
        """The document, where one was asked for."""
        if not self._as_json:
            return
        document = {
            "bundle": self._origin.bundle,
            "bundle_id": self._origin.bundle_id,
            "failed": self.failed,
            "results": self._records,
            "skipped": [{"input": str(one.path), "reason": one.reason} for one in skipped],
        }
        say_json(document, indent=2)
