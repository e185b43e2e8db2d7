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
from ..scores.windows import WindowScores
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


def write_stored(file: BinaryIO, *, fields: Mapping[str, Any], audio: AudioKind) -> None:
    """Write arrays.npz of a result with these fields. audio: which sound is saved beside it."""
    windows: WindowScores = fields["windows"]
    arrays: dict[str, Array] = {
        "logits": fields["logits"],
        "start_s": windows.start_s,
        "end_s": windows.end_s,
        "scores": windows.scores,
    }
    parts = {}
    for name, part in fields["parts"].items():
        own: dict[str, Array] = {}
        parts[name] = msgspec.to_builtins(method_of(name).store(part, own))
        arrays |= {f"{name}.{key}": array for key, array in own.items()}
    others = {name: fields[name] for name in StoredResult.__struct_fields__ if name in fields}
    stored = StoredResult(
        **{**others, "parts": parts, "labels": windows.labels, "task": windows.task},
        schema_version=SCHEMA_VERSION,
        audio=audio,
    )
    write_arrays(file, msgspec.to_builtins(stored), arrays)


def read_stored(folder: Path) -> dict[str, Any]:
    """The fields of the result that lies in a folder.

    Raises DataError where there is none with arrays, it is damaged, or a newer earmark wrote it.
    """
    path = folder / ARRAYS
    if not path.is_file():
        reason = ""
        if folder.is_dir():
            reason = (
                ": the result was saved without arrays; save it with arrays=True, or earmark explain --arrays"
            )
        raise DataError(f"{path}: is not there{reason}")
    document, arrays = read_arrays(path)
    with _reading(path):
        if document["schema_version"] > SCHEMA_VERSION:
            raise DataError(f"{path}: was written by a newer earmark; read it with that")
        stored = msgspec.convert(document, StoredResult)
    parts, missing = _restored_parts(folder, stored, arrays)
    with _reading(path):
        scores, logits = arrays["scores"], arrays["logits"]
        start_s, end_s = arrays["start_s"], arrays["end_s"]
        count = len(stored.labels)
        if logits.shape != (count,) or scores.shape != (len(start_s), count):
            raise ValueError(f"scores {list(scores.shape)} of {count} labels")
        if start_s.shape != end_s.shape or stored.target not in stored.labels:
            raise ValueError("windows or labels do not fit together")
    own = {"schema_version", "kind", "audio", "labels", "task"}
    fields = {name: getattr(stored, name) for name in stored.__struct_fields__ if name not in own}
    windows = WindowScores(stored.labels, start_s, end_s, scores, stored.task)
    given = {"parts": parts, "warnings": (*stored.warnings, *missing), "logits": logits, "windows": windows}
    return fields | given


def _restored_parts(
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
        with _reading(folder / ARRAYS):
            parts[name] = method_of(name).restore(part, own, sounds)
    return parts, missing


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise DataError where what a file holds does not fit together."""
    try:
        yield
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        # msgspec.ValidationError is a ValueError.
        raise DataError(f"{path}: is damaged, or no result of earmark ({first_line(error)})") from error
