"""How many requests are admitted: those that compute, those that wait, those of one client."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic

from .refusals import Refused

# What an answer is taken to last before the first one is there, in seconds.
_FIRST_S = 1.0
_LONGEST_RETRY_S = 60.0


class Gone(Exception):  # noqa: N818
    """The client has gone before its turn came."""


class Admission:
    """Counts requests, and refuses those for which there is no room.

    concurrency: requests that compute at a time; queue: that are received or wait beyond those
    per_client: requests of one client; 0: no limit; patience_s: that a request may wait for its turn

    Attributes:
        admitted: Requests that are counted.
        computing: Those of them that compute.
        stopping: Set once nobody new is taken.

    """

    def __init__(self, concurrency: int, queue: int, per_client: int, patience_s: float) -> None:
        self.admitted = self.computing = 0
        self.stopping = asyncio.Event()
        self._concurrency, self._most, self._per_client = concurrency, concurrency + queue, per_client
        self._patience_s = patience_s
        self._clients: Counter[str] = Counter()
        self._turns = asyncio.Semaphore(concurrency)
        self._mean_s = _FIRST_S

    @property
    def waiting(self) -> int:
        """Requests that are received or wait for their turn."""
        return self.admitted - self.computing

    @property
    def retry_s(self) -> float:
        """When there may be room, in seconds from now."""
        return min(_LONGEST_RETRY_S, self._mean_s * self.admitted / self._concurrency)

    @contextmanager
    def place(self, client: str) -> Iterator[None]:
        """Count a request of `client`. Raises Refused: 503 where all is full, 429 where its share is."""
        if self.stopping.is_set():
            raise stopping()
        if self.admitted >= self._most:
            raise Refused(
                503, f"{self._most} requests are in work already: try again later", retry_s=self.retry_s
            )
        if self._per_client and self._clients[client] >= self._per_client:
            raise Refused(
                429,
                f"{self._per_client} of your requests are in work already: wait for their answers",
                retry_s=self.retry_s,
            )
        self.admitted += 1
        self._clients[client] += 1
        try:
            yield
        finally:
            self.admitted -= 1
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    @asynccontextmanager
    async def turn(self, gone: asyncio.Task[None]) -> AsyncIterator[None]:
        """Waits until the request may compute.

        Raises Refused (503) where that takes too long or the server stops; Gone where `gone` ends before.
        """
        acquiring = asyncio.ensure_future(self._turns.acquire())
        ending = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait(
                {acquiring, gone, ending}, timeout=self._patience_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not acquiring.done():
                if gone.done():
                    raise Gone
                if ending.done():
                    raise stopping()
                waited = f"no turn came in {self._patience_s:g} s: try again later"
                raise Refused(503, waited, retry_s=self.retry_s)
        except BaseException:
            # The turn may have come in the meantime.
            if not acquiring.cancel():
                self._turns.release()
            raise
        finally:
            ending.cancel()
        self.computing += 1
        begun = monotonic()
        try:
            yield
        finally:
            self.computing -= 1
            self._mean_s += 0.2 * (monotonic() - begun - self._mean_s)
            self._turns.release()


def stopping() -> Refused:
    """The refusal of a server that stops."""
    return Refused(503, "the server is stopping: ask another, or later", retry_s=5.0)
