"""What a fork waits for: BLAS has locks; a child that is forked meanwhile would find them locked for ever."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


class _Computing:
    """The threads that are in linear algebra, each as often as functions call each other."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._depths: dict[int, int] = {}
        self._forking = False

    def begin(self) -> None:
        """The thread begins; while another one wants to fork it waits, unless it is inside already."""
        me = threading.get_ident()
        with self._changed:
            while self._forking and me not in self._depths:
                self._changed.wait()
            self._depths[me] = self._depths.get(me, 0) + 1

    def end(self) -> None:
        """It has done."""
        me = threading.get_ident()
        with self._changed:
            self._depths[me] -= 1
            if not self._depths[me]:
                del self._depths[me]
                self._changed.notify_all()

    def close(self) -> None:
        """Wait until no other thread is inside, and let none in."""
        me = threading.get_ident()
        with self._changed:
            while self._forking:
                self._changed.wait()
            self._forking = True
            while self._depths.keys() - {me}:
                self._changed.wait()

    def open(self) -> None:
        """Let them in again."""
        with self._changed:
            self._forking = False
            self._changed.notify_all()

    def begin_anew(self) -> None:
        """In the child, where only this thread is left: others may have held the lock."""
        me = threading.get_ident()
        self._changed = threading.Condition()
        self._depths = {me: self._depths[me]} if me in self._depths else {}
        self._forking = False


_computing = _Computing()
if sys.platform != "win32":
    os.register_at_fork(
        before=_computing.close, after_in_parent=_computing.open, after_in_child=_computing.begin_anew
    )


def fork_waits(function: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """Of a function with linear algebra that takes little time: a fork by another thread waits for its end.

    Args:
        function: It waits for no other thread.

    Returns:
        The function.

    """

    @wraps(function)
    def computing(*args: Given.args, **kwargs: Given.kwargs) -> Answer:
        _computing.begin()
        try:
            return function(*args, **kwargs)
        finally:
            _computing.end()

    return computing
