"""A command stopped by a signal ends in order: what it was writing goes, what it had written stays."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def stopping_in_order() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP end the command as Ctrl-C does, with the exit code a shell expects.

    A signal that is ignored (nohup) or that somebody else handles is left alone.
    """
    held = []
    if threading.current_thread() is threading.main_thread():
        wanted = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
        held = [one for one in wanted if signal.getsignal(one) is signal.SIG_DFL]
    for one in held:
        signal.signal(one, _stop)
    try:
        yield
    finally:
        for one in held:
            signal.signal(one, signal.SIG_DFL)


def _stop(number: int, _: object) -> NoReturn:
    # Another one would break off the tidying.
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)
