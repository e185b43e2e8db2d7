"""Listens, serves until it is told to stop, and finishes what runs."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from ...errors import EarmarkError
from ...runtime.explainer import Explainer
from .app import application
from .protocol import GuardedProtocol
from .service import Service
from .settings import ServerSettings

_BACKLOG = 128
# Seconds that an idle connection stays.
_KEEP_ALIVE_S = 5


def serve(explainer: Explainer, settings: ServerSettings, started: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; what is computed then is still answered. `started` is told the address.

    Raises EarmarkError where it cannot listen there, or the bundle cannot be run.
    """
    service = Service(explainer, settings)
    failures: list[Exception] = []

    def failed(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    config = uvicorn.Config(
        application(service, failed),
        http=GuardedProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.grace_s,
        backlog=_BACKLOG,
    )
    server = _Server(config, service)
    listening = listen(settings.host, settings.port)
    with listening, _stopping_in_order(server):
        started(address_of(listening))
        server.run([listening])
    if failures:
        raise failures[0]


class _Server(uvicorn.Server):
    """uvicorn, with requests that wait refused as soon as it stops."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is computed."""
        self._service.admission.stopping.set()
        await super().shutdown(sockets)


@contextmanager
def _stopping_in_order(server: uvicorn.Server) -> Iterator[None]:
    """Within, signals stop the server, which is no failure.

    While it runs uvicorn handles SIGINT and SIGTERM itself, and raises them again when it has stopped.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    # nohup has a signal ignored.
    held = {one: signal.getsignal(one) for one in wanted if signal.getsignal(one) is not signal.SIG_IGN}
    for one in held:
        signal.signal(one, stop)
    try:
        yield
    finally:
        for one, handler in held.items():
            signal.signal(one, handler)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises EarmarkError."""
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listening = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError, OverflowError) as error:
        # Its own text goes on about what was attempted; negative numbers are those of name lookups.
        number = getattr(error, "errno", None) or 0
        reason = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or error
        raise EarmarkError(f"{host} port {port} cannot be listened on ({reason}): choose another") from error
    listening.setblocking(False)
    return listening


def address_of(listening: socket.socket) -> str:
    """The address of a socket, for browsers."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host's sockets."""
    try:
        return all(
            ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_loopback
            for one in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
        )
    except (OSError, ValueError, UnicodeError):
        return False


def log_to(handler: logging.Handler) -> None:
    """Send what is noted of requests, and uvicorn's warnings, to a handler."""
    handler.setLevel(logging.INFO)
    for name, level in (("earmark.server", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.propagate = False
        logger.addHandler(handler)
    if os.environ.get("EARMARK_DEBUG"):
        logging.getLogger("uvicorn.error").setLevel(logging.INFO)
