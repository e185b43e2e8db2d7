"""What the tables are made of: a row for each detection, and the recording that it belongs to."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ..clips import ClipFiles
    from ..detection import Detection

# Seconds and scores are written to the microsecond and the millionth, frequencies to a tenth of a hertz.
_DIGITS, _HZ_DIGITS = 6, 1
# A genus and what follows it, as in "Turdus merula_Eurasian Blackbird".
_SCIENTIFIC = re.compile(r"[A-Z][a-z-]+ (x )?[a-z(][^_]*")


class DetectionRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One detection in a table; the fields are the columns of CSV and Parquet and the keys of JSON lines.

    Attributes:
        file: The recording, as it was named.
        start_s: Begin of the detection in the recording, in seconds.
        end_s: Its end, in seconds.
        label: What was detected.
        score: Highest score of its windows, 0..1.
        mean_score: Mean score of its windows, 0..1.
        low_hz: Lower edge of the band of the evidence, in Hz; None without an explanation that gives one.
        high_hz: Upper edge of that band, in Hz.
        windows: How many windows of the model it covers.
        evidence_s: Stretches of the evidence in the recording, (start, end) in seconds.
        start_time: When it began, ISO 8601, with the zone where that is known; empty where nothing says when
            the recording began.
        end_time: When it ended, likewise.
        site: The folder below the input that the recording lies in; empty where there is none.
        id: What tells this detection from all others; the same in every run.
        clip_start_s: Begin of what its windows contain, which is what was explained; of detections of more
            than a minute only the time around the peak.
        clip_end_s: Its end.
        clip: That stretch of the sound, as a path below the output folder; empty where none was written.
        kept_clip: What the mask keeps of it, likewise.
        picture: Its picture, likewise.

    """

    file: str
    start_s: float
    end_s: float
    label: str
    score: float
    mean_score: float
    low_hz: float | None = None
    high_hz: float | None = None
    windows: int = 1
    evidence_s: tuple[tuple[float, float], ...] = ()
    start_time: str = ""
    end_time: str = ""
    site: str = ""
    id: str = ""
    clip_start_s: float | None = None
    clip_end_s: float | None = None
    clip: str = ""
    kept_clip: str = ""
    picture: str = ""


class RecordingRows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recording that was searched, with its detections in order of their begin.

    Attributes:
        file: The recording, as it was named.
        path: Its absolute path; the name where it is no file.
        duration_s: Its length in seconds.
        sample_rate: Of the file, in Hz.
        rows: Its detections; none where nothing was detected.
        recorded_at: When it began, ISO 8601; empty where nothing says so.
        site: The folder below the input that it lies in; empty where there is none.
        warnings: What the user should know, one line each.

    """

    file: str
    path: str
    duration_s: float
    sample_rate: int
    rows: tuple[DetectionRow, ...] = ()
    recorded_at: str = ""
    site: str = ""
    warnings: tuple[str, ...] = ()


def row_of(
    detection: Detection,
    file: str,
    *,
    began: datetime | None = None,
    site: str = "",
    files: ClipFiles | None = None,
) -> DetectionRow:
    """The row of a detection, with rounded numbers.

    began: when the recording began; site: the folder that it lies in, below the input
    files: its files, as paths below the output folder
    """
    return DetectionRow(
        file=file,
        start_s=seconds(detection.start_s),
        end_s=seconds(detection.end_s),
        label=detection.label,
        score=seconds(detection.score),
        mean_score=seconds(detection.mean_score),
        low_hz=None if detection.low_hz is None else hertz(detection.low_hz),
        high_hz=None if detection.high_hz is None else hertz(detection.high_hz),
        windows=len(detection.windows),
        evidence_s=tuple((seconds(start), seconds(end)) for start, end in detection.evidence),
        start_time=clock_time(began, detection.start_s),
        end_time=clock_time(began, detection.end_s),
        site=site,
        id=detection.id,
        clip_start_s=seconds(detection.clip_start_s),
        clip_end_s=seconds(detection.clip_end_s),
        clip="" if files is None else files.clip,
        kept_clip="" if files is None else files.kept,
        picture="" if files is None else files.picture,
    )


def site_of(file: str, folder: str) -> str:
    """Where a recording (path or URL) was made: the first folder below an input that it lies in.

    Directly in the input, that; empty where it does not lie in the input.
    """
    top = folder.rstrip("/")
    if not file.startswith(f"{top}/"):
        return ""
    below = file[len(top) + 1 :].split("/")
    return below[0] if len(below) > 1 else top.rpartition("/")[2]


def seconds(value: float) -> float:
    """A time or a score as the tables hold it."""
    return round(float(value), _DIGITS)


def hertz(value: float) -> float:
    """A frequency as the tables hold it."""
    return round(float(value), _HZ_DIGITS)


def clock_time(began: datetime | None, after_s: float) -> str:
    """The time `after_s` seconds after `began`, ISO 8601 to the millisecond; empty where that is unknown."""
    if began is None:
        return ""
    return (began + timedelta(seconds=after_s)).isoformat(timespec="milliseconds")


def halves(label: str) -> tuple[str, str]:
    """The names in a label such as BirdNET's `Scientific_Common`; of another label, itself twice."""
    scientific, bar, common = label.partition("_")
    if bar and common and (scientific == common or _SCIENTIFIC.fullmatch(scientific)):
        return scientific, common
    return label, label
