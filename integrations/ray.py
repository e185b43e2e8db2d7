"""Recordings on a Ray cluster; the extra `ray`.

`Detect` is for your own pipeline of Ray Data, `search` does what `earmark detect --engine ray` does. Every
machine needs earmark with the extra, and the bundle and the recordings under the same names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import MissingDependencyError
from ..runtime.detections.tables.parquet import table_of
from ..runtime.detections.tables.row import DetectionRow
from .failures import what_ended
from .parts import PartWork
from .searching import RecordingRow, RecordingSearch

if TYPE_CHECKING:
    import pyarrow

# Recordings that are handed out at once, at the most: what a machine that is lost has to look at again.
_MOST_TOGETHER = 16


class Detect:
    """An actor for `ray.data.Dataset.map_batches`: it holds the explainer; paths go in, detections come out.

    A recording that cannot be read raises, and Ray does what it was told to do with errors; `search` makes a
    row of it.

    Args:
        bundle: Path of the bundle, the same on every machine. None: EARMARK_BUNDLE, else the shipped one.
        device: As for `earmark.load`.
        column: The column of paths or URLs.
        **options: Of `Explainer.detect`.

    Raises:
        BundleError: The folder is no bundle.
        DeviceError: The device is not there.

    Examples:
        Two actors, and a row for each detection, with the columns of `earmark detect`'s tables:

        ```text
        recordings = ray.data.read_csv("recordings.csv")
        detections = recordings.map_batches(
            Detect,
            fn_constructor_kwargs={"min_score": 0.7, "methods": ["mask"]},
            batch_format="pyarrow",
            batch_size=1,
            concurrency=2,
        )
        detections.write_parquet("detections")
        ```

    """

    def __init__(
        self, bundle: Path | str | None = None, device: str = "auto", column: str = "file", **options: Any
    ) -> None:
        self._search, self._column = RecordingSearch(bundle, device, options), column
        self._explainer = self._search.open()

    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table:
        """The detections of a batch of recordings."""
        files = batch.column(self._column).to_pylist()
        rows = [row for file in files for row in self._search.rows(self._explainer, file).detections]
        return table_of(DetectionRow, rows)


class _Parts:
    """An actor that writes parts, and gives what came of each recording."""

    def __init__(self, work: PartWork) -> None:
        self._do = work.open()

    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table:
        rows = [self._do(file, lambda _: None) for file in batch.column("file").to_pylist()]
        return table_of(RecordingRow, rows)


def search(work: PartWork, files: Sequence[str], *, workers: int | None = None) -> Iterator[RecordingRow]:
    """Search recordings on the cluster that RAY_ADDRESS names, else on this machine.

    Args:
        work: What is done with each.
        files: Paths and URLs.
        workers: How many actors; None: one for each CPU of the cluster, or each GPU where the device is one.

    Yields:
        What came of each recording, as parts of the work are done.

    Raises:
        EarmarkError: What ended the work; a RunError where Ray itself gave up. What was done is kept.
        MissingDependencyError: Ray is not installed.

    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError("the engine needs Ray: pip install 'earmark[ray]'") from error

    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    on_gpu = work.search.device.partition(":")[0] in {"cuda", "tensorrt"}
    threads = work.search.threads or 1
    there = ray.cluster_resources()
    workers = workers or max(1, int(there.get("GPU", 0) if on_gpu else there.get("CPU", 1) // threads))
    blocks = max(min(len(files), workers * 4), -(-len(files) // _MOST_TOGETHER))
    recordings = ray.data.from_items([{"file": file} for file in files], override_num_blocks=blocks)
    # Ray makes actors that die again, and does again what they were at, however often.
    done = recordings.map_batches(
        _Parts,
        fn_constructor_kwargs={"work": work},
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(files))),
        num_cpus=threads,
        num_gpus=1 if on_gpu else 0,
    )
    try:
        for row in done.iter_rows():
            yield msgspec.convert(row, RecordingRow)
    except ray.exceptions.RayError as error:
        raise what_ended("Ray", error) from error
