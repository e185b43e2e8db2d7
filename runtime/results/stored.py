"""arrays.npz of a saved result: everything that `Result.load` gives back, but sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from ...errors import DataError
from ...printable import first_line
from ..bundle.manifest import Task
from ..document import SCHEMA_VERSION, ExplainSettings
from ..methods.loading import method_of
from ..methods.result import AudioKind, MethodResult
from ..methods.saved import SavedSounds
from ..registry import METHODS
from ..result_files.arrays import read_arrays, write_arrays
from ..result_files.folder import ARRAYS
from ..values.arrays import Array


class StoredResult(msgspec.Struct, frozen=True, kw_only=True):
    """What of a `Result` is neither array nor part, by its names.

    audio: which sound was saved; samples, flat: of the input; labels: those of the windows' scores
    parts: method -> what it stores
    """

    schema_version: int
    kind: Literal["result"] = "result"
    input: str
    predictions: tuple[tuple[str, float], ...]
    target: str
    sample_rate: int
    channel_count: int
    duration_s: float
    device: str
    bundle: str
    bundle_id: str
    seed: int
    settings: ExplainSettings
    timings: dict[str, float]
    warnings: tuple[str, ...]
    partial: bool
    flat: bool
    audio: AudioKind
    labels: tuple[str, ...]
    parts: dict[str, Any]
    # Results of earlier versions are of classes.
    task: Task = "single_label"


def store_parts(parts: Mapping[str, MethodResult], arrays: dict[str, Array]) -> dict[str, Any]:
    """What each method stores, in plain types; its arrays go into `arrays` under "<method>.<name>"."""
    stored: dict[str, Any] = {}
    for name, part in parts.items():
        own: dict[str, Array] = {}
        stored[name] = msgspec.to_builtins(method_of(name).store(part, own))
        arrays |= {f"{name}.{key}": array for key, array in own.items()}
    return stored


def write_stored(file: BinaryIO, stored: StoredResult, arrays: Mapping[str, Array]) -> None:
    """Write arrays.npz."""
    write_arrays(file, msgspec.to_builtins(stored), arrays)


def read_stored(folder: Path) -> tuple[StoredResult, dict[str, Array]]:
    """What lies in a result's folder, and its arrays.

    Raises:
        DataError: There are none, they are damaged, or a newer earmark wrote them.

    """
    path = folder / ARRAYS
    if not path.is_file():
        reason = "the result was saved without arrays; save it with arrays=True" if folder.is_dir() else ""
        raise DataError(f"{path}: is not there{': ' if reason else ''}{reason}")
    document, arrays = read_arrays(path)
    with reading(path):
        if document["schema_version"] > SCHEMA_VERSION:
            raise DataError(f"{path}: was written by a newer earmark; read it with that")
        return msgspec.convert(document, StoredResult), arrays


def restored_parts(
    folder: Path, stored: StoredResult, arrays: Mapping[str, Array]
) -> tuple[dict[str, MethodResult], list[str]]:
    """The parts of the methods, and a warning for each that cannot be had here. Raises DataError."""
    sounds = SavedSounds(
        folder=folder,
        audio=stored.audio,
        channels=stored.channel_count,
        samples=round(stored.duration_s * stored.sample_rate),
        sample_rate=stored.sample_rate,
        flat=stored.flat,
    )
    parts: dict[str, MethodResult] = {}
    missing = []
    for name, part in stored.parts.items():
        if name not in METHODS or part is None:
            missing.append(f"{name}: what this method gave was not loaded; it is not installed here")
            continue
        own = {key.removeprefix(f"{name}."): one for key, one in arrays.items() if key.startswith(f"{name}.")}
        with reading(folder / ARRAYS):
            parts[name] = method_of(name).restore(part, own, sounds)
    return parts, missing


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise DataError where what a file holds does not fit together."""
    try:
        yield
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        # msgspec.ValidationError is a ValueError.
        raise DataError(f"{path}: is damaged, or no result of earmark ({first_line(error)})") from error
