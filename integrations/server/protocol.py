"""uvicorn's HTTP/1.1 with limits on connections: nobody holds one by being slow.

uvicorn limits how long a connection may be idle after an answer. A head that never ends, an answer that is
never read and the body of a request that was refused end here.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .settings import CONNECTIONS, HEAD_S, LINGER_BYTES, LINGER_S, STALL_S

_BODY = b'{"error":{"type":"ServiceUnavailable","message":"too many connections are open: try again"}}'
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


class GuardedProtocol(H11Protocol):
    """A connection that is ended where its client does not go on."""

    _timer: asyncio.TimerHandle | None = None
    _unread = 0
    # Bytes that may still come of a request that is answered; None: it is not being closed.
    _lingering: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many."""
        super().connection_made(_Lingering(transport, self))  # type: ignore[arg-type]
        if len(self.connections) > CONNECTIONS:
            self.transport.write(_FULL)
            self.transport.close()
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Something of a request came."""
        if self._lingering is None:
            super().data_received(data)
            if self._lingering is None:
                self._watch()
            return
        self._lingering -= len(data)
        if self._lingering < 0:
            self.transport.abort()

    def on_response_complete(self) -> None:
        """An answer is written, though maybe not read."""
        super().on_response_complete()
        if self._lingering is None:
            self._watch()

    def linger(self) -> bool:
        """Whether to wait for the rest of a request before its connection closes.

        To close with unread bytes resets the connection, and the client may lose its answer.
        """
        if self._lingering is None and self.conn.their_state is h11.SEND_BODY:
            self._lingering = LINGER_BYTES
            self._stop()
            self._timer = self.loop.call_later(LINGER_S, self.transport.abort)
        return self._lingering is not None

    def _watch(self) -> None:
        """Start or stop the clock: it runs while no request is being answered."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._timer is None:
            self._start()

    def _start(self) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self._timer = self.loop.call_later(STALL_S if self._unread else HEAD_S, self._late)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        """Time is over: an answer that is being read goes on, all else ends."""
        self._timer = None
        left = self.transport.get_write_buffer_size()
        if 0 < left < self._unread:
            self._start()
        elif left:
            self.transport.abort()
        else:
            self.transport.close()


class _Lingering:
    """A transport that ends its own side first where the client still sends."""

    def __init__(self, transport: asyncio.Transport, protocol: GuardedProtocol) -> None:
        self._transport, self._protocol = transport, protocol
        self._ended = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more will be answered."""
        return self._ended or self._transport.is_closing()

    def close(self) -> None:
        """Close when the rest of the request is read, or at once where there is none."""
        if self._transport.is_closing() or not self._protocol.linger():
            self._transport.close()
        elif not self._ended:
            self._ended = True
            self._transport.write_eof()
            self._transport.resume_reading()
