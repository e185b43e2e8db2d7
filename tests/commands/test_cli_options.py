"""Every option is used where it is offered, and no message names an option that does not exist."""

import ast
import inspect
import json
import re
import shutil
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from command_line import all_commands, options_of
from command_line import invoke as run

import earmark
from earmark.cli import VERBS
from earmark.runtime.explainer import SHIPPED, load
from earmark.runtime.methods.segments.settings import SegmentSettings
from earmark.runtime.opening import open_bundle

PACKAGE = Path(earmark.__file__).parent
EXAMPLE = PACKAGE / "runtime" / "shipped" / "example.flac"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
# Of pip, nvidia-smi, tritonserver, the script that makes the demo, and of tf2onnx, which leads from
# TensorFlow's formats to .onnx.
OTHERS = {"--upgrade", "--query-gpu", "--model-repository", "--runs"}
OTHERS |= {"--tflite", "--saved-model", "--graphdef", "--keras", "--inputs", "--outputs", "--opset"}
OTHERS |= {"--prefer-offline", "--ignore-scripts", "--silent"}  # npm's


# Every command that does something, by its whole name.
COMMANDS = {" ".join(path): one for path, one in all_commands() if not isinstance(one, click.Group)}


@pytest.mark.parametrize("name", ["explain", "detect"])
def test_every_option_that_a_command_gathers_is_read(name):
    """It would be dropped in silence; a parameter of its own is ruff's affair, and elsewhere an error."""
    command = COMMANDS[f"earmark {name}"]
    gathered = {one.name for one in command.params} - set(inspect.signature(command.callback).parameters)
    sources = [(PACKAGE / "commands" / f"{file}.py").read_text("utf-8") for file in (name, "request_options")]
    read = re.findall(r'(?:given\.pop\(|asked\[)"(\w+)"', "".join(sources))
    assert gathered
    assert gathered <= set(read)


def test_no_message_names_an_option_that_does_not_exist():
    known = OTHERS.union(*(options_of(command) for _, command in all_commands()))
    strange = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if {"tests", "benchmarks"} & set(path.relative_to(PACKAGE).parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                strange += [(path.name, found) for found in OPTION.findall(node.value) if found not in known]
    assert strange == []


def test_verbs_are_what_help_lists():
    assert {name.split()[1] for name in COMMANDS} == set(VERBS)


# ---- said before the first call


@pytest.fixture
def without_sklearn(monkeypatch):
    """scikit-learn as if it were not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)


@pytest.mark.parametrize("given", [{"preset": "bolanos2025"}, {"surrogate": "forest"}])
def test_a_missing_package_is_said_before_the_model_is_asked(without_sklearn, monkeypatch, given):
    def asked(*_):
        raise AssertionError("the model was asked")

    with pytest.raises(earmark.MissingDependencyError, match="scikit-learn"):
        earmark.segments(asked, np.zeros(16000, np.float32) + 0.1, 16000, **given)
    monkeypatch.setattr("earmark.runtime.inference.pipeline.ModelPipeline.classified", asked)
    for module in ("explainer", "explaining.many"):
        monkeypatch.setattr(f"earmark.runtime.{module}.open_any", asked)
    explainer = load(SHIPPED, device="cpu")
    with pytest.raises(earmark.MissingDependencyError, match="scikit-learn"):
        explainer.explain(EXAMPLE, methods=["segments"], options={"segments": given})
    with pytest.raises(earmark.MissingDependencyError, match="scikit-learn"):
        explainer.explain_many([EXAMPLE], methods=["segments"], options={"segments": given})
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    shown = run("explain", EXAMPLE, EXAMPLE, "-b", SHIPPED, "-m", "segments", *words)
    assert (shown.exit_code, shown.stderr.count("scikit-learn")) == (1, 1)
    # A surrogate of the reference's that needs no forest.
    SegmentSettings(preset="bolanos2025", surrogate="least_squares").require()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"segmnts": {"calls": 100}}, "did you mean 'segments'?"),
        ({"segments": {"cals": 100}}, "segments: there is no option 'cals'; did you mean 'calls'?"),
        ({"segments": {"calls": 3}}, "calls is 3"),
        ({"segments": 100}, "give a mapping"),
        ({"mask": {"threshold": 0.5}}, "mask: there is no option 'threshold'; it has none"),
        ({"components": {"threshold": 0.5}}, "components, which does not run"),
        (["segments"], "options is list"),
    ],
)
def test_options_that_would_be_ignored_are_errors(options, says):
    explainer = load(SHIPPED, device="cpu")
    for ask in (explainer.explain, lambda sound, **more: explainer.explain_many([sound], **more)):
        with pytest.raises(earmark.MethodError, match=re.escape(says)):
            ask("absent.wav", methods=["mask", "segments"], options=options)


def test_names_that_do_not_exist_are_guessed():
    run("explan", "a.wav", code=2, says="there is no command 'explan'; did you mean 'explain'?")
    run("train", "lmca", code=2, says="there is no command 'lmca'; did you mean 'lmac'?")
    run("quux", code=2, says="there is no command 'quux'; ")
    explainer = load(SHIPPED, device="cpu")
    with pytest.raises(earmark.MethodError, match="did you mean 'segments'"):
        explainer.explain(EXAMPLE, methods=["segment"])
    with pytest.raises(TypeError, match="did you mean 'methods'"):
        explainer.explain_many([EXAMPLE], metods=["mask"])
    with pytest.raises(earmark.MethodError, match="did you mean 'segment_seconds'"):
        earmark.segments(lambda sounds: sounds[:, 0], np.ones(9, np.float32), 16000, segment_second=1.0)


@pytest.mark.parametrize(
    "words",
    [
        ["explain", EXAMPLE, "-m", "mask", "--calls", "100"],
        ["explain", EXAMPLE, "-m", "mask", "--relevance-threshold", "0.1"],
        ["explain", EXAMPLE, "-m", "segments", "--rescore"],
        ["explain", EXAMPLE, "-m", "segments", "--bands", "5"],
        ["explain", EXAMPLE, "-m", "segments", "--preset", "bolanos2025", "--calls", "100"],
        ["index", "{bundle}", "--remove", "x", "--audio"],
        ["index", "{bundle}", "--remove", "x", "--per-channel", "3"],
        ["index", "{bundle}", "--remove", "x", "--seed", "3"],
        ["index", "{bundle}", "--merge", "{bundle}", "--strict"],
        ["data", "drums", "{out}", "--from", "{folder}"],
        ["data", "drums", "{out}", "--train-folds", "1"],
        ["data", "clever_hans", "{out}", "--speech", "{folder}"],
        ["data", "clever_hans", "{out}", "--test-folds", "1"],
        ["evaluate", "events", "{bundle}", "{data}", "-m", "energy", "--calls", "100"],
        ["export", "m.onnx", "-o", "{out}", "--labels", "a,b", "--sample-rate", "8000", "--no-decoder"],
        ["train", "apex", "{run}", "{data}", "--steps", "3"],
        ["train", "apex", "{run}", "{data}", "--audio"],
        ["train", "l2i", "{run}", "{data}", "--interpreter", "reference", "--width", "8"],
        ["train", "l2i", "{run}", "{data}", "--dictionary", "{run}", "--sparsity", "1"],
        ["train", "l2i", "{run}", "{data}", "--dictionary", "{run}", "--start", "{run}"],
    ],
)
def test_an_option_without_a_use_is_wrong_usage(words, tmp_path):
    names = {"bundle": SHIPPED, "out": tmp_path / "out", "folder": tmp_path, "run": tmp_path}
    names["data"] = tmp_path / "data"
    (names["data"] / "kick").mkdir(parents=True)
    shutil.copy(EXAMPLE, names["data"] / "kick")
    (names["data"] / "events.csv").write_text(
        "clip,label,start_s,end_s\nkick/example.flac,kick,0.1,0.2\n", encoding="utf-8"
    )
    run(*(str(word).format(**names) for word in words), code=2)
    assert not (tmp_path / "out").exists()


# ---- which bundle answers


def test_the_answer_names_its_bundle_and_the_demo_says_that_it_is_one(tmp_path, monkeypatch):
    monkeypatch.delenv("EARMARK_BUNDLE", raising=False)
    own = shutil.copytree(SHIPPED, tmp_path / "own")
    name = open_bundle(SHIPPED).manifest.name
    demo = "the shipped demo answered"
    first = run("explain", code=0)
    assert name in first.stdout
    assert demo not in first.stdout
    assert demo in run("explain", EXAMPLE).stdout
    record = json.loads(run("explain", EXAMPLE, "--jsonl").stdout)
    assert record["bundle"] == name
    assert demo in record["warnings"][0]
    assert demo not in run("explain", EXAMPLE, "-b", own).stdout
    result = earmark.load(device="cpu").explain(EXAMPLE, methods=[])
    assert (result.bundle, result.warnings) == (name, ())
    monkeypatch.setenv("EARMARK_BUNDLE", str(own))
    assert demo not in run("explain", EXAMPLE).stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["explain", "{bundle}", EXAMPLE], "name it by -b"),
        (["explain", EXAMPLE, "{run}", "-b", "{bundle}"], "earmark export"),
        (["explain", "model.onnx"], "earmark export"),
        (["explain", EXAMPLE, "-b", EXAMPLE], "is a file"),
        (["explain", EXAMPLE, "-b", "{run}"], "earmark export"),
        (["verify", EXAMPLE], "is a file"),
        (["inspect", EXAMPLE], "is a file"),
        (["verify", "{run}"], "earmark export"),
        (["index", "{data}", "{bundle}"], "is a bundle"),
        (["index", "{bundle}", EXAMPLE], "is a file"),
        (["evaluate", "masks", "{data}", "{bundle}"], "is a bundle"),
        (["evaluate", "events", "{run}", "{data}"], "is a run directory"),
        (["export", "{bundle}", "-o", "{out}"], "is a bundle already"),
        (["train", "classifier", "{bundle}", "-o", "{out}"], "is a bundle"),
        (["train", "lmac", "{data}", "{run}"], "is a run directory"),
    ],
)
def test_one_thing_in_the_place_of_another_is_wrong_usage(words, says, tmp_path):
    names = {"bundle": SHIPPED, "run": tmp_path / "run", "data": tmp_path / "data", "out": tmp_path / "out"}
    for name in ("run", "data"):
        names[name].mkdir()
    (names["run"] / "classifier.safetensors").write_bytes(b"")
    run(*(str(word).format(**names) for word in words), code=2, says=says)


def test_a_bundle_in_a_list_is_a_record(tmp_path):
    (tmp_path / "list").write_text(f"{SHIPPED}\n{EXAMPLE}\n", encoding="utf-8")
    result = run("explain", "-b", SHIPPED, "--from-file", tmp_path / "list", "--jsonl")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [bool(one["error"]) for one in found] == [True, False]
    assert "is a bundle" in found[0]["error"]["message"]
