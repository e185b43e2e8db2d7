"""Recordings with planted events, and what an engine wrote about them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow.dataset
import soundfile

from earmark.evaluation.synthesis import make_clip
from earmark.integrations.searching import Search

RATE = 16000
LABELS = ("bell", "clap", "kick")


def plant(folder, count, seconds=12):
    """Recordings 00.wav, 01.wav, ... with an event each, at second 4."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(count):
        sound = (0.002 * np.random.default_rng(number).standard_normal(seconds * RATE)).astype(np.float32)
        clip = make_clip(LABELS[number % 3], [number], snr_db=30.0).waveform[: 2 * RATE]
        sound[4 * RATE : 4 * RATE + len(clip)] += clip
        files.append(str(folder / f"{number:02}.wav"))
        soundfile.write(files[-1], sound, RATE)
    return files


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
class Deadly(Search):
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
