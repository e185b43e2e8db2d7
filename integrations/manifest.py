"""The list of recordings: a column of paths or URLs in a CSV or Parquet file."""

from __future__ import annotations

import csv
import io
import os
import posixpath

from ..errors import DataError
from ..printable import nearest
from ..runtime.detections.tables.parquet import require_parquet
from .storage import is_url, read_bytes

COLUMN = "file"


def read_manifest(manifest: str | os.PathLike[str], column: str = COLUMN) -> list[str]:
    """The recordings that a manifest lists.

    Args:
        manifest: Path or URL of a CSV file with a header, or of a Parquet file (*.parquet).
        column: The column of paths or URLs. Paths that are not absolute begin in the manifest's folder.

    Returns:
        Absolute paths and URLs, each once, in order.

    Raises:
        DataError: It cannot be read, lacks the column, lists nothing, or a row has no path.
        MissingDependencyError: pyarrow, fsspec or the package for such URLs is missing.

    """
    name = os.fspath(manifest)
    try:
        data = read_bytes(name)
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error})") from error
    values = _from_parquet(name, data, column) if name.endswith(".parquet") else _from_csv(name, data, column)
    files = []
    for number, value in enumerate(values, 1):
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise DataError(f"{name}: row {number} has no path in the column {column!r}: {value!r}")
        files.append(_absolute(value, name))
    if not files:
        raise DataError(f"{name}: lists no recordings")
    return list(dict.fromkeys(files))


def _absolute(value: str, manifest: str) -> str:
    if is_url(value) or os.path.isabs(value):  # noqa: PTH117
        return value
    if is_url(manifest):
        return posixpath.join(posixpath.dirname(manifest), value)
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(manifest)), value))  # noqa: PTH100, PTH118, PTH120


def _from_csv(name: str, data: bytes, column: str) -> list[object]:
    try:
        rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        _check_column(name, list(rows.fieldnames or ()), column)
        return [row[column] for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name}: is no CSV file in UTF-8 ({error})") from error


def _from_parquet(name: str, data: bytes, column: str) -> list[object]:
    require_parquet()
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        _check_column(name, file.schema_arrow.names, column)
        return list(file.read(columns=[column]).column(0).to_pylist())
    except pyarrow.ArrowException as error:
        raise DataError(f"{name}: is no Parquet file ({error})") from error


def _check_column(name: str, columns: list[str], column: str) -> None:
    if column not in columns:
        listed, hint = ", ".join(columns) or "none", nearest(column, columns)
        raise DataError(f"{name}: has no column {column!r}; it has {listed}{hint and f'; {hint}'}")
