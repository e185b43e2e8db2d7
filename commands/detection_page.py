"""The page of a run of `earmark detect`: a part for each detection, written as it is detected."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RunError
from ..prototypes_index.atomic import write_whole
from ..prototypes_index.durability import naming

if TYPE_CHECKING:
    from ..runtime.bundle.manifest import Manifest
    from ..runtime.detections.detection import Detection
    from ..runtime.detections.recent import Stretch
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
    from ..runtime.detections.reporting import index_row, searched_sound
    from ..runtime.report.items import SearchedSound
    from ..runtime.report.page import ReportWriter

    labels = manifest.labels
    with ReportWriter(f"Detections by {manifest.name}", "detections", tuple(labels)) as report:
        for entry in entries:
            recording = entry.recording
            if recording is None:
                report.add_sound(SearchedSound(entry.file, entry.path, entry.seconds, 0, error=entry.error))
                continue
            report.add_sound(searched_sound(recording))
            for row in recording.rows:
                part = parts / part_name(row.id)
                try:
                    content = part.read_bytes()
                except OSError as error:
                    raise RunError(
                        f"{part}: what the page shows of a detection cannot be read ({error.strerror})"
                    ) from error
                report.add(index_row(row, recording, labels), content)
        report.write(path)
