"""`events.csv`: where the events of a data folder truly lie.

Columns clip, label, start_s, end_s, perhaps level_db (others are ignored); `clip` is the path inside the data
folder. Events may overlap and may share a label: a segment takes the largest overlap with any one of them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import AudioError, DataError
from ...runtime.audio.sound import seconds_of
from .folder import Clip, LeftOut, SoundFolder

COLUMNS = ("clip", "label", "start_s", "end_s")
LEVEL = "level_db"


def event_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The lines of an events file as ("file:line", row). Raises DataError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path}: lacks the column {missing[0]}; the first line is {','.join(COLUMNS)}"
                )
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if any(row[name] is None for name in COLUMNS):
                    raise DataError(f"{where}: has too few columns; a line is {','.join(COLUMNS)}")
                yield where, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as events ({error}); give a CSV file") from error


def event_times(where: str, row: dict[str, str]) -> tuple[float, float]:
    """Start and end of a line, in seconds from the clip's start. Raises DataError."""
    start, end = (_time(where, name, row) for name in COLUMNS[2:])
    if end <= start:
        raise DataError(f"{where}: the event ends at {end:g} s, not after its start at {start:g} s")
    return start, end


def _time(where: str, name: str, row: dict[str, str]) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        given = row[name][:40]
        raise DataError(f"{where}: {name} is {given!r}; give seconds from the clip's start, 0 or more")
    return value


def event_level(where: str, row: dict[str, str]) -> float | None:
    """How loud the event is over its background, in dB; None where that is not said. Raises DataError."""
    given = (row.get(LEVEL) or "").strip()
    try:
        value = float(given) if given else None
    except ValueError:
        value = math.nan
    if value is not None and not math.isfinite(value):
        raise DataError(f"{where}: {LEVEL} is {given[:40]!r}; give decibels, or nothing")
    return value


# Annotations are rounded, and encoders lengthen or shorten clips by some milliseconds.
_TOLERANCE_S = 0.01


@dataclass(frozen=True, slots=True)
class TrueEvent:
    """A stretch of a clip that is an event of `label`, in seconds, 0 <= start_s < end_s.

    level_db: of the event over what is behind it, where it is known
    """

    label: str
    start_s: float
    end_s: float
    level_db: float | None = None


@dataclass(frozen=True, slots=True)
class AnnotatedClip:
    """A clip, one label that has events in it, and all of that label's events there, by start."""

    clip: Clip
    label: str
    events: tuple[TrueEvent, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Annotations:
    """Every (clip, label) of an events file, in the folder's order.

    overlapping: how many events do; left_out: (clip, why) of those that cannot be read
    """

    clips: tuple[AnnotatedClip, ...]
    overlapping: int
    left_out: tuple[LeftOut, ...] = ()


def read_events(
    path: str | Path, sounds: SoundFolder, labels: Sequence[str], *, strict: bool = True
) -> Annotations:
    """Read an events file of the data folder `sounds` for a model with these labels.

    strict: a clip that cannot be read is an error; else it is left out, and all of its lines with it
    Raises DataError, with the line: no such file, a missing column, a clip that is not in the folder or
    (with `strict`) cannot be read, a label that the model does not have, times that are no numbers, are
    negative, or lie beyond the clip (by more than 10 ms), an end that is not after its start, no event.
    """
    path = Path(path)
    by_name = {clip.name: clip for clip in sounds.clips}
    known = set(labels)
    seconds: dict[str, float] = {}
    by_clip: dict[tuple[str, str], list[TrueEvent]] = {}
    left_out = dict(sounds.left_out(strict=strict))
    locked = tuple(f"{name}/" for name in left_out)
    for where, row in event_rows(path):
        name, label = row["clip"].strip().replace("\\", "/"), row["label"].strip()
        if name in left_out or name.startswith(locked):
            continue
        if name not in by_name:
            raise DataError(f"{where}: there is no clip {name!r} in {sounds.path}; name it <label>/<file>")
        if label not in known:
            raise DataError(
                f"{where}: the model has no label {label!r}; its labels are {', '.join(list(labels)[:12])}"
            )
        if name not in seconds:
            try:
                seconds[name] = _seconds(by_name[name].path)
            except DataError as error:
                if strict:
                    raise
                left_out[name] = str(error)
                continue
        start, end = event_times(where, row)
        if end > seconds[name] + _TOLERANCE_S:
            raise DataError(
                f"{where}: the event ends at {end:g} s, beyond the clip's {seconds[name]:.3f} s; correct the "
                "times or the clip"
            )
        by_clip.setdefault((name, label), []).append(TrueEvent(label, start, min(end, seconds[name])))
    if not by_clip:
        for reason in left_out.values():
            raise DataError(f"{path}: none of its clips can be read ({reason})")
        raise DataError(f"{path}: holds no event; each line is clip,label,start_s,end_s")
    order = {clip.name: position for position, clip in enumerate(sounds.clips)}
    clips = []
    overlapping = 0
    for (name, label), events in sorted(by_clip.items(), key=lambda item: (order[item[0][0]], item[0][1])):
        events.sort(key=lambda event: (event.start_s, event.end_s))
        latest = -math.inf
        for event in events:
            overlapping += event.start_s < latest
            latest = max(latest, event.end_s)
        clips.append(AnnotatedClip(by_name[name], label, tuple(events), seconds[name]))
    return Annotations(tuple(clips), overlapping, tuple(LeftOut(*one) for one in left_out.items()))


def _seconds(path: Path) -> float:
    try:
        return seconds_of(path)
    except AudioError as error:
        raise DataError(f"{error}; events need their clip") from error
