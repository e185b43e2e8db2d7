"""Steps that do not wait for each other, side by side: the calling thread and a few that help it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class Workers:
    """Threads for short steps in C code, which leaves Python's lock; they begin when there is work.

    The caller takes part and takes back what no thread has begun, so that steps may have steps of their own.
    After a fork the child's threads are new. count: threads that work at a time, the caller among them
    """

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        # Last: a forked child takes nothing of its parent for its own.
        self._pid = os.getpid()

    def each(self, steps: Sequence[Callable[[], Answer]]) -> list[Answer]:
        """What each step gives, in order, after all have ended; of several errors the first step's."""
        if self.count == 1 or len(steps) < 2:
            return [step() for step in steps]
        pool = self._threads()
        first = steps[0]
        futures: list[Future[Any]] = [pool.submit(step) for step in steps[1:]]
        answers: list[Any] = [None] * len(steps)
        errors: dict[int, BaseException] = {}

        def take(index: int, step: Callable[[], Any]) -> None:
            try:
                answers[index] = step()
            except BaseException as error:
                errors[index] = error

        take(0, first)
        for index in range(len(steps) - 1, 0, -1):
            future = futures[index - 1]
            take(index, steps[index] if future.cancel() else future.result)
        if errors:
            raise errors[min(errors)]
        return answers

    def _threads(self) -> ThreadPoolExecutor:
        if self._pid != os.getpid():
            self._reset()
        if self._pool is None:
            with self._lock:
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(self.count - 1, "earmark-worker")
        return self._pool

    def close(self) -> None:
        """Let the threads end; new ones begin when there is work."""
        if self._pid == os.getpid() and self._pool is not None:
            self._pool.shutdown(wait=False)
        self._pool = None
