"""`earmark detect`: tables, clips, resuming, refusals, and runs that are killed."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import crowsetta
import numpy as np
import psutil
import pytest
import soundfile
from click.testing import CliRunner

import earmark
from earmark.cli import main
from earmark.commands.long_run.ledger import LEDGER
from earmark.evaluation.synthesis import make_clip
from earmark.runtime.audio.listing import list_sound_files
from earmark.runtime.detections.tables.row import DetectionRow
from earmark.runtime.explainer import SHIPPED

RATE = 16000
WRITTEN = ("--clips", "--format", "csv,raven,audacity,jsonl")
# Recording -> (label, second) of what is planted in it.
PLANTED = {
    "north/20240501_060000": [("bell", 3), ("kick", 10)],
    "north/20240501_070000": [],
    "south/20240501_060000": [("clap", 6)],
}


def plant(path, events, seconds=15, seed=0):
    """A faint noise with clips of the benchmark in it."""
    sound = (0.002 * np.random.default_rng(seed).standard_normal(seconds * RATE)).astype(np.float32)
    for number, (label, at) in enumerate(events):
        clip = make_clip(label, [seed, number], snr_db=30.0).waveform[: 2 * RATE]
        sound[at * RATE : at * RATE + len(clip)] += clip
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, RATE)
    return path


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Three recordings of two sites; shared: copy it before changing it."""
    folder = tmp_path_factory.mktemp("detect") / "field"
    for name, events in PLANTED.items():
        plant(folder / f"{name}.wav", events)
    return folder


@pytest.fixture(scope="module")
def run():
    def invoke(*arguments, **options):
        command = ["detect", "-b", SHIPPED, "--device", "cpu", "--min-score", 0.8, *arguments]
        return CliRunner().invoke(main, list(map(str, command)), **options)

    return invoke


@pytest.fixture(scope="module")
def whole(run, field, tmp_path_factory):
    """What a run over the field says, and its folder."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return run("-r", field, "-o", out, *WRITTEN), out


def table(folder):
    return list(csv.DictReader((folder / "detections.csv").open(encoding="utf-8")))


def ledger(folder):
    return [json.loads(line) for line in (folder / LEDGER).read_text().splitlines()[1:]]


def found(rows):
    return [(Path(row["file"]).stem, row["site"], row["label"]) for row in rows]


EXPECTED = [
    ("20240501_060000", "north", "bell"),
    ("20240501_060000", "north", "kick"),
    ("20240501_060000", "south", "clap"),
]


def test_tables_and_clips(whole, field):
    done, out = whole
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("3 recordings, 45.0 s of sound, 3 detections: bell 1, clap 1, kick 1\n")
    rows = table(out)
    assert found(rows) == EXPECTED
    for row, (_, at) in zip(rows, [("bell", 3), ("kick", 10), ("clap", 6)], strict=True):
        assert float(row["start_s"]) < at + 1 < float(row["end_s"])
        assert float(row["score"]) >= 0.8
        assert 0 <= float(row["low_hz"]) < float(row["high_hz"]) <= RATE / 2
        seconds = float(row["clip_end_s"]) - float(row["clip_start_s"])
        for name in ("clip", "kept_clip"):
            info = soundfile.info(out / row[name])
            assert (info.samplerate, info.format, info.subtype) == (RATE, "FLAC", "PCM_16")
            assert info.duration == pytest.approx(seconds, abs=1e-3)
        # The clip is that stretch of the recording.
        sound, _ = soundfile.read(row["file"], dtype="float32")
        clip, _ = soundfile.read(out / row["clip"], dtype="float32")
        start = round(float(row["clip_start_s"]) * RATE)
        np.testing.assert_allclose(clip, sound[start : start + len(clip)], atol=1e-4)
        assert (out / row["picture"]).read_bytes().startswith(b"\x89PNG")
    assert rows[0]["start_time"].startswith("2024-05-01T06:00:0")
    # The tree of the input, in other people's readers.
    one = out / "north/20240501_060000.selections.txt"
    boxes = crowsetta.formats.bbox.Raven.from_file(one).to_bbox()
    assert [box.label for box in boxes] == ["bell", "kick"]
    labels = crowsetta.formats.bbox.AudBBox.from_file(out / "south/20240501_060000.labels.txt").to_bbox()
    assert [(box.label, box.onset) for box in labels] == [("clap", float(rows[2]["start_s"]))]
    assert not (out / "north/20240501_070000.selections.txt").exists()
    of_all = (out / "detections.selections.txt").read_text().splitlines()
    assert float(of_all[3].split("\t")[3]) == 30.0 + float(rows[2]["start_s"])
    # What was detected nowhere is said, too.
    recordings = list(csv.DictReader((out / "recordings.csv").open()))
    assert [(row["status"], row["detections"]) for row in recordings] == [("done", n) for n in "201"]
    # Sound of the output is no input; what lies beside it is.
    beside = out / "north/20240501_060000/mine.wav"
    shutil.copy(field / "north/20240501_060000.wav", beside)
    assert list_sound_files(out.parent).files == [beside]
    beside.unlink()


def test_a_recording_that_fails_at_its_end_leaves_no_files(run, tmp_path):
    path = plant(tmp_path / "in/a.wav", [("bell", 3)])
    sound, _ = soundfile.read(path, dtype="float32")
    sound[-5] = np.nan
    soundfile.write(path, sound, RATE, subtype="FLOAT")
    done = run(path.parent, "-o", tmp_path / "out", "--clips", "--html", tmp_path / "page.html")
    assert done.exit_code == 1
    assert "holds NaN at" in done.stderr
    left = {path.name for path in (tmp_path / "out").rglob("*")}
    assert left == {"detections.csv", "recordings.csv", LEDGER, ".run.lock", "report_parts"}


def test_the_same_as_in_python(run, field):
    path = field / "north/20240501_060000.wav"
    done = run(path, "--jsonl", "--explain", "mask")
    document = json.loads(done.stdout)
    expected = earmark.load(SHIPPED, device="cpu").detect(path, min_score=0.8, methods=["mask"])
    assert document["input"] == str(path)
    assert len(document["detections"]) == len(expected) == 2
    for one, other in zip(document["detections"], expected, strict=True):
        assert (one["label"], one["start_s"], one["end_s"]) == (other.label, other.start_s, other.end_s)
        assert one["explanation"]["mask"] == other.explanation.mask.to_dict()
    bare = json.loads(run(path, "--json", "--explain", "none", "--jobs", 2).stdout)
    assert bare["failed"] == 0
    assert [one["explanation"] for one in bare["results"][0]["detections"]] == [None, None]


def test_for_a_person_and_of_a_pipe(run, field):
    sound = (field / "south/20240501_060000.wav").read_bytes()
    demo = CliRunner().invoke(main, ["detect", str(field / "north/20240501_070000.wav")])
    assert "no bundle was named, so the shipped demo answered" in demo.stderr
    done = run("-", field / "north/20240501_070000.wav", input=sound)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "stdin  15.00 s, 1 detection: clap 1"
    assert lines[2].endswith("15.00 s, nothing detected")


def test_resume_does_what_is_left_and_nothing_twice(run, field, tmp_path):
    mine, out = tmp_path / "field", tmp_path / "out"
    shutil.copytree(field, mine)
    (mine / "south/broken.wav").write_text("no sound")
    (tmp_path / "out.labels.txt").write_text("mine")
    gone = run(mine / "gone.wav", "-o", out, "--explain", "none")
    assert (gone.exit_code, "gone.wav does not exist" in gone.stderr) == (1, True)
    assert run(mine / "gone.wav", "-o", out, "--explain", "none", "--resume").exit_code == 1
    assert (tmp_path / "out.labels.txt").read_text() == "mine"
    shutil.rmtree(out)
    first = run("-r", mine, "-o", out, "--explain", "none")
    assert first.exit_code == 1
    assert "broken.wav is not a sound" in first.stderr
    assert "1 failed (see recordings.csv)" in first.stdout
    assert found(table(out)) == EXPECTED
    before = (out / LEDGER).read_bytes()
    refused = run("-r", mine, "-o", out, "--explain", "none")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "holds an earlier run: add --resume" in refused.stderr
    again = run("-r", mine, "-o", out, "--explain", "none", "--resume")
    assert (again.exit_code, again.stdout) == (1, first.stdout)
    assert (out / LEDGER).read_bytes() == before
    # A recording that is new, one that has changed, and formats that were not asked for then.
    plant(mine / "south/new.wav", [("bell", 4)], seed=7)
    plant(mine / "north/20240501_070000.wav", [("kick", 4)], seed=8)
    (mine / "south/broken.wav").unlink()
    more = run("-r", mine, "-o", out, "--explain", "none", "--resume", "--format", "csv,birdnet")
    assert more.exit_code == 0, more.output
    assert (out / LEDGER).read_bytes().startswith(before)
    assert [Path(entry["file"]).name for entry in ledger(out)[4:]] == ["20240501_070000.wav", "new.wav"]
    assert sorted(found(table(out))) == sorted(
        [*EXPECTED, ("20240501_070000", "north", "kick"), ("new", "south", "bell")]
    )
    assert len((out / "detections.birdnet.csv").read_text().splitlines()) == 6
    other = run("-r", mine, "-o", out, "--explain", "none", "--resume", "--hop", 0.5)
    assert (other.exit_code, "hop_s was not given there and is 0.5 here" in other.stderr) == (1, True)


def test_clips_of_a_recording_that_changed_go(run, field, tmp_path):
    mine, out = tmp_path / "field", tmp_path / "out"
    path = plant(mine / "a.wav", [("bell", 3), ("kick", 10)])
    assert run(mine, "-o", out, "--clips").exit_code == 0
    old = {row["clip"] for row in table(out)}
    plant(path, [("clap", 6)], seed=3)
    assert run(mine, "-o", out, "--clips", "--resume").exit_code == 0
    names = {row[name] for row in table(out) for name in ("clip", "kept_clip", "picture")}
    assert {path.relative_to(out).as_posix() for path in (out / "a").iterdir()} == {*names, "a/clips.json"}
    assert not names & old
    assert run(mine, "-o", out, "--clips", "--resume", "--format", "audacity").exit_code == 0
    plant(path, [("bell", 4)], seed=4)
    assert run(mine, "-o", out, "--clips", "--resume", "--format", "audacity").exit_code == 0
    assert (out / "a.labels.txt").read_text().splitlines()[0].endswith("bell")
    path.write_text("no sound any more")
    assert run(mine, "-o", out, "--clips", "--resume").exit_code == 1
    assert {one.name for one in out.iterdir()} == {
        ".run.lock", "run.jsonl", "recordings.csv", "detections.csv",
    }  # fmt: skip
    assert table(out) == []


def test_labels_of_others_stay(run, field, tmp_path):
    mine = tmp_path / "field"
    shutil.copytree(field / "north", mine)
    (mine / "20240501_060000.labels.txt").write_text("0\t1\tmine\n")
    done = run(mine, "-o", mine, "--format", "audacity")
    assert (done.exit_code, "20240501_060000.labels.txt: is there already" in done.stderr) == (1, True)
    assert (mine / "20240501_060000.labels.txt").read_text() == "0\t1\tmine\n"
    # Beside the recordings otherwise.
    assert run(mine, "-o", mine, "--format", "csv", "--explain", "none").exit_code == 0
    assert found(table(mine)) == [("20240501_060000", "field", "bell"), ("20240501_060000", "field", "kick")]


def test_one_name_in_two_runs_of_two_folders(run, field, tmp_path):
    out = tmp_path / "out"
    assert run(field / "north", "-o", out, "--clips").exit_code == 0
    assert run(field / "south", "-o", out, "--clips", "--resume").exit_code == 0
    rows = table(out)
    assert sorted(row["label"] for row in rows) == ["bell", "clap", "kick"]
    assert len({Path(row["clip"]).parent for row in rows}) == 2
    assert all((out / row["clip"]).is_file() for row in rows)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--min-score", "1.5"], 2, "1.5 is not in the range"),
        (["--labels", "bel"], 2, "did you mean 'bell'"),
        (["--labels", "bell", "--labels-from", "list.txt"], 2, "--labels goes without --labels-from"),
        (["--scores", "missing.csv"], 2, "missing.csv"),
        (["--scores", "bad.csv"], 2, "its columns are a, b"),
        (["--explain", "masks"], 2, "'masks' is not one of mask"),
        (["--explain", "none,mask"], 2, "none goes alone"),
        (["--explain", "components"], 2, "this bundle does not have it; it has mask"),
        (["--calls", "20"], 2, "--calls is an option of the method segments: add --explain segments"),
        (["--explain", "segments", "--calls", "1"], 2, "--calls.* 1 "),
        (["--hop", "90"], 2, "hop_s is 90: windows of .* would leave gaps"),
        (["--sensitivity", "1.2"], 2, "sensitivity is 1.2"),
        (["--format", "csv,xls"], 2, "'xls' is not one of csv, raven"),
        (["--format", "csv"], 2, "--format goes with -o DIR"),
        (["--clips"], 2, "--clips goes with -o DIR"),
        (["--resume"], 2, "--resume goes with -o DIR"),
        (["-o", "out", "--json"], 2, "--json goes without -o"),
        (["-o", "out", "--clip-format", "wav"], 2, "--clip-format goes with --clips"),
        (["-o", "there.txt/out"], 1, "there.txt.*: cannot be written"),
        (["-o", "full"], 1, "detections.csv: is there already"),
        (["gone.wav"], 1, "gone.wav does not exist"),
    ],
)
def test_refusals_are_one_line(run, field, tmp_path, monkeypatch, arguments, code, line):
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("bell\n")
    Path("bad.csv").write_text("a,b\n1,2\n")
    Path("there.txt").touch()
    Path("full").mkdir()
    Path("full/detections.csv").write_text("mine")
    command = ["detect", "-b", SHIPPED, *arguments, field / "north/20240501_070000.wav"]
    done = CliRunner().invoke(main, list(map(str, command)))
    assert done.exit_code == code, done.output
    assert re.search(line, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert Path("full/detections.csv").read_text() == "mine"


@contextmanager
def limited(size):
    """Within, no file of this process and of those it starts grows past `size` bytes: a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_ends_the_run_and_keeps_what_was_done(run, field, tmp_path):
    out = tmp_path / "out"
    arguments = ["-r", field, "-o", out, "--explain", "none"]
    assert run(*arguments).exit_code == 0
    whole = (out / LEDGER).read_bytes()
    lines = whole.splitlines(keepends=True)
    expected = table(out)
    shutil.rmtree(out)
    # The first recording fits.
    with limited(len(b"".join(lines[:2])) + 10):
        done = run(*arguments)
    assert done.exit_code == 1
    assert re.search(r"run\.jsonl: cannot be written \(File too large\); raise the limit", done.stderr)
    assert (out / LEDGER).read_bytes() == b"".join(lines[:2])
    again = run(*arguments, "--resume")
    assert again.exit_code == 0, again.output
    assert (out / LEDGER).read_bytes() == whole
    assert table(out) == expected
    # A clip, in the other process.
    shutil.rmtree(out)
    with limited(20_000):
        done = run("-r", field, "-o", out, "--clips", "--clip-format", "wav")
    assert done.exit_code == 1
    assert re.search(r"\.wav: cannot be written \(File too large\)", done.stderr), done.stderr
    assert run("-r", field, "-o", out, "--clips", "--clip-format", "wav", "--resume").exit_code == 0
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


def test_killed_and_continued(run, whole, field, tmp_path):
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
    assert run("-r", field, "-o", out, *WRITTEN, "--resume").exit_code == 0
    check_as_whole(field, out, whole[1])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_fifty_times(run, tmp_path):
    labels = earmark.load(SHIPPED, device="cpu").labels
    field = tmp_path / "field"
    for number in range(20):
        planted = [(labels[number % len(labels)], 2), (labels[(number + 3) % len(labels)], 5)]
        plant(field / f"{number % 3}/{number:02d}.wav", planted, seconds=8, seed=number)
    assert run("-r", field, "-o", tmp_path / "whole", "--clips").exit_code == 0
    killed = 0
    for number in range(50):
        out = tmp_path / f"out{number}"
        killed += run_killed(field, out, kills=10, seed=number, jobs=2)
        check_as_whole(field, out, tmp_path / "whole")
        shutil.rmtree(out)
        if killed >= 50:
            break
    assert killed >= 50


def test_the_page_names_every_column():
    page = (Path(__file__).parents[2] / "docs/detect_command.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page.split("| column |")[1], re.MULTILINE)
    assert [name for cell in cells for name in re.findall(r"\w+", cell)] == list(
        DetectionRow.__struct_fields__
    )


def test_explain_continues_as_well(field, tmp_path):
    mine, out = tmp_path / "field", tmp_path / "out"
    shutil.copytree(field, mine)

    def explain(*arguments):
        command = ["explain", "-b", SHIPPED, "-m", "mask", "-r", mine, "-o", out, *arguments]
        return CliRunner().invoke(main, list(map(str, command)))

    assert explain("--seed", 1).exit_code == 0
    # A run that is not continued begins anew.
    assert explain().exit_code == 0
    times = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    assert len(times) == 3
    (mine / "south/broken.wav").write_text("no sound")
    done = explain("--resume")
    assert done.exit_code == 1
    assert "3 sounds were done before\n" in done.stderr
    assert "north" not in done.stdout
    assert {path: path.stat().st_mtime_ns for path in times} == times
    again = explain("--resume", "--json")
    assert (again.exit_code, json.loads(again.stdout)["results"]) == (1, [])
    assert "4 sounds were done before, 1 of which had failed" in again.stderr
    other = explain("--resume", "--target", "bell")
    assert 'target was [] there and is ["bell"] here' in other.stderr
    alone = ["explain", "-b", SHIPPED, field / "north/20240501_060000.wav", "--resume"]
    assert CliRunner().invoke(main, list(map(str, alone))).exit_code == 2
