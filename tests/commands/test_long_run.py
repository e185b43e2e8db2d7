"""The ledger and the processes of a long run: what is killed, damaged, hung or refused."""

import json
import re

import msgspec
import pytest
from long_run_work import Named

from earmark.commands.long_run.ledger import LEDGER, LedgerEntry, RunFacts, open_ledger
from earmark.commands.long_run.progress import RunProgress
from earmark.commands.long_run.workers import Lost, in_processes, in_this_process
from earmark.errors import BusyError, DeviceError, RunError, WriteError
from earmark.runtime.detections.tables.row import DetectionRow, RecordingRows

FACTS = RunFacts("detect", "demo", "0" * 64, {"min_score": 0.5, "labels": None}, "0.1.0")


def entry(number, name="a", *, size=10):
    row = DetectionRow(f"{name}.wav", float(number), number + 1.0, "dog\u00e9\udce9", 0.5, 0.5)
    recording = RecordingRows(f"{name}.wav", f"/{name}.wav", 60.0, 16000, rows=(row,) * number)
    return LedgerEntry(f"/{name}.wav", f"{name}.wav", size, 5, "done", name, 60.0, recording=recording)


def opened(folder, facts=FACTS, *, resume=True, own=()):
    return open_ledger(folder, facts, resume=resume, own=own)


def test_what_was_appended_is_there_again(tmp_path):
    with opened(tmp_path / "out", resume=False) as ledger:
        for number, name in enumerate("abc"):
            ledger.append(entry(number, name))
        ledger.append(entry(5, "b", size=20))
        assert ledger.has("/b.wav", 20, 5)
    with opened(tmp_path / "out") as ledger:
        assert len(ledger) == 3
        assert ledger.has("/a.wav", 10, 5)
        assert not ledger.has("/a.wav", 11, 5)
        assert not ledger.has("/a.wav", 10, 6)
        assert not ledger.has("/b.wav", 10, 5)
        # In the order asked for, then as they came; the last entry of a path counts.
        found = list(ledger.entries(iter(["/c.wav", "/gone.wav", "/a.wav"])))
        assert found == [entry(2, "c"), entry(0, "a"), entry(5, "b", size=20)]
        ledger.append(entry(1, "d"))
        assert [one.file for one in ledger.entries()] == ["a.wav", "b.wav", "c.wav", "d.wav"]


def test_cut_off_anywhere_a_line_is_there_or_not(tmp_path):
    """As a process that is killed, or a machine that loses its power, leaves the file."""
    with opened(tmp_path) as ledger:
        for number, name in enumerate("abc"):
            ledger.append(entry(number, name))
    path = tmp_path / LEDGER
    whole = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    near = {end + step for end in ends for step in (-1, 0, 1)}
    for length in sorted({*range(ends[0], len(whole), 37), *near} & set(range(ends[0], len(whole) + 1))):
        path.write_bytes(whole[:length] + (b"\0" * 7 if length % 5 == 0 else b""))
        with opened(tmp_path) as ledger:
            count = sum(length >= end for end in ends[1:])
            assert len(ledger) == count
            ledger.append(entry(9, "z"))
        with opened(tmp_path) as ledger:
            assert [one.file[0] for one in ledger.entries()] == [*"abc"[:count], "z"]


def test_damage_before_the_end_is_named(tmp_path):
    with opened(tmp_path) as ledger:
        for name in "abc":
            ledger.append(entry(1, name))
    path = tmp_path / LEDGER
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2][:30] + b"\n", lines[3]]))
    with pytest.raises(RunError, match=r"run\.jsonl: line 3 is damaged: delete it"), opened(tmp_path):
        pass
    path.write_bytes(b"".join([*lines[:2], lines[3]]))
    with opened(tmp_path) as ledger:
        assert [one.file for one in ledger.entries()] == ["a.wav", "c.wav"]


def test_another_run_is_refused(tmp_path):
    with opened(tmp_path, resume=False) as ledger:
        ledger.append(entry(1))
    change = msgspec.structs.replace
    refusals = {
        "holds an earlier run: add --resume": (FACTS, False),
        "is of earmark detect: choose": (change(FACTS, command="explain"), True),
        "is of another bundle, demo .0000": (change(FACTS, bundle_id="1" * 64), True),
        "min_score was 0.5 there and is 0.7 here": (change(FACTS, settings={"min_score": 0.7}), True),
        "labels was not given there and is .*dog": (
            change(FACTS, settings={"min_score": 0.5, "labels": ["dog"]}), True,
        ),
    }  # fmt: skip
    for line, (facts, resume) in refusals.items():
        with pytest.raises(RunError, match=line), opened(tmp_path, facts, resume=resume):
            pass
    # Another version of earmark may go on.
    with opened(tmp_path, change(FACTS, version="0.2")) as ledger:
        assert len(ledger) == 1
        with pytest.raises(BusyError, match="another process"), opened(tmp_path):
            pass
    path = tmp_path / LEDGER
    header, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([json.dumps({**json.loads(header), "earmark_run": 2}) + "\n", *rest]))
    with pytest.raises(RunError, match="newer earmark"), opened(tmp_path):
        pass


def test_files_of_others_stay(tmp_path):
    (tmp_path / "detections.csv").write_text("mine")
    own = opened(tmp_path, own=("detections.csv",))
    with pytest.raises(WriteError, match=r"detections\.csv: is there already"), own:
        pass
    assert not (tmp_path / LEDGER).exists()
    (tmp_path / LEDGER).write_text('{"mine": 1}\n')
    with pytest.raises(WriteError, match=r"run\.jsonl: is there already"), opened(tmp_path):
        pass
    assert (tmp_path / LEDGER).read_text() == '{"mine": 1}\n'
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="file: cannot be written"), opened(tmp_path / "file"):
        pass


def test_one_bad_recording_ends_no_run(tmp_path):
    tasks = ["a", "segfault", "b", "once", "exit", "c", "d"]
    answers = list(in_processes(Named(tmp_path), tasks, count=2, threads=3, stuck_s=30))
    done = sorted(answer.split()[0] for answer in answers if isinstance(answer, str))
    lost = {answer.task: answer.reason for answer in answers if isinstance(answer, Lost)}
    assert done == ["a", "b", "c", "d", "once"]
    assert set(lost) == {"segfault", "exit"}
    assert "was ended by SIGSEGV, and so did another one before" in lost["segfault"]
    assert "ended with exit code 3" in lost["exit"]
    assert all(answer.endswith("by 3") for answer in answers if isinstance(answer, str))
    # Nothing is done twice but what ended its process.
    assert {path.name for path in tmp_path.iterdir()} == {
        "a.0", "b.0", "c.0", "d.0", "once.0", "once.1", "segfault.0", "segfault.1", "exit.0", "exit.1",
    }  # fmt: skip


def test_what_stands_still_is_given_up_and_what_is_slow_is_not(tmp_path):
    seen = []
    answers = list(
        in_processes(
            Named(tmp_path), ["hang", "slow", "b"], count=1, threads=1, stuck_s=1.0, tick=seen.append
        )
    )
    assert [answer.task for answer in answers if isinstance(answer, Lost)] == ["hang"]
    assert "nothing of it was done for 1 s" in answers[0].reason
    assert [answer.split()[0] for answer in answers[1:]] == ["slow", "b"]
    assert max(max(one, default=0.0) for one in seen) >= 3.0


def test_what_cannot_begin_ends_the_run(tmp_path):
    with pytest.raises(DeviceError, match="the device is not there"):
        list(in_processes(Named(tmp_path, refuse=True), ["a", "b"], count=2, threads=1, stuck_s=30))
    with pytest.raises(RunError, match="exit code 7 before it could begin"):
        list(in_processes(Named(tmp_path, die=True), ["a", "b"], count=2, threads=1, stuck_s=30))
    assert list(in_processes(Named(tmp_path), [], count=2, threads=1, stuck_s=30)) == []


def test_in_this_process(tmp_path, monkeypatch):
    monkeypatch.setenv("EARMARK_THREADS", "2")
    seen = []
    answers = list(in_this_process(Named(tmp_path), ["a", "slow"], seen.append))
    assert [answer.split()[0] for answer in answers] == ["a", "slow"]
    assert seen == [[1.0], [2.0], [3.0], [4.0]]


def test_progress_without_a_terminal_is_a_line_a_minute(capsys, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with RunProgress(10, before=2) as progress:
        progress.done(3600.0, 5)
        clock[0] += 30
        progress.tick([600.0, 0.0])
        assert capsys.readouterr().err == ""
        clock[0] += 30
        progress.tick([1800.0, 1800.0])
        said = capsys.readouterr().err
        assert said == "3 of 10 recordings, 2 h 0 min of sound, 120 times real time, 5 detections\n"
        progress.done(3600.0, 0, failed=("a.wav", "no sound"))
        assert capsys.readouterr().err == "a.wav: no sound\n"
        clock[0] += 60
        progress.tick([0.0])
        assert re.search(r"^4 of 10 .*, 1 failed\n$", capsys.readouterr().err)
