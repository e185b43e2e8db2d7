"""Pages of runs of `earmark detect` and `earmark explain`; their parts wait in the output folder.

So a run that goes on shows what it showed before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ..errors import RunError
from ..printable import printable
from ..prototypes_index.atomic import write_whole
from ..prototypes_index.durability import naming

if TYPE_CHECKING:
    from ..runtime.bundle.manifest import Manifest
    from ..runtime.detections.detection import Detection
    from ..runtime.detections.recent import Stretch
    from ..runtime.detections.tables.row import DetectionRow, RecordingRows
    from ..runtime.report.items import Row
    from ..runtime.report.results import ResultPart
    from ..runtime.results.result import Result
    from .long_run.ledger import LedgerEntry

# The folder of parts below the output folder.
PARTS = "report_parts"
# Of the hash in the name of a sound's parts.
_DIGITS = 16


def part_name(detection_id: str) -> str:
    """The file of a detection in the folder of parts."""
    return f"{detection_id}.json"


def write_part(folder: Path, detection: Detection, clip: Stretch) -> None:
    """Write what a page shows of a detection. Raises WriteError."""
    from ..runtime.detections.reporting import item_of_detection
    from ..runtime.report.items import script_json

    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    text = script_json(item_of_detection(detection, clip))
    write_whole(folder / part_name(detection.id), text, durable=False)


def write_page(path: Path, entries: Iterable[LedgerEntry], parts: Path, manifest: Manifest) -> None:
    """Write the page of all entries. Raises WriteError, RunError."""
    from ..runtime.report.items import SearchedSound
    from ..runtime.report.page import ReportWriter

    labels = manifest.labels
    with ReportWriter(f"Detections by {manifest.name}", "detections", tuple(labels)) as report:
        for entry in entries:
            recording = entry.recording
            if recording is None:
                report.add_sound(
                    SearchedSound(
                        printable(entry.file), printable(entry.path), entry.seconds, 0, error=entry.error
                    )
                )
                continue
            file, where = printable(recording.file), printable(recording.path)
            warnings = [printable(warning) for warning in recording.warnings]
            report.add_sound(
                SearchedSound(file, where, recording.duration_s, recording.sample_rate, warnings)
            )
            for row in recording.rows:
                part = parts / part_name(row.id)
                try:
                    content = part.read_bytes()
                except OSError as error:
                    raise RunError(
                        f"{part}: what the page shows of a detection cannot be read ({error.strerror})"
                    ) from error
                report.add(_row(row, recording, labels), content)
        report.write(path)


def _row(row: DetectionRow, recording: RecordingRows, labels: Sequence[str]) -> Row:
    """A row of the tables as a row of the page."""
    from ..runtime.report.items import Row
    from ..runtime.report.results import truth_of

    return Row(
        id=row.id,
        file=printable(row.file),
        path=printable(recording.path),
        label=printable(row.label),
        score=row.score,
        start_s=row.start_s,
        end_s=row.end_s,
        low_hz=row.low_hz,
        high_hz=row.high_hz,
        time=row.start_time,
        truth=truth_of(recording.path, labels),
    )


class ExplanationPage:
    """Collects what is explained and writes the page at the end; to be used in a with statement.

    Args:
        names: Of the sounds.
        labels: Of the model.
        values: Whether its scores are values of a regression.
        output: Below it parts are kept; None: the run cannot go on another time.

    Raises:
        MissingDependencyError: Jinja2 is not installed.

    """

    def __init__(
        self, names: Sequence[str], labels: Sequence[str], *, values: bool, output: Path | None
    ) -> None:
        from ..runtime.report.page import ReportWriter

        title = Path(names[0]).name if len(names) == 1 else f"{len(names)} sounds"
        self._report = ReportWriter(f"{title}, explained", "sounds", tuple(labels), values=values)
        self._labels, self._parts = labels, None if output is None else output / PARTS

    def __enter__(self) -> Self:
        self._report.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._report.__exit__(*raised)

    def add(self, name: str, results: Sequence[Result]) -> None:
        """Show the results of a sound, and keep what is shown of them. Raises WriteError."""
        from ..runtime.report.results import part_of

        parts = [part_of(result, name, self._labels) for result in results]
        if self._parts is not None:
            with naming(self._parts):
                self._parts.mkdir(parents=True, exist_ok=True)
            write_whole(self._file(self._parts, name), b"".join(part.encoded for part in parts))
        self._show(parts)

    def add_failure(self, name: str, error: str) -> None:
        """Show that a sound could not be explained."""
        from ..runtime.report.results import add_failure

        add_failure(self._report, name, error)

    def again(self, name: str, entry: LedgerEntry) -> bool:
        """Show what an earlier run said of a sound; False where it kept nothing for a page."""
        if entry.status != "done":
            self.add_failure(name, entry.error)
            return True
        import msgspec

        from ..runtime.report.results import decoded_parts

        parts: list[ResultPart] = []
        if self._parts is not None:
            with suppress(OSError, msgspec.MsgspecError):
                parts = decoded_parts(self._file(self._parts, name).read_bytes())
        self._show(parts)
        return bool(parts)

    def write(self, path: Path) -> None:
        """Write the page. Raises WriteError."""
        self._report.write(path)

    def _show(self, parts: Sequence[ResultPart]) -> None:
        from ..runtime.report.results import add_part

        for part in parts:
            add_part(self._report, part)

    def _file(self, folder: Path, name: str) -> Path:
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:_DIGITS]
        return folder / f"{digest}.jsonl"
