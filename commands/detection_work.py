"""What is done with one recording of `earmark detect`, in whichever process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AudioError, DeviceError, WriteError, as_earmark_error
from ..runtime.detections.tables.row import DetectionRow, RecordingRows, row_of
from ..runtime.document import Origin, error_dict, failure_record
from ..runtime.result_files.folder import CLIPS
from .long_run.ledger import FileState, LedgerEntry
from .long_run.workers import Beat
from .report_pages import part_name, write_part
from .result_folders import safe_name

if TYPE_CHECKING:
    from ..runtime.audio.writing import SoundFormat
    from ..runtime.detections.clips import ClipFiles
    from ..runtime.detections.detection import Detection
    from ..runtime.detections.recent import Stretch
    from ..runtime.explainer import Explainer

# What one sound cannot be blamed for: the run ends.
_ENDS_THE_RUN = (WriteError, DeviceError)


@dataclass(frozen=True)
class Recording:
    """A recording to be searched.

    file: as it was named; state: its path and which file is there; sound: what is opened
    missing: why there is nothing to open; folder: for its files, below the output folder
    site: the folder that it lies in
    """

    file: str
    state: FileState
    sound: str
    missing: str | None = None
    folder: str = ""
    site: str = ""

    def entry(self, **more: Any) -> LedgerEntry:
        """Its entry in the ledger."""
        return self.state.entry(self.file, folder=self.folder, **more)


@dataclass(frozen=True)
class RecordingAnswer:
    """What came of one recording.

    entry: what the ledger holds; document: the same as JSON with every explanation, where it was asked for
    """

    entry: LedgerEntry
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DetectionWork:
    """Searches recordings with one bundle.

    bundle, device: as for `earmark.load`; options: of `Explainer.detect`
    origin: what is asked, for the records of failures
    output, clips: where clips are written, and how; documents: whether JSON is wanted of each recording
    parts: where what a page shows of each detection is written, if there is to be one
    """

    bundle: Path
    device: str
    options: Mapping[str, Any]
    origin: Origin
    output: Path | None = None
    clips: SoundFormat | None = None
    documents: bool = False
    parts: Path | None = None

    def open(self) -> Callable[[Recording, Beat], RecordingAnswer]:
        """Open the bundle. Raises what `earmark.load` raises."""
        from ..runtime.explainer import load

        return partial(self._searched, load(self.bundle, device=self.device))

    def _searched(self, explainer: Explainer, recording: Recording, beat: Beat) -> RecordingAnswer:
        rows: list[DetectionRow] = []
        try:
            if recording.missing is not None:
                raise AudioError(recording.missing)
            return self._detected(explainer, recording, beat, rows)
        except _ENDS_THE_RUN:
            raise
        except Exception as raised:
            # What is wrong with a sound may show at its end: no table will name these.
            self._discard(recording, rows)
            error = as_earmark_error(raised)
            kind = type(error).__name__
            return RecordingAnswer(
                recording.entry(status="failed", error_type=kind, error=str(error)),
                failure_record("detections", recording.file, error_dict(error), self.origin)
                if self.documents
                else {},
            )

    def _detected(
        self, explainer: Explainer, recording: Recording, beat: Beat, rows: list[DetectionRow]
    ) -> RecordingAnswer:
        """Search a recording; its rows are in `rows` as soon as their files are written."""
        from ..runtime.audio.recorded import recorded_at

        began = recorded_at(recording.sound)
        warned: Counter[str] = Counter()
        documents: list[Mapping[str, Any]] = []

        def take(detection: Detection, clip: Stretch) -> None:
            warned.update(detection.warnings)
            files = self._written(recording, detection, clip)
            if self.parts is not None:
                write_part(self.parts, detection, clip)
            rows.append(row_of(detection, recording.file, began=began, site=recording.site, files=files))
            if self.documents:
                documents.append(detection.to_dict())

        found = explainer.detect(
            recording.sound,
            on_detection=take,
            progress=lambda done_s, _: beat(done_s),
            **self.options,
        )
        rows.sort(key=lambda row: (row.start_s, row.label))
        documents.sort(key=lambda one: (one["start_s"], one["label"]))
        searched = RecordingRows(
            file=recording.file,
            path=recording.state.path,
            duration_s=round(found.duration_s, 6),
            sample_rate=found.sample_rate,
            rows=tuple(rows),
            recorded_at="" if began is None else began.isoformat(timespec="milliseconds"),
            site=recording.site,
            warnings=(*found.warnings, *(f"{line} (detections: {count})" for line, count in warned.items())),
        )
        entry = recording.entry(status="done", seconds=searched.duration_s, recording=searched)
        whole = (
            {**found.to_dict(), "input": recording.file, "detections": documents} if self.documents else {}
        )
        return RecordingAnswer(entry, whole)

    def _discard(self, recording: Recording, rows: Sequence[DetectionRow]) -> None:
        """Remove the files of these detections."""
        parts = [] if self.parts is None else [self.parts / part_name(row.id) for row in rows]
        clips = [name for row in rows for name in (row.clip, row.kept_clip, row.picture) if name]
        with suppress(OSError):
            for path in (*parts, *(Path(self.output or "") / name for name in clips)):
                path.unlink(missing_ok=True)
            if clips and self.output is not None:
                folder = self.output / recording.folder
                (folder / CLIPS).unlink(missing_ok=True)
                folder.rmdir()

    def _written(self, recording: Recording, detection: Detection, clip: Stretch) -> ClipFiles | None:
        """The files of a detection, where they are wanted, as paths below the output folder."""
        if self.output is None or self.clips is None:
            return None
        from ..runtime.detections.clips import write_clip

        label = safe_name(detection.label)
        # Two labels may differ only by what no file name holds.
        mark = "" if label == detection.label else f"_{detection.id[:6]}"
        stem = f"{detection.start_s:010.3f}_{label}{mark}"
        files = write_clip(self.output / recording.folder, stem, detection, clip, self.clips)
        return replace(
            files,
            clip=f"{recording.folder}/{files.clip}",
            kept=files.kept and f"{recording.folder}/{files.kept}",
            picture=f"{recording.folder}/{files.picture}",
        )
