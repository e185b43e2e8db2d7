"""What any engine does with a recording: fetch it, search it, and give its rows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..runtime.audio.recorded import recorded_at
from ..runtime.detections.tables.row import DetectionRow, row_of, seconds, site_of
from ..runtime.explainer import Explainer, load
from .storage import NamedFile, fetched, is_url

if TYPE_CHECKING:
    from ..runtime.detections.detection import Detection
    from ..runtime.detections.recent import Stretch
    from ..runtime.scores.windows import WindowScores

# Called with the seconds of a recording that are done.
Beat = Callable[[float], None]


class WindowRow(msgspec.Struct, frozen=True):
    """A window of a recording.

    Attributes:
        file: The recording: its path or URL.
        start_s: Begin of the window in the recording, in seconds.
        end_s: Its end.
        labels: The best labels, best first.
        scores: Their scores, 0..1.

    """

    file: str
    start_s: float
    end_s: float
    labels: tuple[str, ...]
    scores: tuple[float, ...]


class RecordingRow(msgspec.Struct, frozen=True):
    """What came of a recording.

    Attributes:
        file: The recording: its path or URL.
        status: done; failed (no sound that can be used); quarantined (it ended its process twice).
        detections: How many rows it has in the table `detections`.
        windows: How many windows were classified.
        duration_s: Its length in seconds.
        start_time: When it began, ISO 8601; empty where nothing says so.
        error_type: Class of what was raised; empty when done.
        error: Its line.
        warnings: What the user should know, one line each.

    """

    file: str
    status: str
    detections: int = 0
    windows: int = 0
    duration_s: float = 0.0
    start_time: str = ""
    error_type: str = ""
    error: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Searched:
    """The rows of one recording.

    Attributes:
        recording: What came of it.
        detections: In the order of their begin.
        windows: In their order, where they are wanted.

    """

    recording: RecordingRow
    detections: Sequence[DetectionRow] = ()
    windows: Sequence[WindowRow] = ()


@dataclass(frozen=True)
class RecordingSearch:
    """How recordings are searched; it travels to the engine's processes, which open the bundle.

    Attributes:
        bundle: Path of the bundle, the same on every machine. None: EARMARK_BUNDLE, else the shipped one.
        device: As for `earmark.load`.
        options: Of `Explainer.detect`.
        top: How many labels of each window are wanted; 0: no rows of windows.
        threads: Of one process, before EARMARK_THREADS; None: that, or as many as it may use.
        folders: The inputs that recordings lie in, as absolute paths and URLs: what sites are told by.

    """

    bundle: Path | str | None = None
    device: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    top: int = 0
    threads: int | None = None
    folders: tuple[str, ...] = ()

    def open(self) -> Explainer:
        """Open the bundle, once in each process. Raises what `earmark.load` raises."""
        if self.threads is not None:
            os.environ["EARMARK_THREADS"] = str(self.threads)
        return load(self.bundle, self.device)

    def rows(self, explainer: Explainer, file: str, beat: Beat = lambda _: None) -> Searched:
        """Search one recording.

        Args:
            explainer: What `open` gave.
            file: Path or URL of the recording.
            beat: Is told how far it is.

        Returns:
            Its rows.

        Raises:
            EarmarkError: As `Explainer.detect` says, or what is behind the URL cannot be read.

        """
        rows: list[DetectionRow] = []
        warned: Counter[str] = Counter()
        site = next(filter(None, (site_of(file, folder) for folder in self.folders)), "")

        def take(detection: Detection, _: Stretch) -> None:
            warned.update(detection.warnings)
            rows.append(row_of(detection, file, began=began, site=site))

        with fetched(file) if is_url(file) else nullcontext(file) as sound:
            began = recorded_at(sound.path if isinstance(sound, NamedFile) else sound)
            answer = explainer.detect(
                sound, on_detection=take, progress=lambda done_s, _: beat(done_s), **self.options
            )
        rows.sort(key=lambda row: (row.start_s, row.label))
        recording = RecordingRow(
            file=file,
            status="done",
            detections=len(rows),
            windows=len(answer.windows),
            duration_s=seconds(answer.duration_s),
            start_time="" if began is None else began.isoformat(timespec="milliseconds"),
            warnings=(*answer.warnings, *(f"{line} (detections: {count})" for line, count in warned.items())),
        )
        return Searched(recording, rows, list(_windows(answer.windows, file, self.top)) if self.top else ())


def _windows(windows: WindowScores, file: str, top: int) -> Iterator[WindowRow]:
    for start, end, best in zip(windows.start_s, windows.end_s, windows.top(top), strict=True):
        yield WindowRow(
            file,
            seconds(start),
            seconds(end),
            tuple(label for label, _ in best),
            tuple(seconds(score) for _, score in best),
        )
