"""Tables in parts, one Parquet file for each recording, so that engines may do a recording more than once.

Exactly one row per detection, window and recording comes of three rules. A part is named by its recording:
doing it again writes the same file. It appears whole. The part of the table `recordings` comes last, and
where it says that the recording was done, nothing is done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import msgspec

from ..errors import DeviceError, MissingDependencyError, WriteError, as_earmark_error
from ..runtime.detections.tables.parquet import require_parquet, table_of
from ..runtime.detections.tables.row import DetectionRow
from ..runtime.explainer import Explainer
from .searching import Beat, RecordingRow, RecordingSearch, Searched, WindowRow
from .storage import Folder

# The tables, as folders below the output folder.
DETECTIONS, WINDOWS, RECORDINGS = "detections", "windows", "recordings"
# How often each recording that is not done was begun, in this run.
_TRIES = "tries"
_MOST_TRIES = 2
# What one sound cannot be blamed for: the run ends.
_ENDS_THE_RUN = (WriteError, DeviceError, MissingDependencyError)
_FINAL = ("done", "quarantined")


class Parts:
    """The parts below an output folder. Raises MissingDependencyError without pyarrow."""

    def __init__(self, output: str) -> None:
        require_parquet()
        self.folder = Folder(output)

    def put(self, searched: Searched, *, windows: bool) -> None:
        """Write a recording's rows in the place of earlier ones, windows if asked. Raises WriteError."""
        file = searched.recording.file
        if windows:
            self._write(WINDOWS, file, WindowRow, searched.windows)
        self._write(DETECTIONS, file, DetectionRow, searched.detections)
        self._write(RECORDINGS, file, RecordingRow, [searched.recording])

    def row(self, file: str) -> RecordingRow | None:
        """What came of a recording; None where nothing did so far."""
        import pyarrow.parquet

        content = self.folder.read(_part(RECORDINGS, file))
        if content is None:
            return None
        return next(_rows(pyarrow.parquet.read_table(BytesIO(content)).to_pylist()))

    def finished(self) -> dict[str, RecordingRow]:
        """The recordings that need not be done again, by file. Failed ones are tried again."""
        table = self.folder.table(RECORDINGS)
        if table is None:
            return {}
        rows = (row for batch in table.to_batches() for row in _rows(batch.to_pylist()))
        return {row.file: row for row in rows if row.status in _FINAL}

    def begin(self, file: str) -> int:
        """Note that a recording is begun; gives how often it was before. Raises WriteError."""
        name = f"{_TRIES}/{_name(file)}"
        before = int(self.folder.read(name) or b"0")
        self.folder.write(name, str(before + 1).encode())
        return before

    def forget_tries(self) -> None:
        """A new run blames no recording for what ended the last one."""
        self.folder.clear(_TRIES)

    def _write(
        self, table: str, file: str, kind: type[msgspec.Struct], rows: Iterable[msgspec.Struct]
    ) -> None:
        import pyarrow.parquet

        content = BytesIO()
        pyarrow.parquet.write_table(table_of(kind, rows), content)
        self.folder.write(_part(table, file), content.getvalue())


@dataclass(frozen=True)
class PartWork:
    """Searches recordings and writes their parts, in whichever process.

    Attributes:
        search: How they are searched.
        output: Path or URL of the output folder.
        counts_tries: Whether a recording that ended its process twice is given up here; where the engine
            knows no such thing and would try it for ever.

    """

    search: RecordingSearch
    output: str
    counts_tries: bool = False

    def open(self) -> Callable[[str, Beat], RecordingRow]:
        """Open bundle and folder: gives what does a recording. Raises what `earmark.load` raises."""
        return partial(self._done, self.search.open(), Parts(self.output))

    def _done(self, explainer: Explainer, parts: Parts, file: str, beat: Beat) -> RecordingRow:
        earlier = parts.row(file)
        if earlier is not None and earlier.status in _FINAL:
            return earlier
        if self.counts_tries and parts.begin(file) >= _MOST_TRIES:
            searched = given_up(file, f"ended its process {_MOST_TRIES} times")
        else:
            try:
                searched = self.search.rows(explainer, file, beat)
            except _ENDS_THE_RUN:
                raise
            except Exception as raised:
                error = as_earmark_error(raised)
                searched = Searched(
                    RecordingRow(file, "failed", error_type=type(error).__name__, error=str(error))
                )
        parts.put(searched, windows=self.search.top > 0)
        return searched.recording


def given_up(file: str, reason: str) -> Searched:
    """The rows of a recording that no process could finish."""
    row = RecordingRow(file, "quarantined", error_type="GivenUp", error=f"given up: {reason}")
    return Searched(row)


def _part(table: str, file: str) -> str:
    name = _name(file)
    return f"{table}/shard={name[:2]}/{name}.parquet"


def _name(file: str) -> str:
    return hashlib.sha256(file.encode(errors="surrogateescape")).hexdigest()[:32]


def _rows(values: Iterable[dict[str, object]]) -> Iterator[RecordingRow]:
    fields = RecordingRow.__struct_fields__
    for value in values:
        yield msgspec.convert({name: value[name] for name in fields}, RecordingRow)
