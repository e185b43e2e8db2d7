"""`earmark serve`: the page that explains live, and JSON over HTTP."""

from __future__ import annotations

import logging
import os
import re
import threading
import traceback
from contextlib import closing, suppress
from pathlib import Path
from queue import Full, Queue

import click

from ..errors import MissingDependencyError
from ..integrations.server.settings import TOKEN_LENGTH, ServerSettings
from .answer import about_demo
from .console import tell
from .options import bundle_option, device_option, examples, file_option
from .settings_options import Given, settings_options

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# Lines that wait for stderr, and seconds that the last ones may take.
_WAITING_LINES = 10_000
_LAST_LINES_S = 1.0


class _Bytes(click.ParamType[int]):
    """A number of bytes, such as 64M."""

    name = "bytes"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        match = re.fullmatch(r"(\d{1,15})([KMG]?)i?B?", str(value).strip().upper().replace("IB", ""))
        if match is None or not int(match[1]):
            self.fail(f"{value!r} is no number of bytes: give one such as 64M", param, ctx)
        return int(match[1]) * _UNITS[match[2]]


class _Lines(logging.Handler):
    """Writes what is noted as lines on stderr, whatever it holds, in a thread of its own.

    So nobody waits where stderr is a pipe that is read slowly; lines that it cannot take are lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: Queue[str | None] = Queue(_WAITING_LINES)
        self._writer = threading.Thread(target=self._write, name="earmark lines", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take one line."""
        time = logging.Formatter().formatTime(record, "%Y-%m-%dT%H:%M:%S%z")
        lines = [f"{time} {record.getMessage()}"]
        if record.exc_info and os.environ.get("EARMARK_DEBUG"):
            lines += "".join(traceback.format_exception(record.exc_info[1])).splitlines()
        for line in lines:
            with suppress(Full):
                self._lines.put_nowait(line)

    def close(self) -> None:
        """Write what is left, unless that takes long."""
        with suppress(Full):
            self._lines.put_nowait(None)
        self._writer.join(_LAST_LINES_S)
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            tell(line)


@click.command(
    epilog=examples(
        "earmark serve -b bundle",
        "earmark serve -b bundle --host 0.0.0.0 --token-file token.txt --allow-host earmark.example",
    )
)
@bundle_option("The bundle that answers. Without it EARMARK_BUNDLE, else the shipped demo.")
@settings_options(ServerSettings)
@file_option(
    "--token-file", "Holds the token that clients must give as Authorization: Bearer. Else EARMARK_TOKEN."
)
@click.option(
    "--no-token",
    is_flag=True,
    help="Listen beyond this machine without a token, where something in front asks for one.",
)
@click.option(
    "--max-bytes",
    default="64M",
    show_default=True,
    type=_Bytes(),
    metavar="N",
    help="Of an upload, such as 1G.",
)
@click.option("-q", "--quiet", is_flag=True, help="No line for each request.")
@device_option
def serve(
    bundle: Path | None,
    given: Given[ServerSettings],
    token_file: Path | None,
    no_token: bool,
    max_bytes: int,
    quiet: bool,
    device: str,
) -> None:
    """Serve the page that explains live, and JSON, until it is stopped.

    It listens on this machine alone, keeps no upload, and describes itself at /openapi.json. Then:
    curl -F sound=@clip.wav http://127.0.0.1:8000/v1/explain
    """
    try:
        from ..integrations.server.serving import is_loopback, log_to
        from ..integrations.server.serving import serve as run
    except ImportError as error:
        raise MissingDependencyError(
            f'earmark serve lacks a package ({error.name}): pip install "earmark[serve]"'
        ) from error
    from ..runtime.explainer import bundle_path, engine_of, load

    settings = given.settings(token=_token(token_file), max_bytes=max_bytes)
    host = settings.host
    if settings.token is None and not is_loopback(host):
        if not no_token:
            raise click.UsageError(
                f"--host {host} is reached from other machines: give --token-file FILE or EARMARK_TOKEN, or "
                "--no-token where something in front asks for one"
            )
        tell(f"Warning: whoever reaches {host} may ask this server: it asks for no token")
    explainer = load(bundle_path(bundle), device=device)
    manifest = engine_of(explainer).manifest
    if bundle is None:
        tell(about_demo(manifest.labels))
    lines = _Lines()
    log_to(lines)
    if quiet:
        lines.setLevel(logging.WARNING)
    with closing(lines):
        run(
            explainer,
            settings,
            lambda address: tell(f"earmark serves {manifest.name} at {address} (Ctrl-C stops)"),
        )


def _token(file: Path | None) -> str | None:
    """The token that clients must give. Raises click.UsageError."""
    if file is None:
        token = os.environ.get("EARMARK_TOKEN")
        origin = "EARMARK_TOKEN"
    else:
        origin = str(file)
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise click.UsageError(f"--token-file {file} cannot be read: {reason}") from error
    if token is None:
        return None
    if len(token) < TOKEN_LENGTH or not token.isascii() or not token.isprintable() or " " in token:
        raise click.UsageError(
            f"{origin} holds no token: give {TOKEN_LENGTH} or more letters, digits and signs, without spaces"
        )
    return token
