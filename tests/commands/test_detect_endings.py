"""Runs of `earmark detect` that are killed, or whose disk is full: what was done is kept, once."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from detect_field import EXPECTED, WRITTEN, detect, found, ledger, plant, table
from file_limit import limited

import earmark
from earmark.commands.long_run.ledger import LEDGER
from earmark.runtime.explainer import SHIPPED


def test_a_full_disk_ends_the_run_and_keeps_what_was_done(field, tmp_path):
    out = tmp_path / "out"
    arguments = ["-r", field, "-o", out, "--explain", "none"]
    detect(*arguments, code=0)
    whole = (out / LEDGER).read_bytes()
    lines = whole.splitlines(keepends=True)
    expected = table(out)
    shutil.rmtree(out)
    # The first recording fits.
    with limited(len(b"".join(lines[:2])) + 10):
        done = detect(*arguments)
    assert done.exit_code == 1
    assert re.search(r"run\.jsonl: cannot be written \(File too large\); raise the limit", done.stderr)
    assert (out / LEDGER).read_bytes() == b"".join(lines[:2])
    detect(*arguments, "--resume", code=0)
    assert (out / LEDGER).read_bytes() == whole
    assert table(out) == expected
    # A clip, in the other process.
    shutil.rmtree(out)
    with limited(20_000):
        done = detect("-r", field, "-o", out, "--clips", "--clip-format", "wav")
    assert done.exit_code == 1
    assert re.search(r"\.wav: cannot be written \(File too large\)", done.stderr), done.stderr
    detect("-r", field, "-o", out, "--clips", "--clip-format", "wav", "--resume", code=0)
    assert found(table(out)) == EXPECTED


def start(*arguments):
    command = [sys.executable, "-m", "earmark.cli", "detect", "-b", SHIPPED, "--device", "cpu", *arguments]
    # A thread each: the tests' machines have few cores.
    environment = {**os.environ, "EARMARK_THREADS": "1"}
    return subprocess.Popen(
        list(map(str, command)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def kill(process):
    """As the system does when memory runs out; the processes that it had started end, too."""
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.kill()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def run_killed(field, out, kills, seed, jobs):
    """Kill a run at random moments and continue it until it comes to its end; how often it was killed."""
    arguments = ["-r", field, "-o", out, "--clips", "--resume", "--jobs", jobs, "--min-score", 0.8]
    moments, killed = random.Random(seed), 0
    while True:
        process = start(*arguments)
        try:
            if killed < kills:
                time.sleep(moments.uniform(0.5, 6.0))
                kill(process)
                killed += 1
            output, errors = process.communicate(timeout=900)
        finally:
            process.kill()
        if process.returncode == 0:
            return killed
        assert process.returncode == -signal.SIGKILL, (output, errors)


def check_as_whole(field, out, whole):
    """After all interruptions the folder is what a run in one go gives."""
    assert [{**row, "file": ""} for row in table(out)] == [{**row, "file": ""} for row in table(whole)]
    paths = [entry["path"] for entry in ledger(out)]
    assert len(paths) == len(set(paths)) == len(list(field.rglob("*.wav")))
    files = {path.relative_to(out) for path in out.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert {path for path in files if not path.name.startswith(".earmark-")} == {
        path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.suffix != ".lock"
    }
    for row in table(out):
        assert (out / row["clip"]).read_bytes() == (whole / row["clip"]).read_bytes()


def test_killed_and_continued(whole, field, tmp_path):
    out = tmp_path / "out"
    process = start("-r", field, "-o", out, *WRITTEN, "--min-score", 0.8)
    try:
        deadline = time.monotonic() + 60
        while not (out / LEDGER).exists() or len(ledger(out)) < 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        kill(process)
    finally:
        process.kill()
        process.communicate()
    detect("-r", field, "-o", out, *WRITTEN, "--resume", code=0)
    check_as_whole(field, out, whole[1])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_fifty_times(tmp_path):
    labels = earmark.load(SHIPPED, device="cpu").labels
    field = tmp_path / "field"
    for number in range(20):
        planted = [(labels[number % len(labels)], 2), (labels[(number + 3) % len(labels)], 5)]
        plant(field / f"{number % 3}/{number:02d}.wav", planted, seconds=8, seed=number)
    detect("-r", field, "-o", tmp_path / "whole", "--clips", code=0)
    killed = 0
    for number in range(50):
        out = tmp_path / f"out{number}"
        killed += run_killed(field, out, kills=10, seed=number, jobs=2)
        check_as_whole(field, out, tmp_path / "whole")
        shutil.rmtree(out)
        if killed >= 50:
            break
    assert killed >= 50
