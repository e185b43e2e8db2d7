"""The shipped bundle in a stranger's hands, every hash made true again: one clear line, and no answer."""

import json
import os
import socket
import time

import numpy as np
import onnx
import pytest
import strange_bundle
from changed_bundle import edited, refused, rewrite, rewritten, sign
from command_line import invoke
from onnx import TensorProto, helper, numpy_helper
from strange_bundle import EMBEDDINGS, GENERATION, RATE, SOUND, edit_graph, explain, sign_graph

import earmark
from earmark import limits
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.methods.prototypes.generation import open_generation
from earmark.runtime.opening import open_bundle
from earmark.runtime.verify import verify

pytestmark = pytest.mark.timeout(60)
bundle, cache = strange_bundle.bundle, strange_bundle.cache


# Every file that is opened is listed, regular and inside


def test_no_file_is_opened_that_is_not_listed(bundle):
    manifest = json.loads((bundle / "bundle.json").read_text())
    # The card is for people, and what verify alone looks up is not there in bundles exported before.
    unopened = ("README.md", "golden.json")
    names = [one for one in manifest["files"] if one.startswith(GENERATION) and not one.endswith(unopened)]
    sounds = [name for name in names if name.endswith(".flac")]
    opened = [name for name in names if name not in sounds]
    for name in opened + sounds[:1]:
        rest = {other: facts for other, facts in manifest["files"].items() if other != name}
        (bundle / "bundle.json").write_text(json.dumps({**manifest, "files": rest}))
        refused(bundle, name)
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    open_bundle(bundle)


def test_an_unlisted_sound_is_not_played_though_rows_were_not_examined(bundle):
    with rewritten(bundle) as manifest:
        kept = {name: one for name, one in manifest["files"].items() if not name.endswith(".flac")}
        manifest["files"] = kept
    explainer = earmark.Explainer(open_bundle(bundle, examine=False), "cpu")
    with pytest.raises(earmark.PrototypeIndexError, match=r"lists no file .*\.flac"):
        dict(explainer.explain((SOUND, RATE)).prototypes)


@pytest.mark.parametrize(
    "name",
    ["bundle.json", "golden.npz", "classifier.onnx"]
    + [f"{GENERATION}/{name}" for name in ("index_info.json", "clips.jsonl", "time.tops.npy", "time.faiss")],
)
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(bundle, name, kind, monkeypatch):
    path = bundle / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        monkeypatch.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    began = time.monotonic()
    refused(bundle, name)
    refused(bundle, "g0001" if name.startswith(GENERATION) else name, at=lambda path: verify(path, "cpu"))
    if name.startswith(GENERATION):
        manifest = open_bundle(SHIPPED).manifest
        refused(bundle, name, at=lambda path: open_generation(path, manifest))
    assert time.monotonic() - began < 10


def test_a_link_within_the_bundle_is_no_file(bundle):
    (bundle / "decoder.onnx").rename(bundle / "other.onnx")
    (bundle / "decoder.onnx").symlink_to("other.onnx")
    refused(bundle, "decoder.onnx", "link")


# Every graph that is run is looked into


def outside(location, *more):
    def change(model):
        weight = TensorProto(name="outside", data_type=TensorProto.FLOAT, dims=(4,))
        weight.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "16"), *more):
            weight.external_data.add(key=key, value=value)
        model.graph.initializer.append(weight)

    return change


def without_output(name):
    def change(model):
        kept = [output for output in model.graph.output if output.name != name]
        del model.graph.output[:]
        model.graph.output.extend(kept)

    return change


def custom(model):
    model.graph.node.append(helper.make_node("Anything", [], ["anything"], domain="of.nobody"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (outside("/etc/hostname"), ("outside", "/etc/hostname")),
        (outside("../../golden.npz"), ("outside", "golden.npz")),
        (outside("clips.npy"), ("outside", "clips.npy")),
        (outside("*/_ORT_MEM_ADDR_/*"), ("outside", "_ORT_MEM_ADDR_")),
        (without_output("bias"), ("outputs", "bias")),
        (without_output("time"), ("outputs", "time")),
        (custom, ("custom operator", "of.nobody")),
    ],
)
def test_the_prototypes_graph_is_looked_into_as_stages_are(bundle, change, words):
    edit_graph(bundle, EMBEDDINGS, change)
    refused(bundle, EMBEDDINGS, *words)
    refused(bundle, EMBEDDINGS, *words, at=lambda path: verify(path, "cpu"))


def test_a_prototypes_graph_of_random_bytes(bundle):
    (bundle / EMBEDDINGS).write_bytes(np.random.default_rng(0).bytes(3000))
    sign_graph(bundle, EMBEDDINGS)
    refused(bundle, EMBEDDINGS, "not an ONNX graph")


def test_addresses_in_memory_are_no_files(bundle):
    """onnxruntime takes this location for an address; a file of that name may be listed."""
    name = "*/_ORT_MEM_ADDR_/*"
    (bundle / "*" / "_ORT_MEM_ADDR_").mkdir(parents=True)
    (bundle / name).write_bytes(bytes(64))
    edit_graph(bundle, "decoder.onnx", outside(name))

    with rewritten(bundle) as manifest:
        manifest["stages"][2]["data"] = [name]
    sign(bundle, name)
    refused(bundle, "_ORT_MEM_ADDR_", "not allowed")


def test_weights_packed_for_a_processor_are_refused(bundle):
    (bundle / "more.bin").write_bytes(bytes(64))
    edit_graph(bundle, "decoder.onnx", outside("more.bin", ("prepacked_0", "MatMul+1|0;16;x|")))
    rewrite(bundle, lambda manifest: manifest["stages"][2].update(data=["more.bin"]))
    sign(bundle, "more.bin")
    refused(bundle, "decoder.onnx", "prepacked_0")


@pytest.mark.parametrize("name", ["decoder.ort", "decoder.textproto", "decoder.json", "decoder"])
def test_a_stage_is_a_file_onnx(bundle, name):
    (bundle / "decoder.onnx").rename(bundle / name)
    rewrite(bundle, lambda manifest: manifest["stages"][2].update(file=name))
    sign(bundle, name)
    refused(bundle, name, ".onnx")


def constant(name, value):
    """Give the graph's output `name` another value: times 0, plus `value`."""

    def change(model):
        for node in model.graph.node:
            node.output[:] = [f"{name}_before" if output == name else output for output in node.output]
            node.input[:] = [f"{name}_before" if used == name else used for used in node.input]
        for one in model.graph.initializer:
            if one.name == name:
                one.name = f"{name}_before"
        zero = numpy_helper.from_array(np.float32(0.0).reshape(()), f"{name}_zero")
        other = numpy_helper.from_array(np.float32(value).reshape(()), f"{name}_other")
        model.graph.initializer.extend([zero, other])
        model.graph.node.append(helper.make_node("Mul", [f"{name}_before", zero.name], [f"{name}_none"]))
        model.graph.node.append(helper.make_node("Add", [f"{name}_none", other.name], [name]))

    return change


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("graph", "output"),
    [("frontend.onnx", "stft"), ("classifier.onnx", "logits"), ("decoder.onnx", "mask")]
    + [(EMBEDDINGS, name) for name in ("square", "time", "contributions", "bias")],
)
def test_no_number_that_is_not_finite_is_shown(bundle, graph, output, value):
    edit_graph(bundle, graph, constant(output, value))
    refused(bundle, graph.rpartition("/")[2], output, "not finite", at=explain)
    refused(bundle, graph.rpartition("/")[2], output, "not finite", at=lambda path: verify(path, "cpu"))


@pytest.mark.parametrize("value", [-0.43, 1.5, 1e30])
def test_a_mask_outside_0_and_1_is_an_error(bundle, value):
    edit_graph(bundle, "decoder.onnx", constant("mask", value))
    refused(bundle, "decoder.onnx", f"{value:.3g}", at=explain)
    assert "%" not in invoke("explain", SHIPPED.parent / "example.flac", "-b", bundle, code=1).stdout


def test_what_rounding_leaves_beyond_1_is_clipped(bundle):
    edit_graph(bundle, "decoder.onnx", constant("mask", 1.00005))
    assert np.array_equal(np.unique(explain(bundle, methods=["mask"]).mask.values), [1.0])


def test_a_mask_of_other_frames_is_refused_by_verify_too(bundle):
    def cut(model):
        last = next(node for node in model.graph.node if "mask" in node.output)
        last.output[list(last.output).index("mask")] = "whole"
        cuts = [
            onnx.numpy_helper.from_array(np.array([value], np.int64), name)
            for name, value in (("starts", 0), ("ends", 3), ("axes", 1))
        ]
        model.graph.initializer.extend(cuts)
        model.graph.node.append(onnx.helper.make_node("Slice", ["whole", "starts", "ends", "axes"], ["mask"]))

    edit_graph(bundle, "decoder.onnx", cut)
    refused(bundle, "decoder.onnx", at=lambda path: verify(path, "cpu"))


def test_a_head_whose_contributions_overflow_is_refused(bundle):
    def enlarge(model):
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2:
                large = np.full(tuple(tensor.dims), 3e38, np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(large, tensor.name))

    edit_graph(bundle, EMBEDDINGS, enlarge)
    refused(bundle, "embeddings.onnx", "not finite", at=explain)


def test_channels_that_do_not_add_up_differ(bundle):
    edit_graph(bundle, EMBEDDINGS, constant("bias", 3.0))
    failed = [check.output for check in verify(bundle, "cpu")[1] if not check.passed]
    assert failed == ["channels_0", "channels_1"]


# verify refuses what explain refuses


def test_verify_decodes_every_sound(bundle):
    sound = sorted((bundle / GENERATION / "audio").iterdir())[-1]
    content = bytearray(sound.read_bytes())
    content[:4] = b"none"
    sound.unlink()
    sound.write_bytes(content)
    sign(bundle, f"{GENERATION}/audio/{sound.name}")
    refused(bundle, sound.name, "is not a sound that can be read", at=lambda path: verify(path, "cpu"))


def test_labels_in_another_order_are_not_the_clips(bundle):
    with edited(bundle / GENERATION / "index_info.json") as info:
        info["labels"] = info["labels"][::-1]
    sign(bundle, f"{GENERATION}/index_info.json")
    refused(bundle, "clips.jsonl", "bell", "woodblock")
    refused(bundle, "clips.jsonl", at=lambda path: verify(path, "cpu"))


def test_what_verify_found_wrong_the_next_command_refuses(bundle, cache):
    open_bundle(bundle)
    path = bundle / "decoder.onnx"
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    open_bundle(bundle)
    refused(bundle, "decoder.onnx", "hash", at=lambda path: verify(path, "cpu"))
    assert not list(cache.iterdir())
    refused(bundle, "decoder.onnx", "hash", at=explain)


def test_records_are_one_a_bundle_small_and_not_too_many(bundle, cache):
    cache.mkdir(parents=True)
    for number in range(limits.EXAMINED_RECORDS + 50):
        (cache / f"{number}.json").write_text("{}")
        os.utime(cache / f"{number}.json", (number, number))
    for number in range(50):
        (cache / f"large {number}.json").write_bytes(bytes(100_000))
        os.utime(cache / f"large {number}.json", (0, 0))
    for name in ("one", "another"):
        rewrite(bundle, lambda manifest, name=name: manifest.update(name=name))
        open_bundle(bundle)
    records = sorted(cache.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert len(records) == limits.EXAMINED_RECORDS
    assert sum(path.stat().st_size for path in records) < limits.EXAMINED_BYTES
    assert records[-1].stat().st_size < 200
    assert records[-2].name == f"{limits.EXAMINED_RECORDS + 49}.json"
