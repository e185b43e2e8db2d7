"""Each row of README's table of models is run by a test."""

import ast
import re
from pathlib import Path

import pytest
from command_line import invoke
from onnx import helper
from small_graphs import CLASSES, F32, ROW, SAMPLES, body, head, mean, row, save

from earmark.runtime.opening import open_bundle

ROOT = Path(__file__).resolve().parents[2]
# Model, what its bundle explains by, and the command, of each row.
ROWS = re.findall(
    r"^\| (.+?) \| (.+?) \| `(.+?)` \|$",
    (ROOT / "README.md").read_text(encoding="utf-8").partition("| your model | explained by |")[2],
    re.MULTILINE,
)
# The test that runs a row, where it is not the one of this file.
TESTS = {
    "of tokens (AST)": "test_onnx_tokens.py::test_tokens_are_laid_out_and_their_order_is_checked",
    "that takes features": "test_frontends.py::test_another_graph_is_the_front_end",
    "any of these, with sounds to train on": "test_onnx_masks.py::test_end_to_end",
    "a run of `earmark train`": "test_training_folders.py",
    "a SpeechBrain folder of an interpret recipe": "test_speechbrain.py::test_full_size_end_to_end",
    "a Hugging Face folder": "test_hugging_face_models.py::test_bundles_answer_as_the_original_pipeline",
    "a PANNs checkpoint": "test_panns.py::test_a_fine_tuned_checkpoint_becomes_a_bundle",
    "any PyTorch model": "test_exporting.py::test_an_adapter_becomes_a_bundle_with_prototypes",
    "TensorFlow, TorchScript, Core ML, TensorRT": (
        "test_inspect_graph.py::test_other_formats_are_told_the_way"
    ),
}


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


def test_the_table_is_whole():
    assert len(ROWS) == 18
    assert TESTS.keys() < {model for model, _, _ in ROWS}


@pytest.mark.parametrize(
    ("model", "gives", "command"), [row for row in ROWS if row[0] not in TESTS], ids=lambda text: text[:40]
)
def test_the_command_of_a_row(model, gives, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    graph_of(tmp_path / "model.onnx", model)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n", encoding="utf-8")
    result = invoke(*command.split()[1:], code=0)
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert (manifest.feature_map is not None) == ("prototypes" in gives)
    if "add up" in gives:
        assert manifest.feature_map.additive
    assert "next     " in result.stdout


@pytest.mark.parametrize("test", TESTS.values())
def test_the_test_of_a_row_is_there(test):
    file, _, name = test.partition("::")
    tree = ast.parse(Path(__file__).with_name(file).read_text(encoding="utf-8"))
    tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert name in tests or (not name and tests)
