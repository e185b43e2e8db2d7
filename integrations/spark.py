"""Recordings on a Spark cluster; the extra `spark`.

`detect` is for your own pipeline, by `DataFrame.mapInPandas`; `search` does what `earmark detect --engine
spark` does. Every machine needs earmark with the extra, and the bundle and recordings under the same names.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import MissingDependencyError
from ..runtime.detections.tables.row import DetectionRow
from .failures import what_ended
from .parts import PartWork
from .searching import RecordingRow, RecordingSearch

if TYPE_CHECKING:
    from pathlib import Path

    import pandas

Frames = Iterator["pandas.DataFrame"]

# Recordings in one task, at the most.
_MOST_TOGETHER = 16
_KINDS = {
    "str": "string",
    "float": "double",
    "float | None": "double",
    "int": "bigint",
    "tuple[str, ...]": "array<string>",
    "tuple[tuple[float, float], ...]": "array<array<double>>",
}


def _schema(kind: type[msgspec.Struct]) -> str:
    return ", ".join(f"`{name}` {_KINDS[written]}" for name, written in kind.__annotations__.items())


# The columns that `detect` gives, as Spark writes a schema.
DETECTIONS = _schema(DetectionRow)


def detect(
    bundle: Path | str | None = None, device: str = "auto", column: str = "file", **options: Any
) -> Callable[[Frames], Frames]:
    """A function for `DataFrame.mapInPandas`: rows with a path go in, rows of detections come out.

    Each Python worker opens the bundle once. A recording that cannot be read fails its task; `search` makes a
    row of it.

    Args:
        bundle: Path of the bundle, the same on every machine. None: EARMARK_BUNDLE, else the shipped one.
        device: As for `earmark.load`.
        column: The column of paths or URLs.
        **options: Of `Explainer.detect`.

    Returns:
        The function; the schema of its rows is `DETECTIONS`.

    Examples:
        ```text
        recordings = spark.read.csv("recordings.csv", header=True).repartition(200)
        detections = recordings.mapInPandas(detect(min_score=0.7, methods=["mask"]), DETECTIONS)
        detections.write.parquet("detections")
        ```

    """
    return partial(_detected, RecordingSearch(bundle, device, options), column)


def search(work: PartWork, files: Sequence[str]) -> Iterator[RecordingRow]:
    """Search recordings with the Spark session that is there, else with a new one.

    Args:
        work: What is done with each.
        files: Paths and URLs.

    Yields:
        What came of each recording, when all of them are done.

    Raises:
        EarmarkError: What ended the work; a RunError where Spark itself gave up. What was done is kept.
        MissingDependencyError: PySpark is not installed.

    """
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MissingDependencyError("the engine needs PySpark: pip install 'earmark[spark]'") from error

    # Else workers are the first python3 of their PATH, which need not have earmark.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = SparkSession.builder.appName("earmark detect").getOrCreate()
    parallel = spark.sparkContext.defaultParallelism
    tasks = max(min(len(files), parallel * 4), -(-len(files) // _MOST_TOGETHER))
    frame = spark.createDataFrame([(file,) for file in files], "file string").repartition(tasks)
    try:
        done = frame.mapInPandas(partial(_written, work), _schema(RecordingRow)).collect()
    except PySparkException as error:
        raise what_ended("Spark", error) from error
    yield from (msgspec.convert(row.asDict(), RecordingRow) for row in done)


def _detected(searching: RecordingSearch, column: str, frames: Frames) -> Frames:
    explainer = _opened(pickle.dumps(searching))
    for frame in frames:
        rows = (row for file in frame[column] for row in searching.rows(explainer, file).detections)
        yield _frame(DetectionRow, rows)


def _written(work: PartWork, frames: Frames) -> Frames:
    do = _opened(pickle.dumps(work))
    for frame in frames:
        yield _frame(RecordingRow, (do(file, lambda _: None) for file in frame["file"]))


# Spark uses a Python worker for one task after the other.
@cache
def _opened(pickled: bytes) -> Any:
    """What a `RecordingSearch` or a `PartWork` opens, once in each worker."""
    return pickle.loads(pickled).open()  # noqa: S301 (what this function's caller has pickled)


def _frame(kind: type[msgspec.Struct], rows: Iterable[msgspec.Struct]) -> pandas.DataFrame:
    import pandas

    names = kind.__struct_fields__
    plain: list[dict[str, object]] = [msgspec.to_builtins(row, builtin_types=(tuple,)) for row in rows]
    return pandas.DataFrame(plain, columns=list(names))
