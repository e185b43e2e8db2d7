"""How well `detect` finds the true events of a folder of recordings: from a bundle to a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import AudioError, DataError
from ...progress import Progress
from ...runtime.audio.listing import list_sound_files
from ...runtime.explainer import Explainer, engine_of
from ...runtime.scores.labels import label_index
from ..data.clips import Tell, ignore
from ..data.events import COLUMNS, event_level, event_rows, event_times
from ..data.folder import LeftOut
from ..report import Cell, Column, Report, Table
from ..settings import AgreementSettings
from .counts import Occurrence, RankedWindows, RecordingCounts, counts_of, intervals, overlapping, summed

_ALL, _MEAN = "all", "mean"
_LABEL = Column("label", "label")
# What the report says of windows, of detections and of events, each apart.
_WINDOWS = (
    Column("windows", "windows with events", 0),
    Column("window_ap", "AP", 3, "higher"),
    Column("window_auroc", "AUROC", 3, "higher"),
)
_DETECTIONS = (
    Column("detections", "detections", 0),
    Column("right", "over an event", 3, "higher"),
    Column("false_per_hour", "false an hour", 1, "lower"),
)
_EVENTS = (
    Column("events", "events", 0),
    Column("found", "found", 3, "higher"),
    *(Column(f"event_{key}", key, 3, "higher") for key in ("precision", "recall", "f1")),
    *(Column(f"segment_{key}", f"segments' {key}", 3, "higher") for key in ("precision", "recall", "f1")),
)


@dataclass(frozen=True, kw_only=True)
class DetectionReport(Report[RecordingCounts]):
    """What `evaluate_detections` returns; `to_dict` is the document of `earmark evaluate detections --json`.

    Attributes:
        events: The table of true events.
        hours: How long the recordings are together.
        settings: What counts as a detection, and when it is right.
        table: A row for each label that has events or detections, one for all of them together with
            intervals over recordings, one with the labels' mean (of AP: cmAP).
        levels: A row for each level of the events: how many there are, and which share overlaps a detection.

    """

    events: str
    hours: float
    settings: AgreementSettings
    table: Table
    levels: Table

    @property
    def tables(self) -> dict[str, Table]:
        """The table in three: what it says of windows, of detections, of events."""
        parts = {"windows": _WINDOWS, "detections": _DETECTIONS, "events": _EVENTS}
        return {
            name: Table(
                (_LABEL, *columns), [row for row in self.table.rows if row.get(columns[1].key) is not None]
            )
            for name, columns in parts.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the records."""
        return {**super().to_dict(), "recordings": len(self.records)}


def read_truth(path: Path, labels: Sequence[str], bundle: str) -> list[Occurrence]:
    """Read the true events: CSV with clip, label, start_s, end_s; level_db where it is known.

    Raises DataError, LabelError.
    """
    events = []
    for where, row in event_rows(path):
        start_s, end_s = event_times(where, row)
        label = labels[label_index(row["label"].strip(), labels, bundle)]
        level_db = event_level(where, row)
        events.append(Occurrence(row["clip"].strip().replace("\\", "/"), label, start_s, end_s, level_db))
    if not events:
        raise DataError(f"{path}: holds no event; each line is {','.join(COLUMNS)}")
    return events


def evaluate_detections(
    explainer: Explainer,
    data: Path,
    settings: AgreementSettings | None = None,
    *,
    events: Path | None = None,
    tell: Tell = ignore,
    quiet: bool = True,
) -> DetectionReport:
    """Detect in every recording of a folder, and compare with the true events.

    Args:
        explainer: The bundle.
        data: A folder of recordings; those without events count, too.
        settings: What counts as a detection, and when one is right; None: the defaults.
        events: CSV of the true events, whose `clip` is a path in the folder; None: events.csv in the folder.
        tell: Is told which recordings could not be read.
        quiet: Show no progress.

    Returns:
        The report.

    Raises:
        DataError: The table cannot be used, names a recording that is not in the folder, or nothing could be
            read; with `strict` the first recording that cannot.
        LabelError: An event's label is none of the bundle's.
        SettingsError: A setting is out of range.

    """
    how = settings or AgreementSettings()
    manifest = engine_of(explainer).manifest
    path = events or data / "events.csv"
    true = read_truth(path, manifest.labels, manifest.name)
    files = {one.relative_to(data).as_posix(): one for one in list_sound_files(data).files}
    if unknown := sorted({event.recording for event in true} - files.keys()):
        raise DataError(f"{path}: there is no recording {unknown[0]!r} in {data}")
    with_events = {event.label for event in true}
    ranked = RankedWindows([label for label in manifest.labels if label in with_events])
    skipped: list[LeftOut] = []
    recordings: list[RecordingCounts] = []
    found: dict[float, list[bool]] = {}
    with Progress(len(files), "detecting", quiet=quiet) as bar:
        for name, file in bar.over(files.items()):
            try:
                detections = explainer.detect(file, methods=[], **how.of_detect())
            except AudioError as error:
                if how.strict:
                    raise DataError(str(error)) from error
                tell(str(error))
                skipped.append(LeftOut(name, str(error)))
                continue
            seconds = detections.duration_s
            here = [event for event in true if event.recording == name]
            got = [Occurrence(name, one.label, one.start_s, one.end_s) for one in detections]
            counts = counts_of(here, got, seconds, collar_s=how.collar_s, segment_s=how.segment_s)
            recordings.append(RecordingCounts(name, seconds / 3600, counts))
            ranked.add(detections.windows, here)
            _sort_by_level(here, got, found)
    if not recordings:
        raise DataError(f"{data}: none of its {len(files)} recordings could be read")
    return DetectionReport(
        data=str(data),
        events=str(path),
        bundle=manifest.name,
        bundle_id=manifest.bundle_id,
        hours=sum(one.hours for one in recordings),
        settings=how,
        skipped=tuple(skipped),
        table=_table(manifest.labels, recordings, ranked.figures(), how.seed),
        levels=_levels(found),
        records=tuple(recordings),
    )


def _sort_by_level(
    events: Sequence[Occurrence], detections: Sequence[Occurrence], found: dict[float, list[bool]]
) -> None:
    """Note for each event with a level whether it shares time with a detection of its label."""
    for event in events:
        if event.level_db is not None:
            same = [one for one in detections if one.label == event.label]
            found.setdefault(event.level_db, []).append(bool(overlapping([event], same)[0].any()))


def _levels(found: Mapping[float, Sequence[bool]]) -> Table:
    columns = (
        Column("level_db", "level in dB", 1),
        Column("events", "events", 0),
        Column("found", "found", 3, "higher"),
    )
    rows = [
        {"level_db": level, "events": len(some), "found": sum(some) / len(some)}
        for level, some in sorted(found.items(), reverse=True)
    ]
    return Table(columns, rows)


def _table(
    labels: Sequence[str],
    recordings: Sequence[RecordingCounts],
    of_windows: Mapping[str, Mapping[str, float]],
    seed: int,
) -> Table:
    """A row for each label, one for the sums of their counts, one for the mean of their figures."""
    hours = sum(one.hours for one in recordings)
    rows: list[dict[str, Cell]] = []
    for label in labels:
        counts = summed(recordings, label)
        if counts.events or counts.detections:
            rows.append(
                {
                    "label": label,
                    **of_windows.get(label, {}),
                    "events": counts.events,
                    "detections": counts.detections,
                    **counts.figures(hours),
                }
            )
    total = summed(recordings)
    all_: dict[str, Cell] = {"label": _ALL, "events": total.events, "detections": total.detections}
    columns = (_LABEL, *_WINDOWS, *_DETECTIONS, *_EVENTS)
    shares = [column.key for column in columns if column.decimals == 3]
    mean: dict[str, Cell] = {"label": _MEAN, **{key: _mean([row.get(key) for row in rows]) for key in shares}}
    return Table(columns, [*rows, {**all_, **intervals(recordings, seed)}, mean])


def _mean(values: Sequence[Cell]) -> float:
    """The mean of the numbers there are; NaN of none."""
    known = [one for one in values if isinstance(one, float) and not math.isnan(one)]
    return sum(known) / len(known) if known else math.nan
