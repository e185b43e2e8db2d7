"""Which sounds a command is asked to work on: files, folders, globs, stdin, a list."""

from __future__ import annotations

import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import click

from ..runtime.audio.listing import Skipped, list_sound_files, skipped_lines
from .console import tell
from .paths import no_sound

_MAGIC = frozenset("*?[")


@dataclass(frozen=True)
class Input:
    """One sound: its name for people, and what to open.

    missing: why there is nothing to open
    within: the folder that was asked for, or the fixed part of a pattern; None for a file by its name
    """

    name: str
    sound: str | BinaryIO
    missing: str | None = None
    within: str | None = None


@dataclass(frozen=True)
class Inputs:
    """The sounds in order, and what was passed over though it looks like sound."""

    items: Sequence[Input]
    skipped: Sequence[Skipped]


def collect(arguments: Iterable[str], *, from_file: str | None, recursive: bool) -> Inputs:
    """Resolve the arguments in order; a folder gives its sound files sorted by name.

    An argument that names nothing, and a folder that cannot be listed, become an `Input` with `missing`, so
    that a long run goes on. Raises click.UsageError where the list itself cannot be read.
    """
    items: list[Input] = []
    skipped: list[Skipped] = []
    listed = _listed(from_file) if from_file else []
    if from_file and not listed:
        name = "the list on stdin" if from_file == "-" else from_file
        items.append(Input(name, name, missing=f"{name}: names no sound"))
    for argument in (*arguments, *listed):
        items.extend(_resolve(argument, recursive, skipped))
    return Inputs(items, skipped)


def tell_skipped(skipped: Sequence[Skipped]) -> None:
    """Say on stderr what was passed over, a line a reason."""
    for line in skipped_lines(skipped):
        tell(line)


def tell_passed_over(*folders: Path, fewest_classes: int = 1) -> None:
    """Say what folders of class folders hold that looks like sound and is not used; see `list_sounds`."""
    from ..errors import DataError
    from ..evaluation.data.folder import list_sounds

    for folder in folders:
        # What is wrong with the folder itself is said by the work that follows.
        with suppress(DataError):
            tell_skipped(list_sounds(folder, fewest_classes=fewest_classes).skipped)


def _listed(from_file: str) -> list[str]:
    """The names in a list: one a line, or separated by NUL as `find -print0` writes them.

    Names are bytes: only line ends part them, and a byte that is no UTF-8 belongs to its name.
    """
    try:
        data = _stdin().read() if from_file == "-" else Path(from_file).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise click.UsageError(f"cannot read the list {from_file}: {reason}") from error
    # Without a mark every other byte of it is NUL, as of no list of names.
    wide = len(data) > 1 and not (any(data[0::2]) and any(data[1::2]))
    if wide or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise click.UsageError(f"cannot read the list {from_file}: it is UTF-16; save it as UTF-8")
    data = data.removeprefix(b"\xef\xbb\xbf")
    # A NUL among lines is a fault of its own line.
    parted = data.endswith(b"\0") or (b"\0" in data and b"\n" not in data.rstrip(b"\r\n"))
    names = data.rstrip(b"\r\n").split(b"\0") if parted else data.replace(b"\r\n", b"\n").split(b"\n")
    return [os.fsdecode(name) for name in names if name.strip()]


def _stdin() -> BinaryIO:
    """Standard input as bytes. Raises OSError where it was closed."""
    if sys.stdin is None:
        raise OSError(None, "stdin is closed")
    return cast("BinaryIO", sys.stdin.buffer)


def _resolve(argument: str, recursive: bool, skipped: list[Skipped]) -> Iterator[Input]:
    if argument == "-":
        yield _from_stdin()
    elif "\0" in argument:
        yield Input(argument, argument, missing=f"{argument}: no file name holds the character NUL")
    elif (mistaken := no_sound(argument)) is not None:
        yield Input(argument, argument, missing=mistaken)
    elif os.path.isdir(argument):  # noqa: PTH112 (never raises)
        yield from _in_folder(argument, recursive, skipped, within=argument)
    elif os.path.lexists(argument) or not _MAGIC & set(argument):
        yield Input(argument, argument)
    else:
        matches = sorted(glob.glob(argument, recursive=True))
        within = str(_fixed_part(argument))
        if not matches:
            yield Input(argument, argument, missing=f"{argument}: {_why_nothing(argument)}")
        for match in matches:
            if (mistaken := no_sound(match)) is not None:
                yield Input(match, match, missing=mistaken)
            elif os.path.isdir(match):  # noqa: PTH112
                yield from _in_folder(match, recursive, skipped, within=within)
            else:
                yield Input(match, match, within=within)


def _why_nothing(pattern: str) -> str:
    """Why no file matches: a folder that may not be listed looks empty to a pattern."""
    fixed = _fixed_part(pattern)
    try:
        os.scandir(fixed).close()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        return f"the folder {fixed} cannot be listed ({error.strerror or error})"
    return "no file matches this pattern"


def _fixed_part(pattern: str) -> Path:
    """The folder in which a pattern looks."""
    fixed = Path(pattern)
    while _MAGIC & set(str(fixed)):
        fixed = fixed.parent
    return fixed


def _from_stdin() -> Input:
    """All of stdin: pipes cannot seek, and long sound is read twice; past 64 MiB it waits on disk."""
    spooled = tempfile.SpooledTemporaryFile(max_size=64 << 20)  # noqa: SIM115
    try:
        shutil.copyfileobj(_stdin(), spooled)
        spooled.seek(0)
    except OSError as error:
        return Input("stdin", "stdin", missing=f"stdin cannot be read: {error.strerror or error}")
    return Input("stdin", cast("BinaryIO", spooled))


def _in_folder(folder: str, recursive: bool, skipped: list[Skipped], *, within: str) -> Iterator[Input]:
    listing = list_sound_files(Path(folder), recursive=recursive)
    skipped.extend(listing.skipped)
    for locked in listing.locked:
        yield Input(str(locked.path), str(locked.path), missing=f"{locked.path}: {locked.reason}")
    if not listing.files and not listing.locked:
        hint = "" if recursive else "; --recursive looks in its folders"
        yield Input(folder, folder, missing=f"{folder}: no sound files in this folder{hint}")
    yield from (Input(str(entry), str(entry), within=within) for entry in listing.files)
