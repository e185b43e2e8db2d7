"""Who may ask, and what is noted of it: around every request.

A page of another site must not ask for the user who visits it. So names by which the server is reached must
be known (a stranger's name may be pointed at this machine), and a request that says it comes from another
origin is refused. Of a request is noted what stands in `_line`, and nothing of what was sent.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Collection
from time import monotonic

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import Metrics
from .refusals import Refused

logger = logging.getLogger("earmark.server")

# What probes and browsers ask before they have a token; none of it says anything of bundle or user.
OPEN = frozenset({"/", "/healthz", "/readyz"})
# Asked by address and by whatever name a cluster gives: the answer is one word.
_PROBES = frozenset({"/healthz", "/readyz"})
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Access:
    """Checks, headers, metrics and a log line around an application.

    token: what clients must give; None: nothing
    names: host names that are the server's, beside "localhost" and addresses
    endpoints: paths that metrics and log lines name; any other is "other"
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        names: Collection[str],
        endpoints: Collection[str],
        metrics: Metrics,
    ) -> None:
        self._app, self._token = app, None if token is None else token.encode()
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names)}
        self._endpoints, self._metrics = frozenset(endpoints), metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status, size = monotonic(), 0, 0
        headers = Headers(scope=scope)
        unread = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

        async def read() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and message.get("more_body", False)
            return message

        async def noted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if unread:
                    # It is not read to its end for the next request's sake.
                    headers["Connection"] = "close"
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        endpoint = scope["path"] if scope["path"] in self._endpoints else "other"
        try:
            try:
                self._check(scope)
            except Refused as refused:
                await refused.response()(scope, read, noted)
            else:
                await self._app(scope, read, noted)
        finally:
            took = monotonic() - begun
            self._metrics.requests.labels(endpoint, str(status)).inc()
            self._metrics.seconds.labels(endpoint).observe(took)
            if endpoint not in _PROBES:
                logger.info("%s", _line(scope, endpoint, status, size, took))

    def _check(self, scope: Scope) -> None:
        """Raise Refused for a request that must not be answered."""
        headers = Headers(scope=scope)
        path = scope["path"]
        if path in _PROBES and scope["method"] in {"GET", "HEAD"}:
            return
        host = headers.get("host", "")
        if not self._own(_name_of(host)):
            raise Refused(
                421,
                "this server is not known by that name: start it with --allow-host NAME, or use its address",
            )
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        foreign = origin is not None and origin.partition("://")[2].lower() != host.lower()
        if scope["method"] not in {"GET", "HEAD"} and (foreign or site not in {"none", "same-origin"}):
            raise Refused(403, "requests of pages of another site are not answered")
        if self._token is not None and path not in OPEN:
            given = headers.get("authorization", "")
            scheme, _, token = given.partition(" ")
            # Compared in a time that does not tell how much of it is right.
            right = hmac.compare_digest(token.strip().encode("latin-1", "replace"), self._token)
            if scheme.lower() != "bearer" or not right:
                raise Refused(
                    401,
                    "this server asks for its token: give it as Authorization: Bearer TOKEN",
                    headers={"WWW-Authenticate": 'Bearer realm="earmark"'},
                )

    def _own(self, name: str) -> bool:
        """Whether a name is the server's; an address always is, since nobody can point one elsewhere."""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.rstrip(".") in self._names
        return True


def _name_of(host: str) -> str:
    """The name in a Host header, without its port and brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _line(scope: Scope, endpoint: str, status: int, size: int, took_s: float) -> str:
    """What is noted of a request: no parameter, no file name, nothing of the sound."""
    client = scope.get("client")
    address = client[0] if client else "-"
    method = (
        scope["method"] if scope["method"] in {"GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE"} else "?"
    )
    answered = f"{status}, {size} bytes" if status else "client gone"
    return f"{address} {method} {endpoint}: {answered}, {1000 * took_s:.0f} ms"
