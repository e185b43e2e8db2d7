"""Which files of a folder are sound: one answer for explain, train, index, evaluate and export."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..bundle.files import MANIFEST
from ..result_files.folder import written_by_earmark

# Sound that libsndfile has no decoder for, or (.raw, .pcm) cannot know how to read.
UNREADABLE_SUFFIXES = frozenset((
    ".3gp", ".aac", ".ac3", ".alac", ".amr", ".ape", ".dff", ".dsf", ".dts", ".m4a", ".m4b", ".mka", ".mkv",
    ".mov", ".mp4", ".mpc", ".pcm", ".ra", ".raw", ".tta", ".webm", ".wma", ".wv",
))  # fmt: skip
# What systems, network drives and archives put beside one's own files; lower case.
_SYSTEM_FOLDERS = frozenset((
    "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "lost+found", "system volume information",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Skipped:
    """What a listing passes over though it may hold sound, and why: the end of a sentence."""

    path: Path
    reason: str


@dataclass
class Listing:
    """The sound files of a folder.

    Attributes:
        files: Sorted.
        skipped: Files that look like sound and cannot be read as such.
        locked: Folders that could not be listed.

    """

    files: list[Path] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    locked: list[Skipped] = field(default_factory=list)


@cache
def sound_suffixes() -> frozenset[str]:
    """File name endings of what libsndfile reads, lower case with the dot."""
    import soundfile

    names = {f".{name.lower()}" for name in soundfile.available_formats()}
    more = {".aif", ".aifc", ".bwf", ".mp3", ".oga", ".opus", ".snd", ".sph", ".wave"}
    return frozenset(names | more) - UNREADABLE_SUFFIXES


def is_hidden(name: str, *, folder: bool = False) -> bool:
    """Whether a file or folder of that name is no one's sound: hidden, a system's own, `._` of macOS."""
    if name.startswith("."):
        return True
    return folder and (name.startswith("__") or name.lower() in _SYSTEM_FOLDERS)


def text_of(name: str) -> str:
    """A file's name as text that can be stored; a byte that is no UTF-8 becomes an escape."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def list_folders(folder: Path) -> list[Path]:
    """The folders directly inside `folder`, sorted, without hidden ones. Raises OSError."""
    return sorted(
        Path(entry.path)
        for entry in os.scandir(folder)
        if not is_hidden(entry.name, folder=True) and os.path.isdir(entry.path)  # noqa: PTH112 (never raises)
    )


def list_sound_files(folder: Path, *, recursive: bool = True) -> Listing:
    """The sound files in `folder`, and with `recursive` in its folders, told by the endings of their names.

    Hidden files and folders, bundles, and sound that earmark wrote (of results, clips of detections), are
    passed over. Links are followed; a folder that is reached twice counts once, by its own name.
    """
    found = Listing()
    seen: set[tuple[int, int]] = set()
    results: dict[Path, bool] = {}
    waiting, links = [folder], list[Path]()
    while waiting or links:
        here = waiting.pop() if waiting else links.pop(0)
        try:
            known = os.stat(here)  # noqa: PTH116
            if (known.st_dev, known.st_ino) in seen:
                continue
            # Windows file systems that have no numbers say 0.
            if known.st_ino:
                seen.add((known.st_dev, known.st_ino))
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            found.locked.append(Skipped(here, f"this folder cannot be listed ({reason})"))
            continue
        if here != folder and any(entry.name == MANIFEST for entry in entries):
            found.skipped.append(Skipped(here, "it is a bundle: name it by -b to ask it"))
            continue
        for entry in entries:
            if os.path.isdir(entry.path):  # noqa: PTH112 (never raises)
                if recursive and not is_hidden(entry.name, folder=True):
                    (links if entry.is_symlink() else waiting).append(Path(entry.path))
            elif not is_hidden(entry.name):
                _take(Path(entry.path), found, results)
    found.files.sort()
    found.skipped.sort(key=lambda one: one.path)
    return found


def _take(path: Path, found: Listing, results: dict[Path, bool]) -> None:
    """Put a file where it belongs; `results` remembers which folders are results."""
    ending = path.suffix.lower()
    if ending in UNREADABLE_SUFFIXES:
        found.skipped.append(Skipped(path, f"earmark has no decoder for {ending}: convert it to FLAC or WAV"))
    elif ending in sound_suffixes():
        if written_by_earmark(path, results):
            found.skipped.append(Skipped(path, "earmark wrote it, as part of a result"))
        elif os.path.isfile(path):  # noqa: PTH113 (never raises)
            found.files.append(path)
        else:
            broken = os.path.islink(path)  # noqa: PTH114
            found.skipped.append(
                Skipped(path, "the link leads nowhere" if broken else "it is not a regular file")
            )


def skipped_lines(skipped: Sequence[Skipped]) -> Iterator[str]:
    """One line per reason: how many files, the first of them, and why."""
    for line in reason_lines((str(one.path), one.reason) for one in skipped):
        yield f"passed over {line}"


def reason_lines(names: Iterable[tuple[str, str]]) -> Iterator[str]:
    """One line per reason of pairs (name, reason): the first name, how many more, and the reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in names:
        reasons.setdefault(reason, []).append(name)
    for reason, alike in reasons.items():
        more = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
        yield f"{alike[0]}{more}: {reason}"
