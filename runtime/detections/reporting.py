"""Pages of detections: `Detections.to_html`, `earmark detect --html`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import msgspec

from ...errors import AudioError
from ...printable import printable
from ..audio.sound import OpenSound, open_sound
from ..audio.source import BLOCK
from ..report.gather import item_of
from ..report.items import Item, Row, SearchedSound
from ..report.media import mono, sounds_of, spectrogram_of
from ..report.page import ReportWriter
from ..report.results import truth_of
from .recent import RecentSound, Stretch
from .tables.row import DetectionRow, RecordingRows, row_of

if TYPE_CHECKING:
    from .detection import Detection, Detections


def item_of_detection(detection: Detection, clip: Stretch | None) -> Item:
    """A detection for a page.

    Args:
        detection: With its explanation, where it has one.
        clip: The sound of its windows; played where no explanation brings its own.

    Returns:
        What the page shows; times within it count from the begin of the clip.

    """
    told = (
        f"{printable(detection.label)} was detected from {detection.start_s:.2f} to "
        f"{detection.end_s:.2f} s of the recording: its best window has a score of {detection.score:.1%}."
    )
    explanation = detection.explanation
    if explanation is not None:
        item = item_of(explanation, start_s=detection.clip_start_s)
        warnings = [printable(warning) for warning in detection.warnings]
        return msgspec.structs.replace(
            item,
            score=detection.score,
            summary=[told, *item.summary[1:]],
            warnings=list(dict.fromkeys([*warnings, *item.warnings])),
        )
    sound = None if clip is None else mono(clip.samples)
    return Item(
        label=printable(detection.label),
        score=detection.score,
        start_s=detection.clip_start_s,
        seconds=detection.clip_end_s - detection.clip_start_s,
        summary=[told],
        predictions=[(printable(detection.label), detection.score)],
        warnings=[printable(warning) for warning in detection.warnings],
        facts=[
            ("Methods", "none: scores alone"),
            ("Mean score of its windows", f"{detection.mean_score:.1%}"),
        ],
        picture=None if clip is None or sound is None else spectrogram_of(sound, clip.rate),
        sounds=None if clip is None or sound is None else sounds_of(clip.rate, sound),
        without="" if clip is not None else "the recording is not at hand any more",
    )


def index_row(row: DetectionRow, recording: RecordingRows, labels: Sequence[str]) -> Row:
    """A row of a table as a row of a page."""
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


def searched_sound(recording: RecordingRows) -> SearchedSound:
    """A recording as a page has it."""
    return SearchedSound(
        printable(recording.file),
        printable(recording.path),
        recording.duration_s,
        recording.sample_rate,
        [printable(warning) for warning in recording.warnings],
    )


def write_detections(detections: Detections, path: Path | str) -> None:
    """Write the page of one recording's detections. Raises MissingDependencyError, WriteError."""
    # In order of their clips' ends, in which one pass over the recording cuts them.
    name, items = detections.input, sorted(detections.items, key=lambda one: one.clip_end_s)
    rows = tuple(row_of(one, name, began=detections.recorded_at) for one in items)
    recording = RecordingRows(
        file=name,
        path=name,
        duration_s=detections.duration_s,
        sample_rate=detections.sample_rate,
        rows=rows,
        warnings=detections.warnings,
    )
    labels = detections.windows.labels
    with ReportWriter(f"{PurePath(name).name}: {detections.summary}", "detections", labels) as report:
        report.add_sound(searched_sound(recording))
        for row, one, clip in zip(rows, items, _clips(detections, items), strict=True):
            report.add(index_row(row, recording, labels), item_of_detection(one, clip))
        report.write(path)


def _clips(detections: Detections, items: Sequence[Detection]) -> Iterator[Stretch | None]:
    """The sound of each detection, cut from the recording's file where there is one and it is needed."""
    if any(one.explanation is None for one in items):
        try:
            opened = open_sound(detections.input, None, detections.sample_rate)
        except AudioError:
            pass
        else:
            yield from _cut(opened, items)
            return
    yield from (None for _ in items)


def _cut(opened: OpenSound, detections: Sequence[Detection]) -> Iterator[Stretch]:
    """The clips of detections in order of their end, in one pass over the recording."""
    rate = opened.input_rate
    edges = [
        (round(one.clip_start_s * rate), min(round(one.clip_end_s * rate), opened.input_samples))
        for one in detections
    ]
    held = RecentSound(max((last - first for first, last in edges), default=0) + BLOCK)
    blocks = opened.input_blocks()
    for first, last in edges:
        while held.count < last:
            held.push(next(blocks))
        yield Stretch(held.cut(first, last), rate, first / rate, last / rate)
