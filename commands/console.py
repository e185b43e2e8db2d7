"""Where text and JSON leave the command line, data on stdout, talk on stderr; and how a signal ends it.

Every line passes through `printable`, and what the stream's encoding lacks is escaped, so that no
name or label steers a terminal or ends a batch. JSON keeps its own escapes and stays JSON in every encoding.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO, cast

import click

from ..errors import EarmarkError
from ..printable import printable

# A value out of a damaged table may be of any length; more of a message than this is cut out of its middle.
_LONGEST = 2000
# Noncharacters, which Unicode keeps for a program's own use: they mark style until a line is written.
_STYLES = {"\ufdd0": "\033[1m", "\ufdd1": "\033[31m", "\ufdd2": "\033[32m", "\ufdd3": "\033[33m"}
_END = "\ufdd4"


class CommandError(click.ClickException):
    """One line on stderr and the exit code that fits."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it for the class

    def format_message(self) -> str:
        """The message as one line."""
        return _shortened(printable(self.message))


def _style(mark: str) -> Callable[[str], str]:
    return lambda text: f"{mark}{text}{_END}"


# Text in bold or in colour, where it is shown on a terminal.
bold, red, green, yellow = map(_style, _STYLES)


def say(*lines: str) -> None:
    """Write lines on stdout, each as one line whatever it holds.

    Raises CommandError where stdout takes nothing; click's Exit where the reader of a pipe has gone.
    """
    for line in lines:
        _echo(_written(line, sys.stdout))


def say_json(document: Any, *, indent: int | None = None) -> None:
    """Write JSON on stdout: UTF-8 where that is stdout's encoding, else escaped to ASCII. Raises as `say`."""
    utf8 = _encoding(sys.stdout).replace("-", "").replace("_", "").lower() in {"utf8", "utf8sig"}
    text = json.dumps(document, indent=indent, ensure_ascii=not utf8, allow_nan=False)
    # Lone surrogates, which stand for bytes of a file name, become \udcNN: JSON's own escape.
    _echo(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def _echo(text: str) -> None:
    try:
        click.echo(text)
    except OSError as error:
        raise stdout_failed(error) from error


def tell(line: str) -> None:
    """Write one line on stderr. Where stderr takes nothing the work goes on."""
    with suppress(OSError, ValueError):
        click.echo(_written(_shortened(line), sys.stderr), err=True)


def tell_failure(name: str, error: EarmarkError) -> None:
    """Say on stderr what went wrong with a sound, named once."""
    tell(str(error) if printable(name) in str(error) else f"{name}: {error}")


def tell_traceback(error: BaseException) -> None:
    """Where an error came from, on stderr, line by line."""
    for line in "".join(traceback.format_exception(error)).rstrip().split("\n"):
        tell(line)


class ClosedStdout(io.TextIOBase):
    """Stands in for a stdout that was closed at the start: what is written to it is an error, not lost."""

    def write(self, _text: str) -> int:
        """Raise CommandError."""
        raise CommandError("stdout is closed, so the answer has nowhere to go: give it a file or /dev/null")


def require_stdout() -> None:
    """Raise CommandError where stdout was closed at the start, before any work for an answer."""
    if isinstance(sys.stdout, ClosedStdout):
        sys.stdout.write("")


def stdout_failed(error: OSError) -> click.ClickException | click.exceptions.Exit:
    """What to raise when stdout took nothing; from now on it swallows what is still buffered."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    if isinstance(error, BrokenPipeError):
        return click.exceptions.Exit(1)
    return CommandError(f"stdout cannot be written: {error.strerror or error}")


def open_standard_streams() -> None:
    """Give a standard stream that was closed at the start to the null device.

    Otherwise the next file that is opened gets its number, and what libraries write to it lands in that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    if sys.stdout is None:
        sys.stdout = cast("TextIO", ClosedStdout())
    # Progress bars and warnings of libraries ask stderr what it is.
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 (as long as the process)


def _shortened(line: str) -> str:
    """`line` without its middle where it is too long to be read."""
    if len(line) <= _LONGEST:
        return line
    half = _LONGEST // 2
    return f"{line[:half]} [...] {line[-half:]}"


def _written(line: str, stream: TextIO | None) -> str:
    """`line` as the stream can show it."""
    text = printable(line)
    for mark, code in _STYLES.items():
        text = text.replace(mark, code)
    text = text.replace(_END, "\033[0m")
    encoding = _encoding(stream)
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _encoding(stream: TextIO | None) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


@contextmanager
def stopping_in_order() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP end the command as Ctrl-C does, with the exit code a shell expects.

    A signal that is ignored (nohup) or that somebody else handles is left alone.
    """
    held = []
    if threading.current_thread() is threading.main_thread():
        wanted = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
        held = [one for one in wanted if signal.getsignal(one) is signal.SIG_DFL]
    for one in held:
        signal.signal(one, _stop)
    try:
        yield
    finally:
        for one in held:
            signal.signal(one, signal.SIG_DFL)


def _stop(number: int, _: object) -> NoReturn:
    # Another one would break off the tidying.
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)
