"""The fuzzers of benchmarks/fuzz: that they see every kind of fault, and a minute of each."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz"


@pytest.fixture
def harness(monkeypatch):
    """The fuzzers' harness, which is a script's neighbour and no package."""
    monkeypatch.syspath_prepend(str(FUZZ))
    for name in ("EARMARK_THREADS", "OMP_NUM_THREADS", "ORT_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    import harness

    return harness


def test_every_end_of_a_case_is_put_down_to_it(harness, tmp_path, capsys):
    from earmark.errors import BundleError

    def case(seed, index, folder):
        harness.note(folder, f"case {index}")
        if index == 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        if index == 5:
            time.sleep(60)
        if index == 7:
            gc.collect()
            touched(80)
        if index == 9:
            raise ZeroDivisionError
        if index == 11:
            return harness.refusal(BundleError("something is damaged"), ("a.onnx",), "")
        if index == 12:
            return harness.refusal(BundleError("a.onnx: damaged"), ("a.onnx",), "")
        if index == 13:
            return harness.refusal(KeyError("x"), ("a.onnx",), "")
        return harness.Verdict("ok")

    def touched(megabytes):
        block = bytearray(megabytes << 20)
        block[::4096] = b"x" * len(block[::4096])
        return block

    # What the parent left to the garbage collector is not the cases' to free: it would make up for their own.
    garbage = [touched(80)]
    garbage.append(garbage)
    del garbage

    runner = harness.Runner(case, 0, harness.CaseLimits(seconds=2.0, resident_mb=50), jobs=2)
    ends = {index: verdict for index, verdict, _ in runner.run(iter(range(60)), None)}
    assert sorted(ends) == list(range(60))
    faulty = {index: verdict.kind for index, verdict in ends.items() if verdict.kind != "ok"}
    assert faulty == {
        3: "crash",
        5: "hang",
        7: "memory",
        9: "defect",
        11: "unclear",
        12: "refused",
        13: "defect",
    }
    assert ends[3].detail == "SIGSEGV"
    assert ends[5].where == "case 5"


@pytest.mark.slow
@pytest.mark.parametrize(("script", "cases"), [("bundles.py", 500), ("sounds.py", 2500), ("tables.py", 2500)])
def test_no_fault_in_a_minute(script, cases, tmp_path):
    command = [sys.executable, FUZZ / script, "--cases", str(cases), "--seed", "2026", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_a_message_is_one_printable_line_whatever_it_holds():
    from earmark.errors import BundleError, LabelError, WriteError

    assert str(BundleError("a\n\x1b[31mb\u202ec")) == "a\\n\\x1b[31mb\\u202ec"
    assert str(LabelError("no label 'é'")) == "no label 'é'"
    assert str(WriteError("out: no room")) == "out: no room"
    long = str(BundleError(f"bundle.json: {'x' * 10_000}; export the bundle again"))
    assert long.startswith("bundle.json: xxx")
    assert long.endswith("; export the bundle again")
    assert len(long) < 1300
