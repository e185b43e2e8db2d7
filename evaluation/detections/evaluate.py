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
from ...runtime.labels import label_index
from ..data.clips import Tell, ignore
from ..data.event_rows import COLUMNS, event_rows, event_time
from ..data.folder import LeftOut
from ..document import fields_of
from ..table import Column, Table
from .matching import Agreement, Occurrence, event_agreement, segment_agreement

_ALL, _MEAN = "all", "mean"


@dataclass(frozen=True)
class DetectionReport:
    """What `evaluate_detections` returns; `to_dict` is the document of `earmark evaluate detections --json`.

    Attributes:
        data: The folder.
        events: The table of true events.
        bundle: Name of the bundle.
        bundle_id: Its hash.
        recordings: How many were searched.
        hours: How long they are together.
        collar_s: Tolerance of an event's begin and end, in seconds.
        settings: Of the detections.
        skipped: Recordings that could not be read.
        table: A row for each label that has events or detections, one for all of them together, one with the
            labels' mean.

    """

    data: str
    events: str
    bundle: str
    bundle_id: str
    recordings: int
    hours: float
    collar_s: float
    settings: Mapping[str, Any]
    skipped: Sequence[LeftOut]
    table: Table

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return fields_of(self)


def read_truth(path: Path, labels: Sequence[str], bundle: str) -> list[Occurrence]:
    """Read the true events: CSV with clip, label, start_s, end_s. Raises DataError, LabelError."""
    events = []
    for where, row in event_rows(path):
        start_s, end_s = (event_time(where, name, row) for name in COLUMNS[2:])
        if end_s <= start_s:
            raise DataError(f"{where}: the event ends at {end_s:g} s, not after its start at {start_s:g} s")
        label = labels[label_index(row["label"].strip(), labels, bundle)]
        events.append(Occurrence(row["clip"].strip().replace("\\", "/"), label, start_s, end_s))
    if not events:
        raise DataError(f"{path}: holds no event; each line is {','.join(COLUMNS)}")
    return events


def evaluate_detections(
    explainer: Explainer,
    data: Path,
    events: Path,
    *,
    collar_s: float = 0.5,
    options: Mapping[str, Any] | None = None,
    tell: Tell = ignore,
    quiet: bool = True,
) -> DetectionReport:
    """Detect in every recording of a folder, and compare with the true events.

    Args:
        explainer: The bundle.
        data: A folder of recordings; those without events count, too.
        events: CSV of the true events; `clip` is the path in the folder.
        collar_s: Tolerance of an event's begin; of its end at least that, or a fifth of the event.
        options: Of `Explainer.detect`.
        tell: Is told which recordings could not be read.
        quiet: Show no progress.

    Returns:
        The report.

    Raises:
        DataError: The table cannot be used, or names a recording that is not in the folder.
        LabelError: An event's label is none of the bundle's.
        SettingsError, MethodError: An option is out of range.

    """
    manifest = engine_of(explainer).manifest
    true = read_truth(events, manifest.labels, manifest.name)
    files = {path.relative_to(data).as_posix(): path for path in list_sound_files(data).files}
    if unknown := sorted({event.recording for event in true} - files.keys()):
        raise DataError(f"{events}: there is no recording {unknown[0]!r} in {data}")
    skipped: list[LeftOut] = []
    by_event: dict[str, Agreement] = {}
    by_segment: dict[str, Agreement] = {}
    seconds = 0.0
    with Progress(len(files), "detecting", quiet=quiet) as bar:
        for name, path in files.items():
            try:
                found = explainer.detect(path, methods=[], **(options or {}))
            except AudioError as error:
                tell(str(error))
                skipped.append(LeftOut(name, str(error)))
                continue
            finally:
                bar.step()
            seconds += found.duration_s
            detected = [Occurrence(name, one.label, one.start_s, one.end_s) for one in found]
            here = [event for event in true if event.recording == name]
            for label in {one.label for one in (*detected, *here)}:
                asked, got = ([one for one in some if one.label == label] for some in (here, detected))
                events_of = event_agreement(asked, got, collar_s=collar_s)
                segments_of = segment_agreement(asked, got, found.duration_s)
                by_event[label] = by_event.get(label, Agreement()).plus(events_of)
                by_segment[label] = by_segment.get(label, Agreement()).plus(segments_of)
    return DetectionReport(
        data=str(data),
        events=str(events),
        bundle=manifest.name,
        bundle_id=manifest.bundle_id,
        recordings=len(files) - len(skipped),
        hours=seconds / 3600,
        collar_s=collar_s,
        settings=dict(options or {}),
        skipped=tuple(skipped),
        table=_table([label for label in manifest.labels if label in by_event], by_event, by_segment),
    )


def _table(
    labels: Sequence[str], by_event: Mapping[str, Agreement], by_segment: Mapping[str, Agreement]
) -> Table:
    """A row for each label, one for the sum of their counts, one for the mean of their figures."""
    rows = [_row(label, by_event[label], by_segment[label]) for label in labels]
    sums = [Agreement(), Agreement()]
    for label in labels:
        sums = [sums[0].plus(by_event[label]), sums[1].plus(by_segment[label])]
    figures = [column.key for column in _COLUMNS if column.decimals == 3]
    mean = {key: _mean([float(row[key]) for row in rows]) for key in figures}
    return Table(_COLUMNS, [*rows, _row(_ALL, *sums), {"label": _MEAN, **mean}])


_COLUMNS = (
    Column("label", "label"),
    Column("events", "events", 0),
    Column("detections", "detections", 0),
    *(Column(f"event_{key}", key, 3, "higher") for key in ("precision", "recall", "f1")),
    *(Column(f"segment_{key}", f"1 s {key}", 3, "higher") for key in ("precision", "recall", "f1")),
)


def _row(label: str, events: Agreement, segments: Agreement) -> dict[str, Any]:
    counts = {"events": events.hits + events.missed, "detections": events.hits + events.false}
    figures = {
        f"{kind}_{key}": getattr(agreement, key)
        for kind, agreement in (("event", events), ("segment", segments))
        for key in ("precision", "recall", "f1")
    }
    return {"label": label, **counts, **figures}


def _mean(values: Sequence[float]) -> float:
    """The mean of what there is; NaN of nothing."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
