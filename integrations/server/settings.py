"""What a server allows: one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta

from ...bounds import check_values, setting
from ...errors import SettingsError

# Values per second of the longest sound: four channels at 48 kHz, or one at 192 kHz.
VALUES_A_SECOND: Final = 192_000
# Bytes of an upload that stay in memory; what is larger lies in a file without a name.
SPOOL_BYTES: Final = 1 << 20
# Bytes of detections in one answer, and scores of windows.
ANSWER_BYTES: Final = 32 << 20
WINDOW_SCORES: Final = 200_000
# Samples times channels of a sound on the page, which holds all of it in memory.
PAGE_VALUES: Final = 16_000_000
# Threads for all but the answers.
THREADS: Final = 6
# Of a form: fields beside the sound, bytes of one.
FORM_FIELDS: Final = 32
FIELD_BYTES: Final = 16 << 10
# Characters of an upload's name.
NAME_LENGTH: Final = 255
# Characters of a token, so that nobody guesses it.
TOKEN_LENGTH: Final = 16
# Connections that are open at a time; seconds in which a request's head comes, and in which more of its body
# or of its answer moves.
CONNECTIONS: Final = 512
HEAD_S: Final = 10.0
STALL_S: Final = 15.0
# A whole body may take so many seconds, and one for so many bytes, but no longer than that.
UPLOAD_S: Final = 30.0
SLOWEST_BYTES_S: Final = 16 << 10
LONGEST_UPLOAD_S: Final = 600.0
# Bytes of a body, and seconds, that are still read after its request was refused: clients then read why.
LINGER_BYTES: Final = 8 << 20
LINGER_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How a server serves. Raises SettingsError where a value is out of range.

    token: what clients give as `Authorization: Bearer`; None: nothing is asked for
    max_bytes: of an upload; timeout_s: counted from when an answer is begun
    """

    host: Annotated[str, setting("Where to listen.", metavar="ADDRESS")] = "127.0.0.1"
    port: Annotated[int, setting("The port; 0: any that is free.", ge=0, le=65535, metavar="N")] = 8000
    token: str | None = None
    names: Annotated[
        tuple[str, ...],
        setting(
            "A host name by which it is reached, beside localhost and addresses.",
            option="--allow-host",
            metavar="NAME",
        ),
    ] = ()
    max_bytes: Annotated[int, Meta(ge=1)] = 64 << 20
    max_seconds: Annotated[float, setting("Of a sound.", gt=0, metavar="S")] = 600.0
    timeout_s: Annotated[
        float,
        setting(
            "An answer ends after so many seconds, as it is then.", gt=0, option="--timeout", metavar="S"
        ),
    ] = 60.0
    concurrency: Annotated[
        int, setting("Answers that are computed at a time.", ge=1, le=256, metavar="N")
    ] = 2
    queue: Annotated[
        int,
        setting(
            "Requests that may wait beyond those; more are refused with 503.", ge=0, le=4096, metavar="N"
        ),
    ] = 32
    per_client: Annotated[
        int,
        setting(
            "Requests of one address at a time, more are refused with 429; 0: any number.",
            ge=0,
            le=4096,
            metavar="N",
        ),
    ] = 16
    grace_s: Annotated[
        int,
        setting(
            "When it is stopped, what is computed may take so long.",
            ge=1,
            le=3600,
            option="--grace",
            metavar="S",
        ),
    ] = 30

    def __post_init__(self) -> None:
        check_values(self, SettingsError)

    @property
    def max_values(self) -> int:
        """Samples times channels of a sound."""
        return round(self.max_seconds * VALUES_A_SECOND)
