"""When an explanation ends before it is complete: its time is over, or the user cancels it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ...errors import MethodError

Cancel = Callable[[], bool]


class Deadline:
    """The end of one sound's explanation; asked between windows and between rounds of questions.

    Once reached it stays reached: `timeout_s` seconds from now on, or where `cancel` gives True. Raises
    MethodError for what is no number above 0, or cannot be called.
    """

    def __init__(self, timeout_s: float | None = None, cancel: Cancel | None = None) -> None:
        check_deadline(timeout_s, cancel)
        self._timeout_s, self._cancel = timeout_s, cancel
        self._end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        self.reason = ""

    def reached(self) -> bool:
        """Whether to stop; `reason` then says why."""
        if not self.reason and time.monotonic() >= self._end:
            self.reason = f"its {self._timeout_s:g} s were over"
        if not self.reason and self._cancel is not None and self._cancel():
            self.reason = "it was cancelled"
        return bool(self.reason)


def check_deadline(timeout_s: object, cancel: object) -> None:
    """Raise MethodError unless `timeout_s` is None or above 0, and `cancel` is None or callable."""
    if timeout_s is not None and (
        isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not timeout_s > 0.0
    ):
        raise MethodError(f"timeout_s is {timeout_s!r}: give seconds above 0, or None for no limit")
    if cancel is not None and not callable(cancel):
        raise MethodError(f"cancel is {cancel!r}: give a function that returns True to stop")
