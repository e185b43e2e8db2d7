"""What a long run of `earmark detect -o` costs: memory over hours of sound, and two processes against one.

    python benchmarks/long_runs.py [--hours 10] [--recordings 40] [--explain mask]

The recordings are an hour of faint noise with clips of the shipped bundle's classes planted in 1 % of its
windows, written as FLAC; a long one repeats that hour. Memory is the largest of any process of the run
(`ru_maxrss`). Times are of the whole command, taken in turn, the lowest of three; threads are divided as the
command does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from detect_cost import RATE, write_recording
from measuring import of_a_process, run_main

import earmark

# Planted in an hour: with windows of 2 s every second, about 1 % of them.
EVENTS = 12


def write(path: Path, sound: np.ndarray, seconds: float) -> None:
    """Write `seconds` of the sound, over and over."""
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        left = round(seconds * RATE)
        while left > 0:
            file.write(sound[:left])
            left -= len(sound[:left])


def run(inputs: Path, *arguments: str) -> tuple[float, float]:
    """Seconds and largest memory in MB of a run over a file or folder."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "earmark.cli", "detect", str(inputs), "-o", f"{out}/out", *arguments]
        bundle = Path(earmark.__file__).parent / "runtime/shipped/bundle"
        environment = {**os.environ, "EARMARK_BUNDLE": str(bundle)}
        return of_a_process(command, env=environment, stderr=subprocess.DEVNULL)


def main(*, hours: float = 10.0, recordings: int = 40, explain: str = "mask") -> None:
    """Run and print."""
    explain = ("--explain", explain, "--device", "cpu")
    report = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_recording(root / "hour.flac", 60, EVENTS)
        sound = soundfile.read(root / "hour.flac", dtype="float32")[0]
        (root / "hour.flac").unlink()
        for name, seconds in (("10 minutes", 600.0), (f"{hours:g} hours", hours * 3600)):
            write(root / "long.flac", sound, seconds)
            taken, memory = run(root / "long.flac", *explain)
            report[name] = {"mb": round(memory, 1), "times_real_time": round(seconds / taken, 1)}
        (root / "long.flac").unlink()
        for number in range(recordings):
            write(root / f"{number:03d}.flac", np.roll(sound, number * 7919), 60.0)
        times: dict[str, list[float]] = {"1": [], "2": []}
        for _ in range(3):
            for jobs, taken_s in times.items():
                taken_s.append(run(root, *explain, "--jobs", jobs)[0])
        one, two = (min(taken_s) for taken_s in times.values())
        report["two processes"] = {
            "one_s": round(one, 2),
            "two_s": round(two, 2),
            "ratio": round(one / two, 2),
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    run_main(main)
