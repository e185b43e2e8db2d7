"""What is answered in place of an explanation: a status, and one line that says why and what to do."""

from __future__ import annotations

import math

import msgspec
from starlette.responses import Response

from ...errors import (
    AudioError,
    EarmarkError,
    LabelError,
    MethodError,
    MissingDependencyError,
    OutOfMemoryError,
    SettingsError,
    TargetError,
)
from ...runtime.document import ErrorDict

# Status -> what the error is called; statuses of earmark's own errors bear the names of these.
_NAMES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    413: "ContentTooLarge",
    415: "UnsupportedMediaType",
    421: "MisdirectedRequest",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}
_STATUSES: tuple[tuple[type[EarmarkError], int], ...] = (
    (AudioError, 422),
    (LabelError, 400),
    (TargetError, 400),
    (MethodError, 400),
    (SettingsError, 400),
    (MissingDependencyError, 501),
    (OutOfMemoryError, 503),
)


class Refused(Exception):  # noqa: N818 (an answer, not a fault)
    """A request that is not answered.

    Attributes:
        status: The HTTP status.
        message: One line: what was wrong and what to do.
        headers: Of the answer.

    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        retry_s: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})
        if retry_s is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_s)))

    @property
    def error(self) -> ErrorDict:
        """What the answer says."""
        return {"type": _NAMES[self.status], "message": self.message}

    def response(self) -> Response:
        """The answer."""
        return problem(self.status, self.error, self.headers)


class ErrorAnswer(msgspec.Struct, frozen=True):
    """What is answered where there is no record."""

    error: ErrorDict


def problem(status: int, error: ErrorDict, headers: dict[str, str] | None = None) -> Response:
    """An answer that is an error."""
    return json_response(msgspec.json.encode(ErrorAnswer(error)), status, headers)


def json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON as an answer."""
    return Response(body, status, headers, media_type="application/json")


def status_of(error: EarmarkError) -> int:
    """The status of an error of earmark: 4xx where the client can mend it."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
