"""A run of `earmark detect`: into a folder, where it can be continued, or onto stdout."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import EarmarkError
from ..runtime.detections.tables.formats import FORMATS
from ..runtime.detections.tables.row import site_of
from ..runtime.document import ErrorDict, failure_record
from ..runtime.result_files.folder import CLIPS
from ..times import span_text, time_text
from .answer import say_results
from .console import bold, say, say_json, yellow
from .detection_work import DetectionWork, Recording, RecordingAnswer
from .inputs import Input
from .long_run.ledger import LEDGER, Ledger, LedgerEntry, RunFacts, open_ledger, state_of
from .long_run.progress import RunProgress, say_summary
from .long_run.tables import RECORDINGS, single_names, table_names, write_single, write_tables
from .long_run.workers import Lost, in_processes, in_this_process
from .report_pages import PARTS, part_name, write_page
from .result_folders import result_folders

if TYPE_CHECKING:
    from ..runtime.audio.listing import Skipped
    from ..runtime.bundle.manifest import Manifest
    from ..runtime.detections.tables.row import RecordingRows

_GIVEN_UP = "GivenUp"
# Detections of one recording that are shown on a terminal.
_SHOWN = 20


@dataclass(frozen=True)
class Run:
    """What is done, and how.

    work: with each recording; manifest: of its bundle; jobs: processes
    stuck_s: how long a recording may stand still; fail_fast: whether the first failure ends the run
    html: the page that shows what was detected
    """

    work: DetectionWork
    manifest: Manifest
    jobs: int
    stuck_s: float
    fail_fast: bool
    html: Path | None = None

    def page(self, entries: Iterable[LedgerEntry]) -> None:
        """Write the page of these entries, where there is to be one. Raises WriteError, RunError."""
        if self.html is not None and self.work.parts is not None:
            write_page(self.html, entries, self.work.parts, self.manifest)

    def answers(
        self, recordings: Sequence[Recording], progress: RunProgress, *, apart: bool
    ) -> Iterator[RecordingAnswer]:
        """An answer for each recording, as it is ready; up to the first failure with `fail_fast`.

        apart: in processes of their own even if there is one, so that no recording can end this one
        """
        if apart or self.jobs > 1:
            found: Iterator[RecordingAnswer | Lost[Recording]] = in_processes(
                self.work,
                recordings,
                count=max(1, min(self.jobs, len(recordings))),
                stuck_s=self.stuck_s,
                tick=progress.tick,
            )
        else:
            found = in_this_process(self.work, recordings, progress.tick)
        with closing(found):  # type: ignore[type-var]  # a generator
            for one in found:
                answer = _given_up(one, self.work) if isinstance(one, Lost) else one
                entry = answer.entry
                failed = entry.status != "done"
                progress.done(
                    entry.seconds,
                    len(entry.recording.rows) if entry.recording else 0,
                    (entry.file, entry.error) if failed else None,
                )
                yield answer
                if failed and self.fail_fast:
                    return


def into_folder(
    run: Run, items: Sequence[Input], output: Path, formats: Sequence[str], *, resume: bool
) -> int:
    """Search recordings and write everything below `output`; gives how many of them could not be searched.

    Raises RunError, WriteError, BusyError, and what ends a run; what was done until then is kept.
    """
    facts = RunFacts(
        command="detect",
        bundle=run.manifest.name,
        bundle_id=run.manifest.bundle_id,
        settings={**run.work.options, "clips": run.work.clips, **({"html": True} if run.html else {})},
        version=__version__,
    )
    # In any format: the places are the same whichever are written.
    every, endings = table_names(tuple(FORMATS)), single_names(("",), tuple(FORMATS))
    places = [
        "" if place is None else place.relative_to(output).as_posix()
        for place in result_folders(output, items, taken=(LEDGER, PARTS, *every), endings=endings)
    ]
    own = (*table_names(formats), *single_names(filter(None, places), formats))
    with open_ledger(output, facts, resume=resume, own=own) as ledger:
        recordings = _recordings(items, places, ledger)
        waiting = [one for one in recordings if not ledger.has(*one.state)]
        paths = [one.state.path for one in recordings]
        try:
            with RunProgress(len(recordings), before=len(recordings) - len(waiting)) as progress:
                for answer in run.answers(waiting, progress, apart=True) if waiting else ():
                    _keep(ledger, answer.entry, output, formats)
        except BaseException:
            # Whatever ended it: the tables tell what was done.
            with suppress(EarmarkError):
                write_tables(output, lambda: ledger.entries(iter(paths)), formats)
            raise
        written = write_tables(output, lambda: ledger.entries(iter(paths)), formats)
        if run.html is not None:
            run.page(ledger.entries(iter(paths)))
            written.append(run.html)
        return _summary(ledger.entries(iter(paths)), set(paths), written)


def onto_stdout(
    run: Run, items: Sequence[Input], skipped: Sequence[Skipped], *, as_json: bool, as_jsonl: bool
) -> int:
    """Search recordings and say what was detected, in their order; gives how many could not be searched."""
    recordings = [_recording(item, "") for item in items]
    documents: list[Mapping[str, Any]] = []
    entries: list[LedgerEntry] = []
    failed = 0
    with RunProgress(len(recordings)) as progress:
        for answer in _in_order(recordings, run.answers(recordings, progress, apart=False)):
            progress.clear()
            failed += answer.entry.status != "done"
            if run.html is not None:
                entries.append(answer.entry)
            if as_jsonl:
                say_json(answer.document)
            elif as_json:
                documents.append(answer.document)
            elif answer.entry.recording is not None:
                say(*_lines(answer.entry.recording))
    if as_json:
        say_results(run.work.origin, failed, documents, skipped)
    run.page(entries)
    return failed


def _keep(ledger: Ledger, entry: LedgerEntry, output: Path, formats: Sequence[str]) -> None:
    """Write what belongs to one recording; the line in the ledger comes last, and makes it so."""
    earlier = ledger.get(entry.path)
    if entry.recording is not None:
        write_single(output / entry.folder, entry.recording, formats)
    ledger.append(entry)
    if earlier is not None and earlier.recording is not None:
        _remove_earlier(earlier, entry, output)


def _remove_earlier(earlier: LedgerEntry, entry: LedgerEntry, output: Path) -> None:
    """Remove what belonged to a recording that has changed since, and is not written anew."""
    if entry.recording is None or earlier.folder != entry.folder:
        write_single(output / earlier.folder, None, ())
    for name in _files(earlier) - _files(entry):
        with suppress(OSError):
            (output / name).unlink()
    if _files(earlier) and not _files(entry):
        with suppress(OSError):
            (output / earlier.folder / CLIPS).unlink()
            (output / earlier.folder).rmdir()


def _files(entry: LedgerEntry) -> set[str]:
    """The files of an entry's detections, below the output folder."""
    rows = entry.recording.rows if entry.recording is not None else ()
    parts = {f"{PARTS}/{part_name(row.id)}" for row in rows}
    return parts | {name for row in rows for name in (row.clip, row.kept_clip, row.picture) if name}


def _recordings(items: Sequence[Input], places: Sequence[str], ledger: Ledger) -> list[Recording]:
    """The recordings, each once, with their folders below the output folder."""
    named = [_recording(item, place) for item, place in zip(items, places, strict=True)]
    recordings = list({one.state.path: one for one in named}.values())
    # Folders of recordings that an earlier run has done and that are not named now.
    here = {one.state.path for one in recordings}
    taken = {folder for path, folder in ledger.folders.items() if path not in here}
    return [_apart(one) if one.folder in taken else one for one in recordings]


def _recording(item: Input, folder: str) -> Recording:
    """An input as a recording; what was spooled has no path of its own."""
    return Recording(
        file=item.name,
        state=state_of(item),
        sound=str(item.sound),
        missing=item.missing,
        folder=folder,
        site="" if item.within is None else site_of(*map(os.path.abspath, (item.name, item.within))),
    )


def _apart(recording: Recording) -> Recording:
    """The recording with a folder that no other can have."""
    mark = hashlib.sha256(recording.state.path.encode(errors="surrogateescape")).hexdigest()[:8]
    return replace(recording, folder=f"{recording.folder}-{mark}")


def _given_up(lost: Lost[Recording], work: DetectionWork) -> RecordingAnswer:
    """The answer for a recording that no process could finish."""
    recording, line = lost.task, f"given up: {lost.reason}"
    why: ErrorDict = {"type": _GIVEN_UP, "message": line}
    document = failure_record("detections", recording.file, why, work.origin)
    return RecordingAnswer(recording.entry(status="quarantined", error_type=_GIVEN_UP, error=line), document)


def _in_order(
    recordings: Sequence[Recording], answers: Iterable[RecordingAnswer]
) -> Iterator[RecordingAnswer]:
    """The answers in the order of the recordings; those that come early wait."""
    waiting: dict[str, list[RecordingAnswer]] = {}
    order = iter(recordings)
    following = next(order, None)
    for answer in answers:
        waiting.setdefault(answer.entry.file, []).append(answer)
        while following is not None and (ready := waiting.get(following.file)):
            yield ready.pop(0)
            following = next(order, None)


def _lines(recording: RecordingRows) -> list[str]:
    """What was detected in a recording, for a person."""
    rows = recording.rows
    counts = Counter(row.label for row in rows)
    lines = [f"{bold(recording.file)}  {time_text(recording.duration_s)}, {_counted(counts)}"]
    for row in rows[:_SHOWN]:
        band = "" if row.low_hz is None else f"  {row.low_hz:.0f}-{row.high_hz:.0f} Hz"
        clock = f"  {row.start_time}" if row.start_time else ""
        lines.append(f"  {span_text(row.start_s, row.end_s)}  {bold(row.label)} {row.score:.1%}{band}{clock}")
    if len(rows) > _SHOWN:
        lines.append(f"  and {len(rows) - _SHOWN} more: --jsonl, or -o DIR, gives them all")
    return [*lines, *(f"  {yellow('warning')}   {warning}" for warning in recording.warnings)]


def _counted(counts: Counter[str]) -> str:
    """How many of which label."""
    listed = ", ".join(f"{label} {count}" for label, count in sorted(counts.items()))
    many = "detection" if counts.total() == 1 else "detections"
    return f"{counts.total()} {many}: {listed}" if counts else "nothing detected"


def _summary(entries: Iterable[LedgerEntry], named: set[str], written: Sequence[Path]) -> int:
    """Say what the folder now holds; gives how many of the named recordings could not be searched."""
    seconds, failed, done, labels = 0.0, 0, 0, Counter[str]()
    for entry in entries:
        seconds += entry.seconds
        done += entry.status == "done"
        failed += entry.status != "done" and entry.path in named
        labels.update(row.label for row in (entry.recording.rows if entry.recording else ()))
    say_summary(done, seconds, _counted(labels), failed, RECORDINGS, written)
    return failed
