"""Graphs with inputs beside the sound, other axes and types, and scores of frames: against NumPy."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from saved_graph import node
from scipy.special import expit
from small_graphs import (
    BIAS,
    CLASSES,
    F32,
    MATRIX,
    RATE,
    ROW,
    SAMPLES,
    body,
    frames_of,
    head,
    logits_of,
    mean,
    row,
    save,
)

import earmark
from earmark.errors import SourceError
from earmark.export.bundle.write import write_bundle
from earmark.export.sources.onnx.feature_map import MapRequest
from earmark.export.sources.onnx.file import load
from earmark.export.sources.onnx.side_inputs import GivenInputs
from earmark.runtime.explainer import engine_of

LABELS = ["a", "b", "c"]


def sounds_of(count=2, samples=SAMPLES, seed=0):
    return (0.2 * np.random.default_rng(seed).standard_normal((count, samples))).astype(np.float32)


def bundled(path, out, **told):
    source = load(path, **{"labels": LABELS, "sample_rate": RATE, "window_seconds": 0.5, **told})
    manifest = write_bundle(source, out)
    return source, manifest, earmark.load(out, device="cpu")


def on_sound(tmp_path, nodes, outputs, constants=(), **inputs):
    """A file of the row of sounds `x` [B, N], the body, and the nodes behind it."""
    taken = {"x": (F32, ["b", "n"]), **inputs}
    return save(tmp_path / "net.onnx", [row(), *body(), *nodes], taken, outputs, [ROW, *constants])


def answers(explainer, sounds):
    with explainer:
        return engine_of(explainer).logits_of(sounds)


CAST = node("Cast", "x", "float", to=F32)
# Nodes from the input `x` to `wave` [B, 1, N], its type and dims, and constants.
INPUTS = {
    "[B, N, 1]": ([row()], F32, ["b", "n", 1], [ROW]),
    "[1, N, 1] fixed": ([row()], F32, [1, SAMPLES, 1], [ROW]),
    "stereo": ([node("ReduceMean", "x", "wave", axes=[1], keepdims=1)], F32, ["b", 2, "n"], []),
    "float16": ([CAST, node("Reshape", "float row", "wave")], TensorProto.FLOAT16, ["b", "n"], [ROW]),
    "float64": ([CAST, node("Reshape", "float row", "wave")], TensorProto.DOUBLE, ["b", "n"], [ROW]),
    "int16": (
        [CAST, node("Reshape", "float row", "loud"), node("Div", "loud scale", "wave")],
        TensorProto.INT16,
        ["b", "n"],
        [ROW, ("scale", np.float32(32768))],
    ),
    "uint8": (
        [
            CAST,
            node("Reshape", "float row", "loud"),
            node("Sub", "loud scale", "signed"),
            node("Div", "signed scale", "wave"),
        ],
        TensorProto.UINT8,
        ["b", "n"],
        [ROW, ("scale", np.float32(128))],
    ),
    "fixed batch": ([row()], F32, [3, SAMPLES], [ROW]),
}


def rounded(sounds, form):
    if form == "float16":
        return sounds.astype(np.float16)
    if form in {"int16", "uint8"}:
        full = {"int16": 32768, "uint8": 128}[form]
        return np.clip(np.rint(sounds * full), -full, full - 1) / full
    return sounds


@pytest.mark.parametrize("form", list(INPUTS))
def test_inputs_of_other_axes_and_types(tmp_path, form):
    nodes, kind, dims, constants = INPUTS[form]
    path = save(
        tmp_path / "net.onnx",
        [*nodes, *body(), *mean(), *head()],
        {"x": (kind, dims)},
        {"y": [dims[0], CLASSES]},
        constants,
    )
    source, manifest, explainer = bundled(path, tmp_path / "bundle")
    assert manifest.parity.fp32["logits"].max_abs <= 1e-4
    assert any("2 channels" in doubt for doubt in source.doubts) == (form == "stereo")
    sounds = sounds_of()
    # Beyond full scale integers are cut off.
    sounds[0, :10] = 1.5
    np.testing.assert_allclose(answers(explainer, sounds), logits_of(rounded(sounds, form)), atol=1e-4)


def test_inputs_beside_the_sound(tmp_path):
    """A rate, lengths, masks, a state and a constant; each one changes the scores."""
    nodes = [
        row("audio"),
        *body(),
        *mean(),
        *head(output="plain"),
        node("Cast", "sr", "rate", to=F32),
        node("Cast", "audio_lengths", "length", to=F32),
        node("Unsqueeze", "length last", "length_column"),
        node("ReduceSum", "attention_mask last", "real", keepdims=1),
        node("ReduceMax", "padding_mask", "padded", axes=[1], keepdims=1),
        node("Add", "plain rate", "one"),
        node("Sub", "one length_column", "two"),
        node("Add", "two real", "three"),
        node("Sub", "three padded", "four"),
        node("ReduceSum", "h", "state", keepdims=0),
        node("Add", "four state", "five"),
        node("Mul", "five gains", "y"),
        node("Identity", "h", "hn"),
    ]
    inputs = {
        "sr": (TensorProto.INT64, []),
        "audio_lengths": (TensorProto.INT64, ["b"]),
        "audio": (F32, ["b", "n"]),
        "attention_mask": (F32, ["b", "n"]),
        "padding_mask": (F32, ["b", "n"]),
        "h": (F32, [2, "b", 8]),
        "gains": (F32, [CLASSES]),
    }
    path = save(
        tmp_path / "net.onnx",
        nodes,
        inputs,
        {"y": ["b", CLASSES], "hn": [2, "b", 8]},
        [ROW, ("last", np.array([1], np.int64))],
    )
    told = {"labels": LABELS, "sample_rate": RATE, "window_seconds": 0.5}
    with pytest.raises(SourceError, match=r"--input .*--constant gains=NUMBER.*--state gains=zeros"):
        load(path, **told)
    with pytest.raises(SourceError, match=r"does not fill its input 'gains' float32 \[3\]"):
        load(path, **told, inputs=GivenInputs(constants={"gains": "1,2"}, states={"h": "zeros"}))
    with pytest.raises(SourceError, match="has no input 'gain'; it has sr, audio_lengths"):
        load(path, **told, inputs=GivenInputs(constants={"gain": "1"}))
    given = GivenInputs(constants={"gains": "1,2,-1"}, states={"h": "0.5"})
    source, _, explainer = bundled(path, tmp_path / "bundle", inputs=given)
    assert "its input 'sr' is filled with 8000, the sample rate" in source.doubts
    sounds = sounds_of(3)
    expected = (logits_of(sounds) + RATE + 16 * 0.5) * [1, 2, -1]
    np.testing.assert_allclose(answers(explainer, sounds), expected, rtol=1e-6)


JOINS = {
    "mean": lambda x, axis: x.mean(axis=axis),
    "max": lambda x, axis: x.max(axis=axis),
    "lme": lambda x, axis: np.log(np.exp(5 * x).mean(axis=axis)) / 5,
}


@pytest.mark.parametrize("how", list(JOINS))
@pytest.mark.parametrize("form", ["[B, T, K]", "[T, K]", "[B, K, T]", "[B, T, K] float16"])
def test_scores_of_frames(tmp_path, how, form):
    nodes = [*head("frames", "each"), node("Sigmoid", "each", "p")]
    dims, last = ["b", "t", CLASSES], "p"
    if form == "[T, K]":
        nodes.append(node("Squeeze", "p first", "y"))
        dims, last = ["t", CLASSES], "y"
    if form == "[B, K, T]":
        nodes.append(node("Transpose", "p", "y", perm=[0, 2, 1]))
        dims, last = ["b", CLASSES, "t"], "y"
    kind = TensorProto.FLOAT16 if "float16" in form else F32
    if kind != F32:
        nodes.append(node("Cast", "p", "y", to=kind))
        last = "y"
    batch = 1 if form == "[T, K]" else "b"
    first = ("first", np.array([0], np.int64))
    path = on_sound(tmp_path, nodes, {last: (kind, dims)}, [first], x=(F32, [batch, "n"]))
    told = {"task": "multi_label", "scores": "probabilities"}
    if how == "mean":
        with pytest.raises(SourceError, match=r"holds scores of frames.*--reduce max"):
            load(path, labels=LABELS, sample_rate=RATE, window_seconds=0.5, **told)
    _, _, explainer = bundled(path, tmp_path / "bundle", reduce=how, **told)
    sounds = sounds_of()
    expected = JOINS[how](expit(frames_of(sounds) @ MATRIX + BIAS), 1)
    made = expit(answers(explainer, sounds).astype(np.float64))
    np.testing.assert_allclose(made, expected, atol=1e-3 if "float16" in form else 1e-5)


@pytest.mark.parametrize("dims", [["b"], ["b", 1], ["b", 1, 1]])
def test_a_detector_without_an_axis_of_labels(tmp_path, dims):
    shape = np.array([-1, 1, 1][: len(dims)], np.int64)
    nodes = [
        *mean(),
        *head(output="all"),
        node("ReduceSum", "all last", "column", keepdims=1),
        node("Sigmoid", "column", "p"),
        node("Reshape", "p shape", "y"),
    ]
    constants = [("last", np.array([1], np.int64)), ("shape", shape)]
    path = on_sound(tmp_path, nodes, {"y": dims}, constants)
    told = {"labels": ["speech"], "task": "multi_label", "scores": "probabilities"}
    _, _, explainer = bundled(path, tmp_path / "bundle", **told)
    sounds = sounds_of()
    made = expit(answers(explainer, sounds))[:, 0]
    np.testing.assert_allclose(made, expit(logits_of(sounds).sum(axis=1)), atol=1e-5)


def test_a_detector_of_frames(tmp_path):
    """[B, T] of one label."""
    joined = node("ReduceMean", "frames", "y", axes=[2], keepdims=0)
    path = on_sound(tmp_path, [joined], {"y": ["b", "t"]})
    told = {"labels": ["a"], "task": "multi_label", "scores": "logits", "reduce": "max"}
    _, _, explainer = bundled(path, tmp_path / "bundle", **told)
    expected = frames_of(sounds_of()).mean(axis=2).max(axis=1)
    np.testing.assert_allclose(answers(explainer, sounds_of())[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("last", "scores", "task"),
    [
        ("Softmax", "probabilities", "single_label"),
        ("LogSoftmax", "log_probabilities", "single_label"),
        ("Sigmoid", "probabilities", "multi_label"),
        ("Identity", "logits", "single_label"),
    ],
)
def test_contributions_add_up_behind_softmax_and_sigmoid(tmp_path, last, scores, task):
    nodes = [*mean(), *head(output="raw"), node(last, "raw", "y")]
    path = on_sound(tmp_path, nodes, {"y": ["b", CLASSES]})
    _, manifest, explainer = bundled(
        path, tmp_path / "bundle", scores=scores, task=task, feature_map=MapRequest("active", "ct")
    )
    assert manifest.feature_map.additive
    assert manifest.feature_map.pooling == "mean"
    np.testing.assert_allclose(answers(explainer, sounds_of()), logits_of(sounds_of()), atol=1e-4)


def test_nodes_in_any_order(tmp_path):
    """As converters to float16 leave them: their Casts come last. The graph inside a node as well."""
    inner = helper.make_graph(
        [node("Neg", "twice", "out"), node("Add", "raw raw", "twice")],
        "then",
        [],
        [helper.make_tensor_value_info("out", F32, None)],
    )
    other = helper.make_graph(
        [node("Identity", "raw", "kept")], "else", [], [helper.make_tensor_value_info("kept", F32, None)]
    )
    nodes = [
        node("If", "yes", "y", then_branch=inner, else_branch=other),
        *head(output="raw"),
        *mean(),
        *body(),
        row(),
    ]
    path = save(
        tmp_path / "net.onnx",
        nodes,
        {"x": (F32, ["b", "n"])},
        {"y": ["b", CLASSES]},
        [ROW, ("yes", np.array(True))],
    )
    _, _, explainer = bundled(path, tmp_path / "bundle")
    np.testing.assert_allclose(answers(explainer, sounds_of()), -2 * logits_of(sounds_of()), atol=1e-4)
    model = onnx.load(path)
    model.graph.node[-1].input[0] = "maps"
    onnx.save(model, path)
    with pytest.raises(SourceError, match="reads what follows from itself"):
        load(path, labels=LABELS, sample_rate=RATE, window_seconds=0.5)


def test_a_zipmap_is_cut_off(tmp_path):
    nodes = [
        *mean(),
        *head(output="raw"),
        node("Softmax", "raw", "p"),
        node("ZipMap", "p", "output_probability", domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]),
    ]
    path = on_sound(tmp_path, nodes, {})
    model = onnx.load(path)
    element = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(F32, []))
    model.graph.output.append(
        helper.make_value_info("output_probability", helper.make_sequence_type_proto(element))
    )
    onnx.save(model, path)
    _, _, explainer = bundled(path, tmp_path / "bundle", scores="probabilities")
    np.testing.assert_allclose(answers(explainer, sounds_of()), logits_of(sounds_of()), atol=1e-4)


def test_a_branch_by_the_sample_rate(tmp_path):
    """Of an If that gives a state beside the scores."""

    def branch(name, operator):
        given = [helper.make_tensor_value_info(f"{name}_{one}", F32, None) for one in ("scores", "state")]
        nodes = [node(operator, "raw", f"{name}_scores"), node("Exp", "h", f"{name}_state")]
        return helper.make_graph(nodes, name, [], given)

    nodes = [
        *mean(),
        *head(output="raw"),
        node("Equal", "sr known", "yes"),
        node("If", "yes", "y hn", then_branch=branch("then", "Neg"), else_branch=branch("else", "Abs")),
    ]
    outputs, constants = {"y": ["b", CLASSES], "hn": [1, 4]}, [("known", np.array(RATE))]
    path = on_sound(tmp_path, nodes, outputs, constants, sr=(TensorProto.INT64, []), h=(F32, [1, 4]))
    given = GivenInputs(states={"h": "zeros"})
    _, _, explainer = bundled(path, tmp_path / "bundle", inputs=given, output="y")
    np.testing.assert_allclose(answers(explainer, sounds_of()), -logits_of(sounds_of()), atol=1e-4)


def test_an_embedding_is_a_map_of_one_cell(tmp_path):
    path = on_sound(tmp_path, [*mean(), *head()], {"y": ["b", CLASSES], "pooled": ["b", 4]})
    _, manifest, explainer = bundled(
        path, tmp_path / "bundle", output="y", feature_map=MapRequest("pooled", "c")
    )
    assert manifest.feature_map.additive
    assert manifest.feature_map.frame_seconds == pytest.approx(0.5)
    assert manifest.stage("classifier").outputs[1].dims == ["batch", 4, 1, 1]
    explainer.close()
