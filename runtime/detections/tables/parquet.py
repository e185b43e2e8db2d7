"""Parquet: the columns of the CSV, typed; by pyarrow, in the extra `parquet`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from ....errors import MissingDependencyError
from .row import DetectionRow, RecordingRows

if TYPE_CHECKING:
    import pyarrow

# Rows that are written at once.
_GROUP = 50_000


def require_parquet() -> None:
    """Raise MissingDependencyError without pyarrow."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "Parquet needs pyarrow: pip install 'earmark[parquet]', or choose another format"
        ) from error


def write_parquet(file: BinaryIO, recordings: Iterable[RecordingRows]) -> None:
    """Write one table, a group of rows at a time. Raises MissingDependencyError."""
    require_parquet()
    import pyarrow.parquet

    schema = schema_of(DetectionRow)
    waiting: list[DetectionRow] = []
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for recording in recordings:
            waiting += recording.rows
            if len(waiting) >= _GROUP:
                writer.write_table(table_of(DetectionRow, waiting))
                waiting = []
        writer.write_table(table_of(DetectionRow, waiting))


def schema_of(kind: type[msgspec.Struct]) -> pyarrow.Schema:
    """The columns of a table whose rows are of that kind."""
    import pyarrow

    numbers = pyarrow.float64()
    kinds = {
        "str": pyarrow.string(),
        "float": numbers,
        "float | None": numbers,
        "int": pyarrow.int64(),
        "tuple[str, ...]": pyarrow.list_(pyarrow.string()),
        "tuple[float, ...]": pyarrow.list_(numbers),
        "tuple[tuple[float, float], ...]": pyarrow.list_(pyarrow.list_(numbers, 2)),
    }
    return pyarrow.schema([(name, kinds[written]) for name, written in kind.__annotations__.items()])


def table_of(kind: type[msgspec.Struct], rows: Iterable[msgspec.Struct]) -> pyarrow.Table:
    """Rows of that kind as a table of Arrow."""
    import pyarrow

    return pyarrow.Table.from_pylist([_plain(row) for row in rows], schema_of(kind))


def _plain(row: msgspec.Struct) -> dict[str, object]:
    values = {name: getattr(row, name) for name in row.__struct_fields__}
    return {name: _text(value) if isinstance(value, str) else value for name, value in values.items()}


def _text(value: str) -> str:
    # Bytes of a file's name that are no UTF-8.
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
