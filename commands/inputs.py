"""Which sounds a command is asked to work on: files, folders, globs, stdin, a list."""

from __future__ import annotations

import glob
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import click

_MAGIC = frozenset("*?[")


@dataclass(frozen=True)
class Input:
    """One sound: its name for people, and what to open. `missing` says why there is nothing to open."""

    name: str
    sound: str | BinaryIO
    missing: str | None = None


def sound_suffixes() -> frozenset[str]:
    """File name endings that libsndfile reads, lower case with the dot."""
    import soundfile

    odd = {"AIFF": ".aif", "OGG": ".oga", "MPEG": ".mp3"}
    names = {f".{name.lower()}" for name in soundfile.available_formats()} | set(odd.values()) | {".opus"}
    return frozenset(names - {".raw"})


def collect(arguments: Iterable[str], *, from_file: str | None, recursive: bool) -> list[Input]:
    """Resolve the arguments in order; a folder gives its sound files sorted by name.

    An argument that names nothing becomes an `Input` with `missing`, so that a long run goes on.
    """
    items: list[Input] = []
    listed = _lines(from_file) if from_file else iter(())
    for argument in (*arguments, *listed):
        items.extend(_resolve(argument, recursive))
    return items


def _lines(from_file: str) -> Iterator[str]:
    """The non-empty lines of a list of paths."""
    try:
        text = sys.stdin.read() if from_file == "-" else Path(from_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"cannot read the list {from_file}: {error}") from error
    return (line for line in text.splitlines() if line.strip())


def _resolve(argument: str, recursive: bool) -> Iterator[Input]:
    if argument == "-":
        # Pipes cannot seek, and long sound is read twice; past 64 MiB it waits on disk.
        spooled = tempfile.SpooledTemporaryFile(max_size=64 << 20)  # noqa: SIM115
        shutil.copyfileobj(sys.stdin.buffer, spooled)
        spooled.seek(0)
        yield Input("stdin", cast("BinaryIO", spooled))
        return
    path = Path(argument)
    if path.is_dir():
        suffixes = sound_suffixes()
        found = sorted(
            entry
            for entry in (path.rglob("*") if recursive else path.iterdir())
            if entry.is_file() and entry.suffix.lower() in suffixes
        )
        if not found:
            hint = "" if recursive else "; --recursive looks in its folders"
            yield Input(argument, argument, missing=f"{argument}: no sound files in this folder{hint}")
        yield from (Input(str(entry), str(entry)) for entry in found)
    elif path.exists() or not _MAGIC & set(argument):
        yield Input(argument, argument)
    else:
        matches = sorted(glob.glob(argument, recursive=True))
        if not matches:
            yield Input(argument, argument, missing=f"{argument}: no file matches this pattern")
        for match in matches:
            yield from _resolve(match, recursive) if Path(match).is_dir() else (Input(match, match),)
