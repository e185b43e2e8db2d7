"""The page of a run of `earmark detect`: a part for each detection, written as it is detected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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
    from .long_run.ledger import Entry

# The folder below the output folder.
PARTS = "report_parts"


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


def write_page(path: Path, entries: Iterable[Entry], parts: Path, manifest: Manifest) -> None:
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
