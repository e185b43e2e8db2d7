"""Reading ahead: another thread makes what an iterator gives while this one works on what it gave before."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from queue import Empty, Queue
from typing import Generic, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

# Items that wait at the most, and from how many on the thread that reads has time for more than that.
_MOST, _ENOUGH = 4, 2


class _Piece(Generic[Item, Made]):
    """An item, and what is made of it."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.made: Future[Made] = Future()


def ahead(items: Iterable[Item], make: Callable[[Item], Made]) -> Generator[Made, None, None]:
    """What `make` makes of the items, in order; a thread that ends with this draws some of them ahead.

    `make` is called for one item at a time, in order: by that thread while two items or more wait, else by
    the caller's, which would have nothing to do. Raises what the iterator or `make` raises, after the items
    before.
    """
    queue: Queue[_Piece[Item, Made] | BaseException | None] = Queue(_MOST)
    stopped = threading.Event()
    making = threading.Lock()

    def made(piece: _Piece[Item, Made]) -> Future[Made]:
        with making:
            if not piece.made.done():
                try:
                    piece.made.set_result(make(piece.item))
                except BaseException as error:
                    piece.made.set_exception(error)
        return piece.made

    def read() -> None:
        # Behind the last item, what the iterator raised, if it did.
        ended: BaseException | None = None
        pieces = deque[_Piece[Item, Made]]()
        try:
            for item in items:
                pieces.append(_Piece(item))
                queue.put(pieces[-1])
                while pieces and (pieces[0].made.done() or queue.qsize() >= _ENOUGH):
                    made(pieces.popleft())
                if stopped.is_set():
                    return
        except BaseException as error:
            ended = error
        queue.put(ended)

    reader = threading.Thread(target=read, name="earmark-reader", daemon=True)
    reader.start()
    try:
        while isinstance(piece := queue.get(), _Piece):
            yield made(piece).result()
        if piece is not None:
            raise piece
    finally:
        stopped.set()
        # What waits makes room for the one item that the thread may still want to put.
        while reader.is_alive():
            try:
                queue.get_nowait()
            except Empty:
                reader.join(0.01)
