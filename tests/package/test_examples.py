"""Every example runs as it stands, on the shipped bundle."""

from pathlib import Path

import pytest
from runtime_sounds import run_python

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))


# What an example needs beyond the tests' extra; .ci/run installs it by name.
NEEDS = {"shap_explainer.py": "shap"}


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path):
    if path.name in NEEDS:
        pytest.importorskip(NEEDS[path.name])
    out = run_python("import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", path)
    assert out.strip()


def test_every_example_is_listed():
    listed = (EXAMPLES[0].parent / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in listed for path in EXAMPLES)


@pytest.mark.slow
def test_the_tutorial_runs_and_shows_players_and_plots(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    path = EXAMPLES[0].parents[1] / "docs" / "tutorial.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear the notebook's outputs"
    NotebookClient(notebook, timeout=250, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())]
    (page,) = (data["text/html"] for data in shown if "text/html" in data)
    assert page.startswith("<iframe")
    assert sum("image/png" in data for data in shown) == 4
    assert (tmp_path / "explanation.pdf").read_bytes().startswith(b"%PDF")
    assert nbformat.writes(notebook).count("ename") == 0
