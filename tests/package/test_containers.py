"""The container of the examples, and what earmark asks of one: no root, no home, nothing to write to."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import earmark

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "runtime" / "shipped" / "example.flac"


def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments of each line of the Dockerfile; continued lines are one."""
    text = (ROOT / "examples/Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def test_the_container_is_slim_and_not_root():
    last = [rest for name, rest in instructions() if name in {"FROM", "USER", "ENTRYPOINT"}][-3:]
    assert re.fullmatch(r"python:3\.\d+-slim", last[0])
    assert [int(number) > 0 for number in last[1].split(":")] == [True, True]
    assert last[2] == '["earmark"]'


def test_what_it_installs_exists():
    [named] = re.findall(r"/src\[([\w,]+)\]", " ".join(rest for _, rest in instructions()))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(named.split(",")) <= set(project["optional-dependencies"])


def test_the_page_shows_it():
    page = (ROOT / "docs/deploying.md").read_text(encoding="utf-8")
    assert f"```dockerfile\n{(ROOT / 'examples/Dockerfile').read_text(encoding='utf-8')}```" in page


def test_nothing_needs_to_be_written(tmp_path):
    """Neither a home nor a cache nor a temporary folder: as with a read-only root."""
    file = tmp_path / "file"
    file.touch()
    nowhere = {name: str(file / "below") for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR")}
    done = subprocess.run(
        [sys.executable, "-m", "earmark.cli", "detect", str(EXAMPLE), "--device", "cpu"],
        cwd=file.parent,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "ORT_DISABLE_TELEMETRY": "1",
            **nowhere,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    label = earmark.load(device="cpu").explain(EXAMPLE, methods=[]).target
    assert f"1 detection: {label} 1" in done.stdout
    assert list(tmp_path.iterdir()) == [file]
