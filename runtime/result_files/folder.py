"""The folder of one result: what in it is earmark's own, and how the whole of it is replaced.

A folder that holds nothing else is replaced in one step by a new one made beside it. Where that cannot be
(files of others lie in it, it is the working folder, a link, or a mount), its files are replaced one by one:
the record goes first, for one that says that it is unfinished, and comes last.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import WriteError
from ...prototypes_index.atomic import HIDDEN, put_in_place, staged, sweep
from ...prototypes_index.durability import naming
from ..registry import METHODS

RECORD = "result.json"
# Of `Result.load`.
ARRAYS = "arrays.npz"
# Lies in a folder of clips of detections, and their names: seconds, label.
CLIPS = "clips.json"
_CLIP = re.compile(r"\d{6,}\.\d{3}_.+")
_UNFINISHED = {"unfinished": "earmark was stopped while it wrote this result; explain the sound again"}
# Of a result of 10 hours.
_MOST_RECORD_BYTES = 256 << 20


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new folder to write a result to, which becomes `target` when the block ends well.

    Of `target`, earmark's own files of an earlier result go, and all others stay. Raises WriteError where
    something cannot be written or a file that earmark did not write is in the way; `target` then stays as it
    was.
    """
    with _made(target):
        with naming(target):
            sweep(target)
            whole = _replaceable(target)
        with staged(target.resolve() if whole else target, inside=not whole) as folder:
            yield folder
            if whole and _replaceable(target):
                try:
                    put_in_place(folder, target.resolve())
                    return
                except OSError:
                    # Some file systems cannot rename folders of lower layers.
                    pass
            _move(folder, target)


@contextmanager
def _made(target: Path) -> Iterator[None]:
    """The folder `target`, made where it is missing, and removed where the block fails and left it empty.

    An empty folder would be counted as a result.
    """
    missing = [path for path in (target, *target.parents) if not os.path.exists(path)]  # noqa: PTH110 (never raises)
    try:
        with naming(target):
            target.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise


def written_by_earmark(path: Path, seen: dict[Path, bool] | None = None) -> bool:
    """Whether the file is one of those that `Result.save` wrote into its folder, or a clip of a detection.

    seen: remembers which folders are of results and clips, for many files
    """
    seen = {} if seen is None else seen
    if _CLIP.fullmatch(path.name) and _holds(path.parent / CLIPS, {"earmark_clips"}):
        return True
    for folder, name in ((path.parent, path.name), (path.parent.parent, f"{path.parent.name}/{path.name}")):
        if is_own(name):
            if folder not in seen:
                seen[folder] = is_result(folder)
            return seen[folder]
    return False


def is_own(name: str) -> bool:
    """Whether `Result.save` writes a file of that name: a path in the folder with forward slashes."""
    return name in (RECORD, ARRAYS) or any(
        re.fullmatch(pattern, name) for method in METHODS.values() for pattern in method.files
    )


def _own_folders() -> set[str]:
    """The folders in a result's folder."""
    patterns = (pattern for method in METHODS.values() for pattern in method.files)
    return {folder for folder, slash, _ in (pattern.partition("/") for pattern in patterns) if slash}


def is_result(folder: Path) -> bool:
    """Whether the folder holds the record of a result, finished or not."""
    path = folder / RECORD
    return _holds(path, {"predictions", "bundle_id"}) or _holds(path, _UNFINISHED.keys())


def _holds(path: Path, keys: Set[str]) -> bool:
    """Whether a file is a JSON object with these keys."""
    try:
        # A pipe would block for ever.
        if not path.is_file() or path.stat().st_size > _MOST_RECORD_BYTES:
            return False
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and keys <= record.keys()


def _replaceable(target: Path) -> bool:
    """Whether the folder may be replaced by another: it holds nothing but a result, or nothing."""
    if target.is_symlink() or target.is_mount() or not os.access(target.resolve().parent, os.W_OK | os.X_OK):
        return False
    here = Path.cwd()
    if target.samefile(here) or here.is_relative_to(target.resolve()):
        return False
    own, others = _contents(target)
    return not others and (not own or is_result(target))


def _contents(target: Path) -> tuple[list[str], list[str]]:
    """Names in the folder: those that a result has, and others."""
    own: list[str] = []
    others: list[str] = []
    own_folders = _own_folders()
    for entry in target.iterdir():
        if entry.name in own_folders and entry.is_dir() and not entry.is_symlink():
            names = [f"{entry.name}/{inner.name}" for inner in entry.iterdir()]
        else:
            names = [entry.name]
        for name in names:
            mine = is_own(name) and (target / name).is_file()
            (own if mine else others).append(name)
    return own, others


def _move(folder: Path, target: Path) -> None:
    """Move the files of a result into `target` one by one, those of an earlier result away."""
    new = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    own, _ = _contents(target)
    earlier = is_result(target)
    for name in new:
        path, parent = target / name, (target / name).parent
        blocked = path if path.is_dir() or (not earlier and os.path.lexists(path)) else None
        if parent != target and os.path.lexists(parent) and (parent.is_symlink() or not parent.is_dir()):
            blocked = parent
        if blocked:
            raise WriteError(
                f"{blocked}: is there already and was not written by earmark; move it away or choose "
                "another folder"
            )
    if not earlier:
        own = []
    with naming(target):
        unfinished = folder / f"{HIDDEN}unfinished"
        unfinished.write_text(json.dumps(_UNFINISHED), encoding="utf-8")
        unfinished.replace(target / RECORD)
        for name in own:
            if name != RECORD and name not in new:
                (target / name).unlink()
        for name in (*(name for name in new if name != RECORD), RECORD):
            (target / name).parent.mkdir(exist_ok=True)
            (folder / name).replace(target / name)
        for name in _own_folders():
            # One that holds files of others stays.
            if not (target / name).is_symlink():
                with suppress(OSError):
                    (target / name).rmdir()
