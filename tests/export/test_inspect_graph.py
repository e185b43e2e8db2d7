"""`earmark inspect model.onnx`, and models in other formats: each is told what leads on."""

import json
import re
import zipfile

import msgspec
import numpy as np
import onnx
import pytest
from command_line import invoke
from onnx import TensorProto, helper
from onnx_graphs import LABELS, RATE, cnn, transformer
from saved_graph import node, saved
from small_graphs import F32, ROW, body, head, mean, row, save

from earmark.errors import SourceError
from earmark.export import export_bundle
from earmark.runtime.opening import open_bundle


def inspected(path, *options):
    return invoke("inspect", path, *options, code=0).stdout


def multi_label(path):
    nodes = [
        node("Reshape", "audio row", "wave"),
        *body(),
        node("GlobalAveragePool", "active", "column"),
        node("Flatten", "column", "pooled"),
        node("ReduceSum", "h", "state", keepdims=0),
        *head(output="raw"),
        node("Add", "raw state", "moved"),
        node("Sigmoid", "moved", "probabilities"),
        node("Identity", "pooled", "embedding"),
        node("Identity", "h", "hn"),
    ]
    return save(
        path,
        nodes,
        {"sr": (TensorProto.INT64, []), "h": (F32, [1, 1, 8]), "audio": (F32, ["b", "n"])},
        {"embedding": ["b", 4], "hn": [1, 1, 8], "probabilities": ["b", 3]},
        [ROW],
    )


def test_the_command_it_gives_is_one_that_works(tmp_path):
    path = multi_label(tmp_path / "net.onnx")
    report = json.loads(inspected(path, "--json"))
    assert {one["name"]: one["meaning"] for one in report["inputs"]} == {
        "sr": "filled in: HZ, the sample rate",
        "h": "a recurrent state (carry in place of zeros hands it from window to window)",
        "audio": "the sound, any length",
    }
    assert {one["name"]: one["meaning"] for one in report["outputs"]} == {
        "embedding": "an embedding",
        "hn": "not used",
        "probabilities": "the scores, 3 labels",
    }
    assert report["ends_in"][0] == "Sigmoid"
    assert report["head"] == [4, 3]
    assert report["maps"] == [
        {"tensor": "active", "dims": ["b", 4, report["maps"][0]["dims"][2]], "axes": "ct", "tokens": ""},
        {"tensor": "embedding", "dims": ["b", 4], "axes": "c", "tokens": ""},
    ]
    assert "--feature-map active --map-axes ct" in inspected(path)
    words = report["command"].replace("LABELS.txt", "a,b,c").replace("HZ", "8000").replace("SECONDS", "0.5")
    bundle = tmp_path / "bundle"
    result = invoke(*words.replace("BUNDLE", str(bundle)).split()[1:], code=0)
    assert f"next     earmark index {bundle} DATA: prototypes" in result.stdout
    assert f"next     earmark explain CLIP -b {bundle} -m segments" in result.stdout
    shown = inspected(bundle)
    assert f"next         earmark index {bundle} DATA: prototypes" in shown


def test_the_shipped_bundle_lacks_nothing():
    from earmark.commands.next_steps import next_steps
    from earmark.runtime.explainer import bundle_path

    manifest = open_bundle(bundle_path(None)).manifest
    assert next_steps(manifest, None) == []
    # A feature map is named for graphs alone; others bring theirs.
    bare = msgspec.structs.replace(manifest, feature_map=None, prototypes=None)
    assert next_steps(bare, None) == []
    graph = msgspec.structs.replace(bare, versions={"onnx": "1"})
    assert [step.split(" -o ")[0] for step in next_steps(graph, None)] == ["earmark export model.onnx"]


@pytest.mark.parametrize(
    ("dims", "last", "words"),
    [
        (["b", 64, "t"], "Softmax", "--frontend NAME"),
        (["b", 4000], "Softmax", "--scores probabilities"),
        (["b", "n"], "LogSoftmax", "--window SECONDS --scores log_probabilities"),
    ],
)
def test_what_a_graph_needs(tmp_path, dims, last, words):
    nodes = [
        node("Flatten", "x", "flat"),
        node("ReduceMean", "flat", "one", axes=[1], keepdims=1),
        node("Mul", "one bias", "raw"),
        node(last, "raw", "y"),
    ]
    path = save(tmp_path / "net.onnx", nodes, {"x": (F32, dims)}, {"y": ["b", 3]})
    assert words in json.loads(inspected(path, "--json"))["command"]


def test_training_is_proposed_where_the_operators_allow_it(tmp_path):
    path = cnn(tmp_path / "net.onnx")
    report = json.loads(inspected(path, "--json"))
    told = "--labels LABELS.txt --sample-rate HZ --window SECONDS"
    assert report["training"] == [
        f"earmark train lmac {path} DATA -o RUN {told}",
        f"earmark train l2i {path} DATA -o RUN {told}",
        f"earmark export {path} -o BUNDLE {told} --decoder RUN --interpreter RUN",
    ]
    assert f"masks        earmark train lmac {path}" in inspected(path)
    # What the scores do not need does not count; what they need is named.
    model = onnx.load(path)
    model.graph.node.append(node("Hardmax", "scores", "hard"))
    model.graph.output.append(helper.make_tensor_value_info("hard", TensorProto.FLOAT, ["batch", 3]))
    onnx.save(model, path)
    assert json.loads(inspected(path, "--json"))["training"]
    stranger = cnn(tmp_path / "strange.onnx", last="Hardmax")
    report = json.loads(inspected(stranger, "--json"))
    assert report["training"] == []
    assert any(
        "not over this graph: training cannot differentiate through Hardmax" in one
        for one in report["explanations"]
    )
    told = "--labels a,b,c --sample-rate 8000 --window 0.5 --scores-output scores"
    for one, proposed in ((stranger, False), (path, True)):
        words = f"export {one} -o {tmp_path / one.stem} {told}".split()
        done = invoke(*words, code=0)
        assert (
            f"earmark train lmac {one} DATA -o RUN --labels a,b,c --sample-rate 8000" in done.stdout
        ) == proposed


@pytest.mark.parametrize(("axes", "order"), [([1, 2], "tfc"), ([2, 3], "ctf")])
def test_channels_are_what_is_not_pooled(tmp_path, axes, order):
    """As TensorFlow's converter leaves maps: channels last."""
    nodes = [
        node("Conv", "x kernel", "map"),
        node("ReduceMean", "map", "pooled", axes=axes, keepdims=0),
        node("MatMul", "pooled matrix", "y"),
    ]
    weights = {"kernel": np.ones((6, 1, 1, 1), np.float32), "matrix": np.ones((6, 3), np.float32)}
    path = saved(tmp_path / "net.onnx", nodes, weights, {"x": ["b", 1, 6, 6]}, {"y": ["b", 3]})
    (found,) = json.loads(inspected(path, "--json"))["maps"]
    assert (found["tensor"], found["axes"]) == ("map", order)


@pytest.mark.parametrize(("read", "tensor"), [("all", "last_tokens"), ("class", "normal")])
def test_tokens_are_named_that_the_scores_read(tmp_path, read, tensor):
    """Where a class token alone is read of the last tokens: those that the last attention reads."""
    from earmark.export.sources.onnx.feature_map import MapRequest
    from earmark.export.sources.onnx.file import load
    from earmark.export.sources.token_grid import TokenGrid

    path = transformer(tmp_path / "ast.onnx", read=read)
    (candidate,) = json.loads(inspected(path, "--json"))["maps"]
    assert candidate == {"tensor": tensor, "dims": [1, 101, 12], "axes": "nc", "tokens": "4,frequency,1"}
    edges = [0, 500, 1000, 2000, 4000]

    def doubts(name):
        request = MapRequest(name, "nc", edges, TokenGrid(4, "frequency", 1))
        source = load(path, labels=LABELS, sample_rate=RATE, scores="logits", feature_map=request)
        return [one for one in source.doubts if "do not depend" in one]

    assert not doubts(tensor)
    assert len(doubts("last_tokens")) == (read == "class")


def test_scores_behind_a_branch_are_seen(tmp_path):
    """As a voice activity detector for two sample rates ends: in the mean of sigmoids within If."""

    def branch(name):
        nodes = [
            node("Sigmoid", "raw", f"{name}_p"),
            node("ReduceMean", f"{name}_p", name, axes=[1], keepdims=1),
        ]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, F32, ["b", 1])])

    nodes = [
        node("Mul", "x bias", "raw"),
        node("Equal", "sr sr", "same"),
        node("If", "same", "y", then_branch=branch("one"), else_branch=branch("other")),
    ]
    inputs = {"x": (F32, ["b", "n"]), "sr": (TensorProto.INT64, [])}
    path = save(tmp_path / "net.onnx", nodes, inputs, {"y": ["b", 1]})
    report = json.loads(inspected(path, "--json"))
    assert report["ends_in"][:2] == ["ReduceMean", "Sigmoid"]
    assert "--task multi_label --scores probabilities" in report["command"]


def test_names_are_quoted_for_a_shell(tmp_path):
    """As TensorFlow's converter leaves them."""
    nodes = [
        helper.make_node("Flatten", ["wave;in:0"], ["flat"]),
        node("ReduceMean", "flat", "one", axes=[1], keepdims=1),
        helper.make_node("Mul", ["one", "bias"], ["call;y:0"]),
        node("Neg", "one", "other"),
    ]
    path = save(
        tmp_path / "net.onnx",
        nodes,
        {"wave;in:0": (F32, ["b", 4000])},
        {"call;y:0": ["b", 3], "other": ["b", 1]},
    )
    assert "--scores-output 'call;y:0'" in json.loads(inspected(path, "--json"))["command"]


def test_scores_of_frames_are_seen(tmp_path):
    nodes = [row(), *body(), *head("frames", "y")]
    path = save(tmp_path / "net.onnx", nodes, {"x": (F32, ["b", "n"])}, {"y": ["b", "t", 3]}, [ROW])
    assert "--reduce max" in json.loads(inspected(path, "--json"))["command"]


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("net.tflite", "python -m tf2onnx.convert --tflite .*net.tflite .*--saved-model DIR"),
        ("net.pb", "--graphdef"),
        ("net.h5", "tf2onnx.convert --keras"),
        ("net.keras", "format='onnx'"),
        ("net.pt", "module:factory.*torch.onnx.export"),
        ("net.safetensors", "module:factory"),
        ("net.ort", "the .onnx file that it was made from"),
        ("net.mlpackage", "Core ML"),
    ],
)
def test_other_formats_are_told_the_way(tmp_path, name, way):
    (tmp_path / name).write_bytes(b"TFL3")
    with pytest.raises(SourceError, match=way):
        export_bundle(tmp_path / name, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_torchscript_and_a_saved_model_are_told_the_way(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/code/__torch__.py", "")
    with pytest.raises(SourceError, match=r"TorchScript.*torch\.onnx\.export\(torch\.jit\.load"):
        export_bundle(tmp_path / "net.pt", tmp_path / "bundle")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"")
    (tmp_path / "net.mlpackage").mkdir()
    for name, way in (("model", "tf2onnx.convert --saved-model"), ("net.mlpackage", "Core ML")):
        with pytest.raises(SourceError, match=re.escape(way)):
            export_bundle(tmp_path / name, tmp_path / "bundle")
        assert way in " ".join(invoke("inspect", tmp_path / name, code=2).output.split())
    result = invoke("export", tmp_path / "net.pt", "-o", tmp_path / "bundle", "--labels", "a,b")
    assert result.exit_code != 0
    assert "TorchScript" in result.output


def test_hop_and_aggregate_of_any_source(tmp_path):
    nodes = [row(), *body(), *mean(), *head()]
    path = save(tmp_path / "net.onnx", nodes, {"x": (F32, ["b", "n"])}, {"y": ["b", 3]}, [ROW])
    words = (
        "export",
        path,
        "-o",
        tmp_path / "b",
        "--labels",
        "a,b,c",
        "--sample-rate",
        8000,
        "--window",
        0.5,
    )
    words += ("--aggregate", "lme", "--force", "--json", "--hop")
    window = json.loads(invoke(*words, 0.125, code=0).stdout)["window"]
    assert (window["hop_seconds"], window["aggregate"]) == (0.125, "lme")
    invoke(*words, 0.75, code=1, says="a hop of 0.75 s; give one up to its window's 0.5 s")


def test_scores_of_a_head_of_convolutions(tmp_path):
    """[B, K, 1, 1], as networks without a matrix at their end give them."""
    path = save(
        tmp_path / "net.onnx",
        [
            node("Unsqueeze", "audio one", "rows"),
            node("Conv", "rows kernel", "maps", strides=[8]),
            node("GlobalAveragePool", "maps", "pooled"),
            node("Unsqueeze", "pooled last", "logits"),
        ],
        {"audio": (F32, ["b", "n"])},
        {"logits": ["b", 3, 1, 1]},
        [("one", np.array([1])), ("last", np.array([3])), ("kernel", np.ones((3, 1, 16), np.float32))],
    )
    (scores,) = json.loads(inspected(path, "--json"))["outputs"]
    assert scores["meaning"] == "the scores, 3 labels"
