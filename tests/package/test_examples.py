"""Every example runs as it stands, on the shipped bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
from runtime_sounds import run_python

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path):
    out = run_python("import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", path)
    assert out.strip()


def test_every_example_is_listed():
    listed = (EXAMPLES[0].parent / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in listed for path in EXAMPLES)
