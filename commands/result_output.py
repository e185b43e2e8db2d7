"""What `earmark explain` prints of each sound: text, lines of JSON, or one JSON document."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DeviceError, as_earmark_error
from .answer import Shown, answer
from .console import say, say_json, tell_failure, tell_traceback

if TYPE_CHECKING:
    from ..runtime.audio.listing import Skipped
    from ..runtime.document import Origin
    from ..runtime.results.result import Result

Record = Mapping[str, Any]


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
