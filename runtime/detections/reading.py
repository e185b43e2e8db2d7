"""Reading ahead: another thread makes what an iterator gives while this one works on what it gave before."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from queue import Empty, Queue
from typing import TypeVar

Item = TypeVar("Item")

# Items that wait.
_MOST = 4


class _Ended:
    """Stands behind the last item; with what the iterator raised, if it did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Iterable[Item]) -> Generator[Item, None, None]:
    """The items, in order; a few of them are made ahead of time, by a thread that ends with this.

    Raises what the iterator raises, after the items before.
    """
    queue: Queue[Item | _Ended] = Queue(_MOST)
    stopped = threading.Event()

    def read() -> None:
        ended = _Ended()
        try:
            for item in items:
                queue.put(item)
                if stopped.is_set():
                    return
        except BaseException as error:
            ended = _Ended(error)
        queue.put(ended)

    reader = threading.Thread(target=read, name="earmark-reader", daemon=True)
    reader.start()
    try:
        while not isinstance(item := queue.get(), _Ended):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        # What waits makes room for the one item that the thread may still want to put.
        while reader.is_alive():
            try:
                queue.get_nowait()
            except Empty:
                reader.join(0.01)
