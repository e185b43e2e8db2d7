"""The folder of saved detections: written whole or not at all, and read again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, get_type_hints

import msgspec

from ...errors import DataError, WriteError
from ...printable import first_line
from ...prototypes_index.atomic import put_in_place, staged
from ...prototypes_index.durability import naming
from ...prototypes_index.facts import SchemaVersion
from ..document import SCHEMA_VERSION, DetectionsDict, DetectSettingsDict
from ..methods.saving import write_new
from ..result_files.arrays import read_arrays, write_arrays
from ..scores.windows import WindowScores

if TYPE_CHECKING:
    from ..results.result import Result, SaveOptions

RECORD, WINDOWS, EXPLANATIONS = "detections.json", "windows.npz", "explanations"
# Of 100 hours with explanations.
_MOST_RECORD_BYTES = 1 << 30


class StoredDetections(DetectionsDict):
    """detections.json: the record, and the labels of the windows' scores."""

    labels: list[str]


def write_folder(
    folder: Path,
    document: DetectionsDict,
    windows: WindowScores,
    explanations: Mapping[str, Result],
    how: SaveOptions,
) -> None:
    """Write detections.json, windows.npz and a folder for each explanation by its name. Raises WriteError."""
    target = folder.absolute()
    _refuse_others(target)
    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with staged(target) as made:
        whole: StoredDetections = {**document, "labels": list(windows.labels)}
        text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)
        write_new(made / RECORD, lambda file: file.write(text.encode(errors="backslashreplace")))
        write_new(
            made / WINDOWS,
            lambda file: write_arrays(
                file, {}, {"start_s": windows.start_s, "end_s": windows.end_s, "scores": windows.scores}
            ),
        )
        for name, explanation in explanations.items():
            explanation.save(made / EXPLANATIONS / name, **how)
        _refuse_others(target)
        put_in_place(made, target)


def read_folder(folder: Path) -> tuple[DetectionsDict, WindowScores]:
    """The document and the windows that `write_folder` wrote. Raises DataError."""
    path = folder / RECORD
    try:
        if path.stat().st_size > _MOST_RECORD_BYTES:
            raise DataError(f"{path}: is too large for detections")
        content = json.loads(path.read_bytes(), parse_constant=_no_number)
        if msgspec.convert(content, SchemaVersion).schema_version > SCHEMA_VERSION:
            raise DataError(f"{path}: was written by a newer earmark; read it with that")
        document = msgspec.convert(content, StoredDetections)
        _check_settings(document["settings"])
        labels = tuple(document["labels"])
        _, arrays = read_arrays(folder / WINDOWS)
        start_s, end_s, scores = arrays["start_s"], arrays["end_s"], arrays["scores"]
        if start_s.shape != end_s.shape or scores.shape != (len(start_s), len(labels)):
            raise ValueError(f"scores {list(scores.shape)} of {len(labels)} labels")
        return document, WindowScores(labels, start_s, end_s, scores)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{error.filename or path}: {error.strerror or error}") from error
    except Exception as error:
        # json, msgspec and what is missing raise several kinds of errors.
        raise DataError(f"{folder}: holds no detections that can be read ({first_line(error)})") from error


def _no_number(name: str) -> NoReturn:
    """What JSON has no form for, NaN and infinity. Raises ValueError."""
    raise ValueError(f"it holds {name}")


def _check_settings(settings: Mapping[str, object]) -> None:
    """Those that are there have their types: older files lack some. Raises ValueError."""
    kinds = get_type_hints(DetectSettingsDict)
    for name, value in settings.items():
        if name in kinds:
            try:
                msgspec.convert(value, kinds[name])
            except msgspec.ValidationError as error:
                raise ValueError(f"settings, {name}: {first_line(error)}") from error


def _refuse_others(target: Path) -> None:
    """Raise WriteError where the folder holds what `write_folder` did not write, or is none."""
    if not target.exists():
        return
    names = {entry.name for entry in target.iterdir()} if target.is_dir() else {target.name}
    if not target.is_dir() or target.is_symlink() or (names and RECORD not in names):
        raise WriteError(f"{target}: is there already and was not written by earmark; choose another folder")
    if others := sorted(names - {RECORD, WINDOWS, EXPLANATIONS}):
        raise WriteError(f"{target}: holds {others[0]}, which earmark did not write; choose another folder")


def explanation_folder(folder: Path, number: int, name: str) -> Path:
    """Where the explanation lies of the detection that is `number` in order and has the id `name`.

    Raises DataError where no id is like that.
    """
    if not re.fullmatch(r"[0-9a-f]{1,64}", name):
        raise DataError(f"{folder / RECORD}: {name!r} is no id of a detection")
    return folder / EXPLANATIONS / f"{number:05d}_{name}"
