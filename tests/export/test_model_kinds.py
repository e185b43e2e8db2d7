"""README's table of models is that of the package, and each of its rows is run by a test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from click.testing import CliRunner
from onnx import helper
from small_graphs import CLASSES, F32, ROW, SAMPLES, body, head, mean, row, save

from earmark.cli import main
from earmark.export.sources.kinds import KINDS, table
from earmark.runtime.opening import open_bundle

ROOT = Path(__file__).resolve().parents[2]
HERE = [kind for kind in KINDS if not kind.test]


def graph_of(path, model):
    """A graph of the kind that a row is about."""
    inputs, outputs = {"x": (F32, ["b", "n"])}, {"y": ["b", CLASSES]}
    before, after = [row()], head()
    pooling, last = mean(), []
    if "fixed" in model:
        inputs = {"x": (F32, ["b", SAMPLES])}
    for word, operator in (("sigmoid", "Sigmoid"), ("softmax", "Softmax"), ("frames", "Sigmoid")):
        if word in model:
            after, last = head(output="raw"), [helper.make_node(operator, ["raw"], ["y"])]
    if "frames" in model:
        pooling, after = [], head("frames", "raw")
        outputs = {"y": ["b", "t", CLASSES]}
    if "state" in model:
        inputs["h"] = (F32, [1, 4])
        after = head(output="raw")
        last = [
            helper.make_node("ReduceSum", ["h"], ["moved"], keepdims=0),
            helper.make_node("Add", ["raw", "moved"], ["y"]),
        ]
    if "embedding" in model:
        outputs["pooled"] = ["b", 4]
    return save(path, [*before, *body(), *pooling, *after, *last], inputs, outputs, [ROW])


def test_readme_has_the_table():
    assert table() in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", HERE, ids=[kind.model for kind in HERE])
def test_the_command_of_a_row(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    graph_of(tmp_path / "model.onnx", kind.model)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n", encoding="utf-8")
    result = CliRunner().invoke(main, kind.command.split()[1:])
    assert result.exit_code == 0, result.output
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert (manifest.feature_map is not None) == ("prototypes" in kind.gives)
    if "add up" in kind.gives:
        assert manifest.feature_map.additive
    assert "next     " in result.stdout


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.test], ids=lambda kind: kind.model)
def test_the_test_of_a_row_is_there(kind):
    file, _, name = kind.test.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert name in tests or (not name and tests)
