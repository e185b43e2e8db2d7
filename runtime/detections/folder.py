"""The folder of saved detections: written whole or not at all, and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import DataError, WriteError
from ...printable import first_line
from ...prototypes_index.atomic import put_in_place, staged
from ...prototypes_index.durability import naming
from ..methods.saving import write_new
from ..windows import WindowScores

if TYPE_CHECKING:
    from ..results import Result

RECORD, WINDOWS, EXPLANATIONS = "detections.json", "windows.npz", "explanations"
SCHEMA_VERSION = 1
# Of 100 hours with explanations.
_MOST_RECORD_BYTES = 1 << 30


def write_folder(
    folder: Path, document: Mapping[str, Any], windows: WindowScores, explanations: Mapping[str, Result]
) -> None:
    """Write detections.json, windows.npz and a folder for each explanation by its name. Raises WriteError."""
    target = folder.absolute()
    _refuse_others(target)
    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with staged(target) as made:
        whole = {"schema_version": SCHEMA_VERSION, "labels": list(windows.labels), **document}
        text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)
        write_new(made / RECORD, lambda file: file.write(text.encode(errors="backslashreplace")))
        write_new(
            made / WINDOWS,
            lambda file: np.savez_compressed(
                file, start_s=windows.start_s, end_s=windows.end_s, scores=windows.scores
            ),
        )
        for name, explanation in explanations.items():
            explanation.save(made / EXPLANATIONS / name)
        _refuse_others(target)
        put_in_place(made, target)


def read_folder(folder: Path) -> tuple[dict[str, Any], WindowScores]:
    """The document and the windows that `write_folder` wrote. Raises DataError."""
    path = folder / RECORD
    try:
        if path.stat().st_size > _MOST_RECORD_BYTES:
            raise DataError(f"{path}: is too large for detections")
        document: dict[str, Any] = json.loads(path.read_bytes())
        if document["schema_version"] > SCHEMA_VERSION:
            raise DataError(f"{path}: was written by a newer earmark; read it with that")
        labels = tuple(document["labels"])
        with np.load(folder / WINDOWS, allow_pickle=False) as arrays:
            return document, WindowScores(labels, arrays["start_s"], arrays["end_s"], arrays["scores"])
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{error.filename or path}: {error.strerror or error}") from error
    except Exception as error:
        # json, zipfile and its decompressors raise a dozen kinds of errors at what is damaged.
        raise DataError(f"{folder}: holds no detections that can be read ({first_line(error)})") from error


def _refuse_others(target: Path) -> None:
    """Raise WriteError where the folder holds what `write_folder` did not write, or is none."""
    if not target.exists():
        return
    names = {entry.name for entry in target.iterdir()} if target.is_dir() else {target.name}
    if not target.is_dir() or target.is_symlink() or (names and RECORD not in names):
        raise WriteError(f"{target}: is there already and was not written by earmark; choose another folder")
    if others := sorted(names - {RECORD, WINDOWS, EXPLANATIONS}):
        raise WriteError(f"{target}: holds {others[0]}, which earmark did not write; choose another folder")
