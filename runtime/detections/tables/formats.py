"""The formats by name: what each file is called, and whether it holds one recording or all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO

from .audacity import write_audacity
from .birdnet import write_birdnet
from .csv_table import write_csv
from .json_lines import write_json_lines
from .parquet import require_parquet, write_parquet
from .raven import write_raven
from .row import RecordingRows


@dataclass(frozen=True)
class TableFormat:
    """One format of table.

    Attributes:
        write: Writes the recordings to an open file.
        whole: Name of the file for all recordings; empty where the format knows one recording alone.
        single: Ending of the file for one recording, behind its own name; empty where there is none.
        require: Raises MissingDependencyError where a package is missing.

    """

    write: Callable[[BinaryIO, Iterable[RecordingRows]], None]
    whole: str = ""
    single: str = ""
    require: Callable[[], None] = lambda: None


FORMATS = {
    "csv": TableFormat(write_csv, whole="detections.csv"),
    "raven": TableFormat(write_raven, whole="detections.selections.txt", single=".selections.txt"),
    "audacity": TableFormat(write_audacity, single=".labels.txt"),
    "birdnet": TableFormat(write_birdnet, whole="detections.birdnet.csv"),
    "jsonl": TableFormat(write_json_lines, whole="detections.jsonl"),
    "parquet": TableFormat(write_parquet, whole="detections.parquet", require=require_parquet),
}
