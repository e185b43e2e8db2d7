"""A run of `earmark detect` on an engine: processes here, Ray or Spark; tables in parts."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import msgspec

from .. import __version__
from ..errors import EarmarkError, RunError, WriteError
from ..integrations.manifest import read_manifest
from ..integrations.parts import DETECTIONS, RECORDINGS, WINDOWS, Parts, PartWork, given_up
from ..integrations.searching import RecordingRow
from ..integrations.storage import is_url
from ..runtime.inference.threads import thread_count
from .console import tell_failure
from .inputs import Input
from .long_run.ledger import RunFacts, check_same_run
from .long_run.progress import RunProgress, say_summary
from .long_run.workers import Lost, in_processes

if TYPE_CHECKING:
    from ..runtime.bundle.manifest import Manifest

_FACTS = "run.json"


def recordings_of(items: Sequence[Input], manifest: str | None, column: str) -> list[Input]:
    """The inputs, and what a manifest lists, by absolute paths and URLs, for other machines to open.

    Raises click.UsageError for stdin, DataError for a manifest that cannot be used.
    """
    files = []
    for item in items:
        if not isinstance(item.sound, str):
            raise click.UsageError("- goes without --engine: other machines cannot read this stdin")
        files.append(item if item.missing else _named(os.path.abspath(item.sound)))  # noqa: PTH100
    return [*files, *map(_named, read_manifest(manifest, column) if manifest else ())]


def folders_of(items: Sequence[Input], manifest: str | None) -> tuple[str, ...]:
    """The folders that were asked for, and that of the manifest, as absolute paths and URLs."""
    folders = [os.path.abspath(item.within) for item in items if item.within is not None]  # noqa: PTH100
    if manifest is not None:
        place = manifest if is_url(manifest) else os.path.abspath(manifest)  # noqa: PTH100
        folders.append(posixpath.dirname(place))
    return tuple(dict.fromkeys(folders))


def _named(file: str) -> Input:
    return Input(file, file)


@dataclass(frozen=True)
class EngineRun:
    """What is done with recordings, and where.

    engine: local, ray or spark; work: with each recording; manifest: of the bundle
    jobs: processes or actors, None for as many as there are CPUs
    stuck_s: how long a recording may stand still; fail_fast: whether the first failure ends the run
    """

    engine: str
    work: PartWork
    manifest: Manifest
    jobs: int | None
    stuck_s: float
    fail_fast: bool

    def over(self, items: Sequence[Input], *, resume: bool) -> int:
        """Search recordings and write their parts; gives how many of them could not be searched.

        Raises RunError, WriteError, and what ends a run; what was done until then is kept.
        """
        parts = Parts(self.work.output)
        self._check(parts, resume=resume)
        finished = parts.finished()
        rows: dict[str, RecordingRow] = {}
        missing = {item.name: item.missing for item in items if item.missing is not None}
        for file, reason in missing.items():
            rows[file] = RecordingRow(file, "failed", error_type="AudioError", error=reason)
            tell_failure(file, EarmarkError(reason))
        files = list(dict.fromkeys(str(item.sound) for item in items if item.missing is None))
        rows |= {file: finished[file] for file in files if file in finished}
        waiting = [file for file in files if file not in finished]
        parts.forget_tries()
        with RunProgress(len(files), before=len(files) - len(waiting)) as progress:
            for row in self._answers(waiting, parts, progress) if waiting else ():
                rows[row.file] = row
                failed = row.status != "done"
                progress.done(row.duration_s, row.detections, (row.file, row.error) if failed else None)
                if failed and self.fail_fast:
                    break
        parts.forget_tries()
        return self._summary(rows)

    def _answers(self, files: Sequence[str], parts: Parts, progress: RunProgress) -> Iterator[RecordingRow]:
        if self.engine == "ray":
            from ..integrations import ray

            yield from ray.search(self.work, files, workers=self.jobs)
        elif self.engine == "spark":
            from ..integrations import spark

            yield from spark.search(self.work, files)
        else:
            yield from self._in_processes(files, parts, progress)

    def _in_processes(
        self, files: Sequence[str], parts: Parts, progress: RunProgress
    ) -> Iterator[RecordingRow]:
        count = min(self.jobs or thread_count(), len(files))
        answers = in_processes(self.work, files, count=count, stuck_s=self.stuck_s, tick=progress.tick)
        with closing(answers):  # type: ignore[type-var]  # a generator
            for answer in answers:
                if isinstance(answer, Lost):
                    lost = given_up(answer.task, answer.reason)
                    parts.put(lost, windows=self.work.search.top > 0)
                    yield lost.recording
                else:
                    yield answer

    def _check(self, parts: Parts, *, resume: bool) -> None:
        """Raise RunError unless the folder is new or holds this run, to be continued."""
        here = RunFacts(
            command="detect in parts",
            bundle=self.manifest.name,
            bundle_id=self.manifest.bundle_id,
            settings={**self.work.search.options, "windows": self.work.search.top},
            version=__version__,
        )
        content = parts.folder.read(_FACTS)
        if content is None:
            for table in (DETECTIONS, WINDOWS, RECORDINGS):
                if parts.folder.holds(table):
                    raise WriteError(
                        f"{parts.folder}/{table}: is there already and was not written by earmark; move it "
                        "away or choose another folder"
                    )
            parts.folder.write(_FACTS, (json.dumps(msgspec.to_builtins(here)) + "\n").encode())
            return
        try:
            there = msgspec.json.decode(content, type=RunFacts)
        except msgspec.MsgspecError as error:
            raise RunError(f"{parts.folder}/{_FACTS}: is no run of earmark; choose another folder") from error
        check_same_run(str(parts.folder), there, here, resume=resume)

    def _summary(self, rows: dict[str, RecordingRow]) -> int:
        done = [row for row in rows.values() if row.status == "done"]
        failed = len(rows) - len(done)
        found = sum(row.detections for row in done)
        place = self.work.output
        tables = [DETECTIONS, *([WINDOWS] if self.work.search.top else []), RECORDINGS]
        say_summary(
            len(done),
            sum(row.duration_s for row in done),
            f"{found} {'detection' if found == 1 else 'detections'}",
            failed,
            f"{place}/{RECORDINGS}",
            [f"{place}/{table}" for table in tables],
        )
        return failed
