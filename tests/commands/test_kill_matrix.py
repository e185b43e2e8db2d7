"""Every writer is killed at many places (benchmarks/kill_matrix.py): some here, more by `pytest -m slow`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "kill_matrix.py"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals and forks of POSIX")


def matrix(tmp_path, *options):
    report = tmp_path / "report.json"
    command = [sys.executable, str(SCRIPT), *options, "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: one["counts"] for name, one in json.loads(report.read_text()).items()}


def test_a_result_is_old_or_new(tmp_path):
    counts = matrix(tmp_path, "--what", "explain -o", "--cases", "8")["explain -o"]
    assert sum(counts.values()) == 8
    assert {state.split()[1] for state in counts} <= {"old", "new"}


@pytest.mark.slow
def test_every_writer(tmp_path):
    counts = matrix(tmp_path, "--what", "all", "--cases", "8")
    assert set(counts) >= {"export", "export --force", "index", "explain -o", "train"}
    assert all(sum(of.values()) == 8 for of in counts.values())
