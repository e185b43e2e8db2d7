"""Graphs whose outputs are no logits, or whose input is no sound: refused or said, never silently taken."""

import numpy as np
import onnx
import pytest
from command_line import invoke
from onnx import TensorProto, helper, numpy_helper
from refusals import refuses
from saved_graph import node, saved

from earmark.errors import SourceError
from earmark.export.sources.onnx.file import load

RATE, SAMPLES, CLASSES = 8000, 4000, 4
LABELS = ["a", "b", "c", "d"]


def graph(path, last=(), *, name="x", dims=("batch", "samples"), scale=3.0, outputs=("y",), classes=CLASSES):
    """Conv, mean over time and a head; `last`: operators after it, each one's name (and attributes)."""
    random = np.random.default_rng(0)
    constants = {
        "shape": np.array([0, 1, -1], np.int64),
        "kernel": random.standard_normal((8, 1, 32)).astype(np.float32),
        "matrix": (scale * random.standard_normal((8, classes))).astype(np.float32),
        "bias": random.standard_normal(classes).astype(np.float32),
    }
    nodes = [
        node("Reshape", f"{name} shape", "wave"),
        node("Conv", "wave kernel", "maps", strides=[16]),
        node("Relu", "maps", "active"),
        node("GlobalAveragePool", "active", "pooled"),
        node("Flatten", "pooled", "flat"),
    ]
    made = "raw" if last else outputs[0]
    nodes.append(node("Gemm", "flat matrix bias", made))
    for number, one in enumerate(last):
        operator, attributes = one if isinstance(one, tuple) else (one, {})
        after = outputs[0] if number == len(last) - 1 else f"step_{number}"
        nodes.append(node(operator, made, after, **attributes))
        made = after
    shapes = {outputs[0]: ["batch", classes]}
    if len(outputs) > 1:
        nodes.append(helper.make_node("Identity", ["flat"], [outputs[1]]))
        shapes[outputs[1]] = ["batch", 8]
    return saved(path, nodes, constants, {name: list(dims)}, shapes)


def opened(path, **how):
    how = {"labels": LABELS, "sample_rate": RATE, "window_seconds": 0.5, **how}
    return load(path, **how)


@pytest.mark.parametrize(
    ("last", "how", "cure"),
    [
        (("Sigmoid",), {}, "ends in Sigmoid.*--task multi_label --scores probabilities"),
        (("Sigmoid", "Identity"), {}, "--task multi_label --scores probabilities"),
        (("Softmax",), {}, "--scores probabilities"),
        (("Softmax",), {"task": "multi_label"}, "sum to 1.*leave --task multi_label out"),
        (("Softmax",), {"task": "multi_label", "scores": "probabilities"}, "leave --task multi_label out"),
        (("LogSoftmax",), {"task": "multi_label"}, "leave --task multi_label out"),
        (("Relu",), {}, "ends in Relu.*neither"),
        (("Softplus",), {"task": "multi_label"}, "ends in Softplus.*neither"),
        (("Tanh",), {}, "ends in Tanh.*neither"),
        (("Sigmoid", "Log"), {"task": "multi_label"}, "never above 0.*say --scores log_probabilities"),
        (("Sigmoid", "Log"), {}, "say --task multi_label --scores log_probabilities"),
        (("Neg", "Softplus", "Neg"), {"task": "multi_label"}, "say --scores log_probabilities"),
        ((("LpNormalization", {"axis": 1, "p": 2}),), {}, "length 1, as embeddings"),
    ],
)
def test_outputs_that_are_no_logits_are_refused_with_the_cure(tmp_path, last, how, cure):
    refuses(SourceError, f"net.onnx: .*{cure}", opened, graph(tmp_path / "net.onnx", last), **how)


def test_probabilities_by_value_alone(tmp_path):
    """A sigmoid that the graph spells out: 1 / (1 + exp(-x))."""
    path = graph(tmp_path / "net.onnx", ("Neg", "Exp"), outputs=("e",))
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "one"))
    model.graph.node.append(node("Add", "e one", "rest"))
    model.graph.node.append(node("Div", "one rest", "p"))
    model.graph.output[0].name = "p"
    onnx.save(model, path)
    refuses(SourceError, r"lie in 0\.\.1 and do not sum to 1.*--task multi_label", opened, path)
    assert opened(path, scores="probabilities", task="multi_label").scores == "probabilities"
    # Told, it is taken at its word.
    assert opened(path, scores="logits").scores == "logits"


@pytest.mark.parametrize("how", [{}, {"task": "multi_label"}, {"scores": "probabilities"}])
@pytest.mark.parametrize("last", ["Sigmoid", "Softmax"])
def test_percentages_are_refused(tmp_path, last, how):
    path = graph(tmp_path / "net.onnx", (last,), outputs=("p",))
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.full(1, 100, np.float32), "hundred"))
    model.graph.node.append(node("Mul", "hundred p", "percent"))
    model.graph.output[0].name = "percent"
    onnx.save(model, path)
    refuses(SourceError, r"on another scale .*export it with probabilities in 0\.\.1", opened, path, **how)


def test_sorted_scores_are_refused(tmp_path):
    path = graph(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.array([2]), "two"))
    model.graph.node.append(node("TopK", "y two", "best which", axis=1))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("best", TensorProto.FLOAT, ["batch", 2]))
    onnx.save(model, path)
    refuses(SourceError, "TopK, sorted", opened, path, labels=["a", "b"])


def test_one_label_alone_is_refused_with_both_cures(tmp_path):
    path = graph(tmp_path / "net.onnx", classes=1)
    with pytest.raises(SourceError, match="--task multi_label for a detector, or --task regression"):
        opened(path, labels=["age"])


@pytest.mark.parametrize(
    ("shift", "scale", "task", "said"),
    [
        (35.0, 0.1, "single_label", ["hardly move", "never below 0"]),
        (20.0, 3.0, "multi_label", ["never below 0"]),
        (-20.0, 3.0, "multi_label", ["never above 0.*--scores log_probabilities"]),
    ],
)
def test_values_far_from_0_on_one_side_are_doubted(tmp_path, shift, scale, task, said):
    import re

    path = graph(tmp_path / "net.onnx", scale=scale)
    model = onnx.load(path)
    (bias,) = [one for one in model.graph.initializer if one.name == "bias"]
    moved = numpy_helper.to_array(bias) + np.float32(shift)
    bias.CopyFrom(numpy_helper.from_array(moved, "bias"))
    onnx.save(model, path)
    found = opened(path, task=task).doubts
    assert len(found) == len(said)
    assert all(re.search(one, text) for one, text in zip(said, found, strict=True))
    assert opened(path, task=task, scores="logits").doubts == ()


def test_good_graphs_raise_no_doubt(tmp_path):
    for last in ((), ("LogSoftmax",), (("Clip", {}),)):
        assert opened(graph(tmp_path / "net.onnx", last)).doubts == ()
    assert opened(graph(tmp_path / "net.onnx"), task="multi_label").doubts == ()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"name": "log_mel"}, "'log_mel'.*put the front end into the graph"),
        ({"dims": ("batch", "n_frames")}, "'n_frames'.*front end"),
        ({"scale": 3000.0}, "outputs reach .*regression"),
        ({"outputs": ("y", "embedding")}, r"taken from the output 'y', the others \(embedding\)"),
        ({"outputs": ("valence_arousal",)}, "'valence_arousal', as a regression's"),
        ({"outputs": ("predictedAge",)}, "'predictedAge', as a regression's"),
        ({"outputs": ("embeddings",)}, "'embeddings', as embeddings have"),
        ({"outputs": ("hidden-state",)}, "'hidden-state', as embeddings have"),
        ({"scale": 0.0}, "answers the same to different sounds"),
    ],
)
def test_what_looks_wrong_is_said(tmp_path, how, said):
    import re

    path = graph(tmp_path / "net.onnx", **how)
    found = opened(path).doubts
    assert len(found) == 1
    assert re.search(said, found[0])
    words = f"export {path} -o {tmp_path / 'b'} --labels a,b,c,d --sample-rate {RATE} --window 0.5".split()
    assert "softmax: one label holds" in invoke(*words, code=0, says=f"warning: {path}: ").stdout


def test_one_output_may_be_a_regression(tmp_path):
    path = graph(tmp_path / "net.onnx", classes=1)
    (said,) = opened(path, labels=["valence"], task="multi_label").doubts
    assert "regression" in said
    assert opened(path, labels=["valence"], task="multi_label", scores="logits").doubts == ()


@pytest.mark.parametrize(
    ("name", "samples", "why"),
    [
        ("x", 1024, "is short for sound: read as a waveform it is 1024 samples, 0.128 s at 8000 Hz"),
        ("x", 6373, "one matrix with all its 6373 values.*0.797 s.*say --window 0.796625.*--frontend"),
        ("mfcc_mean", 6373, "has the name of features: .* 6373 samples"),
    ],
)
def test_features_of_a_fixed_number_are_not_taken_for_sound(tmp_path, name, samples, why):
    random = np.random.default_rng(0)
    constants = {"w": random.standard_normal((samples, CLASSES)).astype(np.float32)}
    nodes = [node("MatMul", f"{name} w", "y")]
    shapes = {name: ["batch", samples]}, {"y": ["batch", CLASSES]}
    path = saved(tmp_path / "h.onnx", nodes, constants, *shapes)
    refuses(SourceError, f"{name!r}.*{why}", opened, path, window_seconds=None)
    # Told that it is sound, it is taken for that.
    assert opened(path, window_seconds=samples / RATE).window.seconds == samples / RATE


def test_scores_of_frames_that_happen_to_be_as_many_as_labels(tmp_path):
    """Four frames of a second, four labels."""
    constants = {
        "shape": np.array([0, 1, -1], np.int64),
        "kernel": np.ones((1, 1, 1000), np.float32),
        "flat": np.array([0, -1], np.int64),
    }
    nodes = [
        node("Reshape", "x shape", "wave"),
        node("Conv", "wave kernel", "frames", strides=[1000]),
        node("Reshape", "frames flat", "y"),
    ]
    shapes = {"x": ["batch", "samples"]}, {"y": ["batch", "count"]}
    path = saved(tmp_path / "frames.onnx", nodes, constants, *shapes)
    refuses(SourceError, r"\[1, 3\] and \[1, 4\] for sounds of unlike.*axis of labels", opened, path)


@pytest.mark.parametrize("kind", ["int32", "bool"])
def test_other_types_are_named(tmp_path, kind):
    code = {"int32": TensorProto.INT32, "bool": TensorProto.BOOL}[kind]
    path = graph(tmp_path / "net.onnx", (("Cast", {"to": code}),))
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = code
    onnx.save(model, path)
    refuses(SourceError, rf"y \[1, 4\] {kind}.*a floating type", opened, path)
