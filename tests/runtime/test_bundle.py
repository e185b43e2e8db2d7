"""A bundle from strangers: whatever is wrong with it, one clear line and no answer."""

import os
import shutil

import numpy as np
import onnx
import pytest
from changed_bundle import refused, rewrite, rewritten, sign
from onnx import TensorProto, helper

import earmark
from earmark.runtime.explainer import engine_of
from earmark.runtime.opening import open_bundle


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Nothing is remembered from another test, and nothing is left in the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stage(manifest, name):
    return next(one for one in manifest["stages"] if one["name"] == name)


def regrown(path, size):
    os.truncate(path, size or path.stat().st_size + 1)


def replaced_by_a_folder(path):
    path.unlink()
    path.mkdir()


def no_graph(bundle):
    (bundle / "decoder.onnx").write_bytes(b"MZ this is not ONNX" * 10)
    sign(bundle, "decoder.onnx")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, ("bundle",)),
        (lambda bundle: (bundle / "bundle.json").unlink(), ("bundle.json",)),
        (lambda bundle: rewrite(bundle, lambda m: m.update(schema_version=99, labels=7)), ("99", "upgrade")),
        (lambda bundle: regrown(bundle / "bundle.json", 200 << 20), ("larger",)),
        (lambda bundle: regrown(bundle / "decoder.onnx", None), ("decoder.onnx", "bytes")),
        (lambda bundle: replaced_by_a_folder(bundle / "golden.npz"), ("golden.npz",)),
        (no_graph, ("decoder.onnx", "ONNX")),
    ],
)
def test_what_is_damaged_is_named(bundle, damage, words):
    damage(bundle)
    refused(bundle, *words)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "\xff\xfe", '{"schema_version": "x"}', "[" * 100_000]
)
def test_manifest_that_is_none(bundle, text):
    (bundle / "bundle.json").write_bytes(text.encode("latin-1"))
    refused(bundle, "bundle.json")


def test_unknown_fields_are_ignored(bundle):
    rewrite(bundle, lambda m: m.update(of_the_future={"a": 1}))
    assert open_bundle(bundle).manifest.name == "tiny"


@pytest.mark.parametrize(
    "name", ["frontend.onnx", "classifier.onnx", "decoder.onnx", "golden.npz", "README.md"]
)
def test_missing_file(bundle, name):
    (bundle / name).unlink()
    refused(bundle, name, "missing")


def changed_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["frontend.onnx", "decoder.onnx", "golden.npz", "README.md"])
def test_one_changed_byte(bundle, name):
    changed_byte(bundle / name)
    refused(bundle, name, "hash")


@pytest.mark.parametrize(
    "name",
    [
        "../outside.onnx",
        "/etc/hostname",
        "a/../../outside.onnx",
        "..\\outside.onnx",
        "C:/outside.onnx",
        "",
        "x\0y",
    ],
)
def test_paths_that_leave_the_bundle(bundle, name):
    (bundle.parent / "outside.onnx").write_bytes((bundle / "decoder.onnx").read_bytes())

    with rewritten(bundle) as manifest:
        manifest["files"][name] = manifest["files"].pop("decoder.onnx")
        stage(manifest, "decoder")["file"] = name or "decoder.onnx"
    refused(bundle)


@pytest.mark.parametrize(
    ("name", "target", "word"),
    [
        ("decoder.onnx", "../outside", "link"),
        ("bundle.json", "../outside", "link"),
        ("golden.npz", "golden.npz", ""),
    ],
)
def test_links_that_leave_the_bundle_or_lead_nowhere(bundle, name, target, word):
    (bundle / name).rename(bundle.parent / "outside")
    (bundle / name).symlink_to(target)
    refused(bundle, name, word)


def test_a_linked_folder_that_leaves_the_bundle(bundle):
    outside = bundle.parent / "outside"
    outside.mkdir()
    (outside / "weights.bin").write_bytes(b"1234")
    (bundle / "sub").symlink_to(outside)
    (bundle / "inside.bin").write_bytes(b"1234")
    sign(bundle, "sub/weights.bin")
    refused(bundle, "weights.bin", "link")


def test_a_linked_bundle_is_a_bundle(bundle):
    alias = bundle.parent / "alias"
    alias.symlink_to(bundle)
    assert open_bundle(alias).manifest.name == "tiny"


def without(name):
    return lambda m: m.update(stages=[one for one in m["stages"] if one["name"] != name])


CONTRADICTIONS = {
    "a stage twice": lambda m: m["stages"].append(stage(m, "decoder")),
    "an unlisted file": lambda m: m["files"].pop("decoder.onnx"),
    "no classifier": without("classifier"),
    "no decoder": without("decoder"),
    "a label too many": lambda m: m["labels"].append("a fourth"),
    "a label twice": lambda m: m["labels"].__setitem__(1, m["labels"][0]),
    "gaps between windows": lambda m: m["window"].update(hop_seconds=2 * m["window"]["seconds"]),
    "a window per sample": lambda m: m["window"].update(hop_seconds=1e-6),
    "a window wider than its transform": lambda m: m["analysis"].update(window_length=2048),
    "an odd transform": lambda m: m["analysis"].update(n_fft=511),
    "an unknown tap": lambda m: stage(m, "decoder")["inputs"][0].update(name="of nobody"),
    "another output": lambda m: stage(m, "classifier")["outputs"][0].update(name="answers"),
    "an output twice": lambda m: stage(m, "classifier").update(
        outputs=[*stage(m, "classifier")["outputs"], stage(m, "classifier")["outputs"][-1]]
    ),
    "a negative size": lambda m: m["files"]["decoder.onnx"].update(size=-1),
    "no hash": lambda m: m["files"]["decoder.onnx"].update(sha256="0"),
    "a feature map of nobody": lambda m: m["feature_map"].update(tap="of nobody"),
}


@pytest.mark.parametrize("change", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_manifest_that_contradicts_itself(bundle, change):
    rewrite(bundle, change)
    refused(bundle, "bundle.json")


def test_dims_that_disagree_with_the_graph(bundle):
    with rewritten(bundle) as manifest:
        stage(manifest, "decoder")["outputs"][0]["dims"][-1] = 999
    refused(bundle, "decoder.onnx", "mask")


def test_rank_and_type_that_disagree_with_the_graph(bundle):
    rewrite(bundle, lambda m: stage(m, "frontend")["inputs"][0]["dims"].append("more"))
    refused(bundle, "frontend.onnx", "waveform")
    rewrite(bundle, lambda m: stage(m, "frontend")["inputs"][0]["dims"].pop())
    rewrite(bundle, lambda m: stage(m, "frontend")["inputs"][0].update(dtype="int64"))
    refused(bundle, "frontend.onnx", "waveform")


def external(
    bundle, *, location="decoder.onnx.data", offset="0", length=None, dims=(4, 4), held=64, where="graph"
):
    """Add an external weight to the decoder; every hash and size is true."""
    path = bundle / "decoder.onnx"
    model = onnx.load(str(path))
    weight = TensorProto(name="weight_outside", data_type=TensorProto.FLOAT, dims=dims)
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            weight.external_data.add(key=key, value=value)
    if where == "graph":
        model.graph.initializer.append(weight)
    elif where == "attribute":
        model.graph.node.append(helper.make_node("Constant", [], ["constant_outside"], value=weight))
    elif where == "subgraph":
        inner = helper.make_graph([], "inner", [], [], initializer=[weight])
        node = helper.make_node("If", ["x"], [], then_branch=inner, else_branch=inner)
        model.graph.node.append(node)
    elif where == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(weight)
    elif where == "function":
        function = model.functions.add(name="f", domain="local")
        function.node.append(helper.make_node("Constant", [], ["c"], value=weight))
    path.write_bytes(model.SerializeToString())
    (bundle / "decoder.onnx.data").write_bytes(bytes(held))
    rewrite(bundle, lambda m: stage(m, "decoder").update(data=["decoder.onnx.data"]))
    sign(bundle, "decoder.onnx", "decoder.onnx.data")


def test_an_external_weight_within_its_file_is_fine(bundle):
    external(bundle, length="64")
    assert open_bundle(bundle).manifest.stage("decoder").data == ["decoder.onnx.data"]


@pytest.mark.parametrize("where", ["graph", "attribute", "subgraph", "sparse", "function"])
def test_a_tensor_larger_than_its_file(bundle, where):
    external(bundle, length="64", held=60, where=where)
    refused(bundle, "decoder.onnx", "weight_outside")


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": "8", "length": "64"},
        {"offset": "-4", "length": "64"},
        {"offset": "x", "length": "64"},
        {"length": "32"},
        {"length": "-64"},
        {"length": str(1 << 70)},
        {"dims": (1 << 40, 1 << 40), "length": "64"},
        {"dims": (-4, -4), "length": "64"},
        {"dims": (1000, 1000)},
        {"location": "../outside.bin", "length": "64"},
        {"location": "/etc/passwd", "length": "64"},
        {"location": "README.md", "length": "64"},
        {"location": "", "length": "64"},
    ],
)
def test_a_weight_that_claims_what_is_not_there(bundle, wrong):
    (bundle.parent / "outside.bin").write_bytes(bytes(64))
    external(bundle, **wrong)
    refused(bundle, "decoder.onnx", "weight_outside")


def test_an_operator_that_opens_files_is_refused(bundle):
    path = bundle / "decoder.onnx"
    model = onnx.load(str(path))
    node = helper.make_node(
        "EPContext", [], ["e"], domain="com.microsoft", embed_mode=0, ep_cache_context="/etc/passwd"
    )
    model.graph.node.append(node)
    path.write_bytes(model.SerializeToString())
    sign(bundle, "decoder.onnx")
    refused(bundle, "decoder.onnx", "EPContext")


def test_hashes_are_remembered_by_manifest_and_place_and_a_touched_file_is_examined_again(bundle, own_cache):
    open_bundle(bundle)
    assert len(list(own_cache.rglob("*.json"))) == 1
    open_bundle(shutil.copytree(bundle, bundle.parent / "other"))
    assert len(list(own_cache.rglob("*.json"))) == 2
    path = bundle / "decoder.onnx"
    status = path.stat()
    changed_byte(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    refused(bundle, "decoder.onnx", "hash")


@pytest.mark.parametrize("damage", ["not json", "[1, 2", "\xff", "{}", '{"decoder.onnx": "x"}'])
def test_a_damaged_note_only_costs_another_look(bundle, own_cache, damage):
    open_bundle(bundle)
    (note,) = own_cache.rglob("*.json")
    note.write_bytes(damage.encode("latin-1"))
    assert open_bundle(bundle).manifest.name == "tiny"


def test_a_cache_that_cannot_be_written_only_costs_time(bundle, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert open_bundle(bundle).manifest.name == "tiny"


def test_an_open_bundle_outlives_a_newer_manifest(bundle):
    explainer = earmark.load(bundle, "cpu")
    rewrite(bundle, lambda m: m.update(name="newer"))
    assert explainer.explain((np.zeros(8000, np.float32), 16000), methods=[]).predictions
    assert engine_of(explainer).manifest.name == "tiny"
