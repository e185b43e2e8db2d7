"""Recordings with planted events, and what an engine wrote about them."""

import os
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import detect_field
import psutil
import pyarrow.dataset
import pytest

from earmark.errors import WriteError
from earmark.integrations.parts import PartWork
from earmark.integrations.searching import RecordingSearch
from earmark.runtime.explainer import SHIPPED

LABELS = ("bell", "clap", "kick")
TESTS = str(Path(__file__).resolve().parent)
OPTIONS = {"min_score": 0.8, "methods": ["mask"]}


@contextmanager
def found_by_workers():
    """Workers of an engine unpickle what tests define. Gives what sets their environment."""
    with pytest.MonkeyPatch.context() as patch:
        paths = [TESTS, os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths).strip(os.pathsep))
        yield patch


def plant(folder, count, seconds=12):
    """Recordings 00.wav, 01.wav, ... with an event each, at second 4."""
    return [
        str(detect_field.plant(folder / f"{n:02}.wav", [(LABELS[n % 3], 4)], seconds, seed=n))
        for n in range(count)
    ]


def rows(out, table):
    """The rows of a table in parts, without order."""
    read = pyarrow.dataset.dataset(str(Path(out, table)), format="parquet").to_table().to_pylist()
    return sorted(read, key=lambda row: (row["file"], row.get("start_s", 0.0), row.get("label", "")))


def check(out, files):
    """Each recording once, its windows once, its event once. Gives the statuses."""
    recordings = rows(out, "recordings")
    assert Counter(row["file"] for row in recordings) == Counter(files)
    detections, windows = rows(out, "detections"), rows(out, "windows")
    assert len({row["id"] for row in detections}) == len(detections)
    for row in recordings:
        assert sum(one["file"] == row["file"] for one in detections) == row["detections"]
        starts = [one["start_s"] for one in windows if one["file"] == row["file"]]
        assert (len(set(starts)), len(starts)) == (row["windows"], row["windows"])
    return Counter(row["status"] for row in recordings)


@dataclass(frozen=True)
class Deadly(RecordingSearch):
    """A search that is killed at recordings whose name says so: each time, or once for each."""

    def rows(self, explainer, file, beat=lambda _: None):
        mark = Path(f"{file}.killed")
        if "poison" in file or ("once" in file and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().rows(explainer, file, beat)


def killed_in_the_middle(out, name, of=2):
    """Kill a process whose title has `name` when some recordings are done. Gives the thread, and whom."""
    killed = []

    def watch():
        while len(list(Path(out).glob("recordings/*/*.parquet"))) < of:
            time.sleep(0.02)
        for process in psutil.process_iter(["cmdline"]):
            if name in " ".join(process.info["cmdline"] or ()) and os.getpid() in {
                one.pid for one in process.parents()
            }:
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread, killed


# What every engine keeps: search(work, files) is its own.


def each_row_once_though_killed(search, folder, whom):
    """A process whose title has `whom` is killed in the middle."""
    files, out = plant(folder / "field", 8, seconds=60), folder / "out"
    work = PartWork(RecordingSearch(SHIPPED, "cpu", OPTIONS, 1, 1), str(out), counts_tries=True)
    thread, killed = killed_in_the_middle(out, whom)
    answered = list(search(work, files))
    thread.join(1)
    assert len(killed) == 1
    assert sorted(row.file for row in answered) == files
    assert check(out, files) == {"done": 8}
    assert [row["label"] for row in rows(out, "detections")][:3] == ["bell", "clap", "kick"]


def what_kills_its_worker_is_given_up(search, folder):
    """Of two such recordings the one that does so again."""
    files = plant(folder / "field", 3)
    poison, once = f"{folder}/poison.wav", f"{folder}/once.wav"
    for name in (poison, once):
        Path(name).write_bytes(Path(files[0]).read_bytes())
    every = [*files, poison, once]
    work = PartWork(Deadly(SHIPPED, "cpu", OPTIONS, 1, 1), str(folder / "out"), counts_tries=True)
    answered = {row.file: row for row in search(work, every)}
    assert answered[poison].error == "given up: ended its process 2 times"
    assert check(folder / "out", every) == {"done": 4, "quarantined": 1}


def what_ends_the_run_is_said(search, folder):
    """A file where the tables go."""
    files = plant(folder / "field", 1)
    (folder / "out").write_text("a file")
    with pytest.raises(WriteError, match="cannot be read"):
        list(search(PartWork(RecordingSearch(SHIPPED, "cpu", OPTIONS), str(folder / "out")), files))
