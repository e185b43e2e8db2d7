"""Pages of detections: `Detections.to_html`, `earmark detect --html`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

import msgspec

from ...errors import AudioError
from ...printable import printable
from ...times import span_text
from ..audio.sound import OpenSound, open_sound
from ..audio.source import block_samples
from ..report.gather import item_of
from ..report.items import Item, Row, SearchedSound
from ..report.media import mono, sounds_of, spectrogram_of
from ..report.page import MOST_BYTES, ReportWriter
from ..report.results import truth_of
from .detection import Detection, SearchedRecording
from .recent import RecentSound, Stretch
from .tables.row import clock_time


def item_of_detection(detection: Detection, clip: Stretch | None) -> Item:
    """A detection for a page; times within it count from the begin of the clip.

    clip: the sound of its windows; played where no explanation brings its own
    """
    explanation = detection.explanation
    if explanation is not None:
        item = item_of(explanation, start_s=detection.clip_start_s)
        warnings = [printable(warning) for warning in detection.warnings]
        return msgspec.structs.replace(
            item,
            score=detection.score,
            summary=[_told(detection), *item.summary[1:]],
            warnings=list(dict.fromkeys([*warnings, *item.warnings])),
        )
    item = _scored(detection)
    if clip is None:
        return msgspec.structs.replace(item, without="the recording is not at hand any more")
    sound = mono(clip.samples)
    return msgspec.structs.replace(
        item, picture=spectrogram_of(sound, clip.rate), sounds=sounds_of(clip.rate, sound)
    )


def _told(detection: Detection) -> str:
    """The detection in a sentence."""
    where = span_text(detection.start_s, detection.end_s, between=" to ")
    return (
        f"{printable(detection.label)} was detected from {where} of the recording: its best window has a "
        f"score of {detection.score:.1%}."
    )


def _scored(detection: Detection) -> Item:
    """A detection without its explanation, sound and picture."""
    return Item(
        label=printable(detection.label),
        score=detection.score,
        start_s=detection.clip_start_s,
        seconds=detection.clip_end_s - detection.clip_start_s,
        summary=[_told(detection)],
        predictions=[(printable(detection.label), detection.score)],
        warnings=[printable(warning) for warning in detection.warnings],
        facts=[
            ("Methods", "none: scores alone"),
            ("Mean score of its windows", f"{detection.mean_score:.1%}"),
        ],
    )


def page_of(detections: SearchedRecording, most_bytes: int = MOST_BYTES) -> ReportWriter:
    """The page of one recording's detections, to be closed. Raises MissingDependencyError."""
    # In order of their clips' ends, in which one pass over the recording cuts them.
    name, items = detections.input, sorted(detections.items, key=lambda one: one.clip_end_s)
    labels, file = detections.windows.labels, printable(name)
    title = f"{PurePath(name).name}: {detections.summary}"
    report = ReportWriter(title, "detections", labels, most_bytes=most_bytes)
    warnings = [printable(warning) for warning in detections.warnings]
    report.add_sound(SearchedSound(file, file, detections.duration_s, detections.sample_rate, warnings))
    for one, clip in zip(items, _clips(detections, items), strict=True):
        row = Row(
            id=one.id,
            file=file,
            path=file,
            label=printable(one.label),
            score=one.score,
            start_s=one.start_s,
            end_s=one.end_s,
            low_hz=one.low_hz,
            high_hz=one.high_hz,
            time=clock_time(detections.recorded_at, one.start_s),
            truth=truth_of(name, labels),
        )
        report.add(row, _scored(one) if report.full else item_of_detection(one, clip))
    return report


def _clips(detections: SearchedRecording, items: Sequence[Detection]) -> Iterator[Stretch | None]:
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
    longest = max((last - first for first, last in edges), default=0)
    held = RecentSound(longest + block_samples(opened.input_channels))
    blocks = opened.input_blocks()
    for first, last in edges:
        while held.count < last:
            held.push(next(blocks))
        yield Stretch(held.cut(first, last), rate, first / rate, last / rate)
