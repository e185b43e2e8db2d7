"""Files that say which labels count and from which score on: CSV or TOML; a list of labels, one a line."""

from __future__ import annotations

import csv
import io
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import SettingsError

# Stands for the labels that are not named.
REST = "*"
_COLUMNS = ("label", "min_score", "leave_score")
# Of 100,000 labels.
_MOST_BYTES = 32 << 20


@dataclass(frozen=True)
class LabelScores:
    """Thresholds by label.

    Attributes:
        min_score: Label -> score from which on it is detected; "*": all that are not named.
        leave_score: Label -> score down to which a detection goes on; for others three quarters of their own.

    """

    min_score: Mapping[str, float]
    leave_score: Mapping[str, float] = field(default_factory=dict)


def read_thresholds(path: Path | str) -> LabelScores:
    """Read thresholds by label.

    CSV: a header `label,min_score` or `label,min_score,leave_score`, then a row for each label. TOML: tables
    `[min_score]` and, if there is hysteresis, `[leave_score]`, with a line `"label" = number` for each label.
    The label "*" stands for all that are not named.

    Args:
        path: A file that ends in .csv or .toml.

    Returns:
        The thresholds; whether the labels exist is known only for a bundle.

    Raises:
        SettingsError: The file cannot be read, or says something else.

    """
    source = Path(path)
    suffix = source.suffix.lower()
    if suffix not in {".csv", ".toml"}:
        raise SettingsError(f"{source}: thresholds are read from .csv and .toml files")
    text = _text(source)
    tables = _of_csv(source, text) if suffix == ".csv" else _of_toml(source, text)
    if not tables["min_score"]:
        raise SettingsError(f"{source}: names no label with a min_score")
    return LabelScores(tables["min_score"], tables["leave_score"])


def read_labels(path: Path | str) -> list[str]:
    """Read a list of labels, such as a species list: one a line; empty lines and # comments are left out.

    Args:
        path: A text file.

    Returns:
        The labels, in their order.

    Raises:
        SettingsError: The file cannot be read, or names none.

    """
    source = Path(path)
    lines = [line.strip() for line in _text(source).splitlines()]
    labels = [line for line in lines if line and not line.startswith("#")]
    if not labels:
        raise SettingsError(f"{source}: names no label; write one a line")
    return labels


def _text(path: Path) -> str:
    try:
        if os.stat(path).st_size > _MOST_BYTES:  # noqa: PTH116 (never a pipe: its size is 0)
            raise SettingsError(f"{path}: is larger than any list of labels")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is no text in UTF-8") from error


def _of_csv(path: Path, text: str) -> dict[str, dict[str, float]]:
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    columns = tuple(name.strip() for name in rows.fieldnames or ())
    if columns not in {_COLUMNS[:2], _COLUMNS}:
        raise SettingsError(
            f"{path}: its columns are {', '.join(columns) or 'missing'}; give label,min_score[,leave_score]"
        )
    rows.fieldnames = list(columns)
    tables: dict[str, dict[str, float]] = {"min_score": {}, "leave_score": {}}
    for row in rows:
        label = (row["label"] or "").strip()
        where = f"{path}, line {rows.line_num}"
        if label in tables["min_score"]:
            raise SettingsError(f"{where}: names {label!r} a second time")
        for name in columns[1:]:
            cell = (row[name] or "").strip()
            if cell or name == "min_score":
                tables[name][label] = _score(where, cell)
    return tables


def _of_toml(path: Path, text: str) -> dict[str, dict[str, float]]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is no TOML ({error})") from error
    if unknown := sorted(document.keys() - set(_COLUMNS[1:])):
        raise SettingsError(f"{path}: has {unknown[0]!r}; its tables are [min_score] and [leave_score]")
    tables: dict[str, dict[str, float]] = {}
    for name in _COLUMNS[1:]:
        table = document.get(name, {})
        if not isinstance(table, dict):
            raise SettingsError(f'{path}: {name} is {table!r}; write a table: [{name}], then "label" = 0.5')
        tables[name] = {label: _score(f"{path}, {label!r}", score) for label, score in table.items()}
    return tables


def _score(where: str, given: object) -> float:
    try:
        score = float(given) if isinstance(given, (str, int, float)) else None
    except ValueError:
        score = None
    if score is None or not 0.0 <= score <= 1.0:
        raise SettingsError(f"{where}: the score is {given!r}; scores are 0 to 1")
    return score
