"""What the OpenAPI document allows and what it does not, asked at random (the extra test-serve)."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from http_server import served

pytestmark = pytest.mark.schemathesis

TOKEN = "a-token-of-the-tests"


def test_every_answer_is_described(tmp_path):
    limits = ("--timeout", "5", "--max-seconds", "20", "--max-bytes", "1M", "--per-client", "0")
    with served(*limits, EARMARK_TOKEN=TOKEN) as server:
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{server.url}/openapi.json",
            "--header",
            f"Authorization: Bearer {TOKEN}",
            "--checks",
            "all",
            # What is valid by its schema may still name a label that does not exist, or be no sound.
            "--exclude-checks",
            "positive_data_acceptance",
            "--max-examples",
            "60",
            "--seed",
            "1",
            "--suppress-health-check",
            "all",
            "--no-color",
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout
        tested = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
        assert tested, done.stdout
        assert int(tested[1]) == int(tested[2]) > 500
        assert server.process.poll() is None
        assert not any("Traceback" in line for line in server.lines)
