"""What a server allows: one table."""

from __future__ import annotations

from typing import Final

import msgspec

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


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a server serves.

    Attributes:
        host: The address that it listens on.
        port: The port; 0: any that is free.
        token: What clients give as `Authorization: Bearer`; None: nothing is asked for.
        names: Host names by which it is reached, beside "localhost" and addresses.
        max_bytes: Of an upload.
        max_seconds: Of a sound.
        timeout_s: After which an answer ends as it is then, counted from when its computation begins.
        concurrency: Answers that are computed at a time.
        queue: Requests that are received or wait beyond those.
        per_client: Requests of one address that are in work at a time; 0: no limit.
        grace_s: What is running may take so long after SIGTERM.

    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    names: tuple[str, ...] = ()
    max_bytes: int = 64 << 20
    max_seconds: float = 600.0
    timeout_s: float = 60.0
    concurrency: int = 2
    queue: int = 32
    per_client: int = 16
    grace_s: int = 30

    @property
    def max_values(self) -> int:
        """Samples times channels of a sound."""
        return round(self.max_seconds * VALUES_A_SECOND)
