"""The shipped bundle in a stranger's hands, every hash made true again: one clear line, and no answer."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import time

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

import earmark
from earmark import limits
from earmark.cli import main
from earmark.runtime.bundle.open import read_manifest
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.methods.prototypes.generation import model_hash, open_generation
from earmark.runtime.opening import open_bundle
from earmark.runtime.verify import verify

GENERATION = "prototypes/g0001"
EMBEDDINGS = f"{GENERATION}/embeddings.onnx"
RATE = 16000
SOUND = (0.5 * np.sin(np.arange(RATE) * 0.3)).astype(np.float32)
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "earmark" / "examined"


@pytest.fixture
def bundle(tmp_path):
    # Sounds are seldom changed, and never in place.
    shutil.copytree(SHIPPED, tmp_path / "bundle", ignore=shutil.ignore_patterns("audio"))
    shutil.copytree(
        SHIPPED / GENERATION / "audio", tmp_path / "bundle" / GENERATION / "audio", copy_function=link
    )
    return tmp_path / "bundle"


def link(source, target):
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def rewrite(bundle, change):
    manifest = json.loads((bundle / "bundle.json").read_text())
    change(manifest)
    (bundle / "bundle.json").write_text(json.dumps(manifest))


def sign(bundle, *names):
    def change(manifest):
        for name in names:
            content = (bundle / name).read_bytes()
            manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}

    rewrite(bundle, change)


def edit_graph(bundle, name, change):
    model = onnx.load(bundle / name, load_external_data=False)
    change(model)
    (bundle / name).write_bytes(model.SerializeToString())
    sign_graph(bundle, name)


def sign_graph(bundle, name):
    """Make hashes true again, those by which the prototypes know their graph and their model too."""
    sign(bundle, name)
    path = bundle / GENERATION / "index_info.json"
    info = json.loads(path.read_text())
    info["embeddings_sha256"] = hashlib.sha256((bundle / EMBEDDINGS).read_bytes()).hexdigest()
    info["model_sha256"] = model_hash(read_manifest(bundle))
    path.write_text(json.dumps(info))
    sign(bundle, f"{GENERATION}/index_info.json")


def edit_table(bundle, name, change):
    table = np.load(bundle / GENERATION / name).copy()
    change(table)
    np.save(bundle / GENERATION / name, table)
    sign(bundle, f"{GENERATION}/{name}")


def refused(bundle, *words, at=open_bundle):
    with pytest.raises(earmark.BundleError) as caught:
        at(bundle)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 2000
    for word in words:
        assert word in message, message


def explain(bundle, **options):
    return earmark.load(bundle, "cpu").explain((SOUND, RATE), **options)


def files(bundle):
    return json.loads((bundle / "bundle.json").read_text())["files"]


# Every file that is opened is listed, regular and inside


def test_no_file_is_opened_that_is_not_listed(bundle):
    manifest = json.loads((bundle / "bundle.json").read_text())
    # The card is for people: nothing opens it.
    names = [one for one in manifest["files"] if one.startswith(GENERATION) and not one.endswith("README.md")]
    sounds = [name for name in names if name.endswith(".flac")]
    # The card is for people, nothing opens it.
    opened = [name for name in names if name not in sounds and not name.endswith("README.md")]
    for name in opened + sounds[:1]:
        rest = {other: facts for other, facts in manifest["files"].items() if other != name}
        (bundle / "bundle.json").write_text(json.dumps({**manifest, "files": rest}))
        refused(bundle, name)
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    open_bundle(bundle)


def test_an_unlisted_sound_is_not_played_though_rows_were_not_examined(bundle):
    def unlist(manifest):
        kept = {name: one for name, one in manifest["files"].items() if not name.endswith(".flac")}
        manifest["files"] = kept

    rewrite(bundle, unlist)
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

    def change(manifest):
        manifest["stages"][2]["data"] = [name]

    rewrite(bundle, change)
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
    told = CliRunner().invoke(main, ["explain", str(SHIPPED.parent / "example.flac"), "-b", str(bundle)])
    assert told.exit_code == 1
    assert "%" not in told.stdout


def test_what_rounding_leaves_beyond_1_is_clipped(bundle):
    edit_graph(bundle, "decoder.onnx", constant("mask", 1.00005))
    assert np.array_equal(np.unique(explain(bundle, methods=["mask"]).mask.values), [1.0])


def test_channels_that_do_not_add_up_differ(bundle):
    edit_graph(bundle, EMBEDDINGS, constant("bias", 3.0))
    failed = [check.output for check in verify(bundle, "cpu")[1] if not check.passed]
    assert failed == ["channels_0", "channels_1", "channels_2"]


# verify refuses what explain refuses


def test_verify_decodes_every_sound(bundle):
    sound = sorted((bundle / GENERATION / "audio").iterdir())[-1]
    content = bytearray(sound.read_bytes())
    content[:4] = b"none"
    sound.unlink()
    sound.write_bytes(content)
    sign(bundle, f"{GENERATION}/audio/{sound.name}")
    refused(bundle, sound.name, "no sound", at=lambda path: verify(path, "cpu"))


def test_labels_in_another_order_are_not_the_clips(bundle):
    path = bundle / GENERATION / "index_info.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps({**info, "labels": info["labels"][::-1]}))
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


# Numbers are checked before they are used


def window(**changes):
    return lambda manifest: manifest["window"].update(changes)


def analysis(**changes):
    return lambda manifest: manifest["analysis"].update(changes)


def feature_map(**changes):
    return lambda manifest: manifest["feature_map"].update(changes)


def prototypes(**changes):
    return lambda manifest: manifest["prototypes"].update(changes)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda m: (m.update(sample_rate=768000), window(seconds=3600.0)(m)), "3600 s at 768000 Hz"),
        (lambda m: (analysis(hop=1)(m), window(hop_seconds=0.001)(m), window(seconds=60.0)(m)), "cells"),
        (lambda m: (window(seconds=60.0)(m), window(hop_seconds=0.05)(m)), "overlap"),
        (lambda m: m.update(labels=[str(number) for number in range(limits.LABELS + 1)]), "labels"),
        (feature_map(channels=limits.CHANNELS + 1), "larger than earmark takes"),
        (feature_map(channels=65), "map4"),
        (feature_map(bands_hz=[]), "no row"),
        (feature_map(bands_hz=[[384.0, 18.0]] * 6), "384 to 18 Hz"),
        (feature_map(bands_hz=[[0.0, 100.0]] * 5), "map4"),
        (feature_map(bands_hz=[[0.0, 1e300]] * 6), "1e+300"),
        (feature_map(bands_hz=[["a", 1.0]] * 6), "bands_hz"),
        (feature_map(bands_hz=7), "bands_hz"),
        (feature_map(tap=7), "tap"),
        (feature_map(tap=["map4"]), "tap"),
        (feature_map(attention="of nobody"), "of nobody"),
        (lambda m: m.pop("feature_map"), "without a feature map"),
        (prototypes(clips=-1), "clips"),
        (prototypes(removed=64), "removed"),
        (prototypes(views=[]), "view"),
        (prototypes(views=["time", "time"]), "view"),
        (prototypes(entries={"square": 1 << 70}), "entries"),
        (lambda m: m.update(parity=3), "parity"),
        (lambda m: m.update(parity={"fp32": 3}), "parity"),
        (lambda m: m.update(parity={"fp32": {"logits": "small"}}), "parity"),
        (lambda m: m.update(parity={"fp32": {"logits": {"limit": "small"}}}), "parity"),
        (lambda m: m.update(evaluation={"a": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}), "evaluation"),
    ],
)
def test_a_manifest_that_asks_for_what_cannot_be(bundle, change, word):
    rewrite(bundle, change)
    refused(bundle, "bundle.json", word)
    told = CliRunner().invoke(main, ["inspect", str(bundle)])
    assert told.exit_code == 1
    assert "defect" not in told.output


def test_golden_sounds_are_no_longer_than_windows(bundle):
    arrays = dict(np.load(bundle / "golden.npz"))
    arrays["waveform_0"] = np.zeros((1, 40 << 20), np.float32)
    np.savez_compressed(bundle / "golden.npz", **arrays)
    sign(bundle, "golden.npz")
    assert (bundle / "golden.npz").stat().st_size < 3 << 20
    refused(bundle, "golden.npz", "waveform_0", at=lambda path: verify(path, "cpu"))


@pytest.mark.parametrize("shape", [(), (1600,)])
def test_golden_sounds_have_channels(bundle, shape):
    arrays = dict(np.load(bundle / "golden.npz"))
    arrays["waveform_0"] = np.zeros(shape, np.float32)
    np.savez_compressed(bundle / "golden.npz", **arrays)
    sign(bundle, "golden.npz")
    refused(bundle, "golden.npz", "no channel", at=lambda path: verify(path, "cpu"))


def endless(model):
    """A loop of 2^62 rounds before the logits."""
    for node in model.graph.node:
        node.output[:] = ["before" if output == "logits" else output for output in node.output]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["carried", "carried"], ["sum"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, None),
        ],
    )
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(1 << 62, np.int64), "rounds"),
            numpy_helper.from_array(np.array(True), "first"),
        ]
    )
    model.graph.node.append(helper.make_node("Loop", ["rounds", "first", "before"], ["logits"], body=body))


def test_a_graph_that_never_ends_is_ended(bundle, monkeypatch):
    edit_graph(bundle, "classifier.onnx", endless)
    monkeypatch.setenv("EARMARK_TIMEOUT", "0.3")
    began = time.monotonic()
    refused(bundle, "classifier.onnx", "0.3 s", "EARMARK_TIMEOUT", at=explain)
    assert time.monotonic() - began < 20
    monkeypatch.setenv("EARMARK_TIMEOUT", "soon")
    with pytest.raises(earmark.EarmarkError, match="EARMARK_TIMEOUT=soon"):
        explain(SHIPPED)
    monkeypatch.setenv("EARMARK_TIMEOUT", "0")
    assert explain(SHIPPED, methods=[]).predictions


# Metadata and rows of the prototypes


def raw(text):
    return lambda fields, key: text


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("offset_s", "NaN"),
        ("offset_s", "1e999"),
        ("duration_s", '"long"'),
        ("duration_s", "-1"),
        ("label", '"\\ud800"'),
        ("source", "null"),
        ("id", "[" * 5000 + "]" * 5000),
        ("audio", '"../../golden.npz"'),
        ("audio", '".hidden"'),
        ("audio", '"none.flac"'),
        ("label", '"whistle"'),
    ],
)
def test_a_line_of_clips_is_typed(bundle, key, text):
    path = bundle / GENERATION / "clips.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    fields = json.loads(lines[5])
    fields[key] = "@"
    lines[5] = json.dumps(fields).replace('"@"', text).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    sign(bundle, f"{GENERATION}/clips.jsonl")

    def place(table):
        table["length"] = [len(line) for line in lines]
        table["position"] = np.cumsum([0, *table["length"][:-1]])

    edit_table(bundle, "clips.npy", place)
    refused(bundle, "none.flac" if "none" in text else "clips.jsonl")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("channels", "NaN"),
        ("channels", "1e999"),
        ("clips", '"64"'),
        ("labels", "[1]"),
        ("labels", '["a", "a"]'),
        ("seed", "[" * 5000 + "]" * 5000),
        ("settings", '{"a": ' + "[" * 40 + "]" * 40 + "}"),
        ("apex", "[]"),
        ("views", "{}"),
        ("versions", '{"a": "\\udfff"}'),
        ("per_channel", "0"),
        ("per_channel", "100000"),
        ("removed", "-1"),
        ("sources", "65"),
        ("sources", "63"),
    ],
)
def test_index_info_is_typed(bundle, key, text):
    path = bundle / GENERATION / "index_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: "@"}).replace('"@"', text))
    sign(bundle, f"{GENERATION}/index_info.json")
    refused(bundle, "index_info.json")
    for verb in (["inspect"], ["verify", "--device", "cpu"]):
        told = CliRunner().invoke(main, [verb[0], str(bundle), *verb[1:]])
        assert told.exit_code == 1
        assert "index_info.json" in told.stderr
        assert "defect" not in told.output


def put(field, value, row=7):
    def change(table):
        (table[field] if field else table).reshape(-1)[row] = value

    return change


def swapped(table):
    table[:, [0, 1]] = table[:, [1, 0]]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("clips.npy", put("label", 8)),
        ("clips.npy", put("label", 5)),
        ("clips.npy", put("position", -1)),
        ("clips.npy", put("length", 1 << 30)),
        ("clips.npy", put("source", -1)),
        ("clips.npy", put("source", 3)),
        ("time.entries.npy", put("clip", 1 << 20)),
        ("time.entries.npy", put("clip", 63)),
        ("time.entries.npy", put("label", 7)),
        ("time.entries.npy", put("start_s", np.nan)),
        ("time.entries.npy", put("end_s", np.inf)),
        ("time.entries.npy", put("end_s", 1e6)),
        ("time.entries.npy", put("fmin_hz", -5.0)),
        ("time.entries.npy", put("fmax_hz", np.nan)),
        ("time.entries.npy", put("score", np.inf)),
        ("time.entries.npy", put("frame", -2)),
        ("time.channels.npy", put(None, -1)),
        ("time.channels.npy", put(None, 700)),
        ("time.scores.npy", put(None, np.nan)),
        ("time.scores.npy", put(None, 1e30)),
        ("time.tops.npy", put("entry", 1 << 20)),
        ("time.tops.npy", put("entry", 0)),
        ("time.tops.npy", put("clip", 64)),
        ("time.tops.npy", put("clip", -2)),
        ("time.tops.npy", put("score", np.nan)),
        ("time.tops.npy", swapped),
    ],
)
def test_a_row_that_cannot_be(bundle, name, change):
    edit_table(bundle, name, change)
    if change is swapped:
        # In another order they are the same prototypes.
        open_bundle(bundle)
    else:
        refused(bundle, GENERATION)


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.0])
def test_a_vector_is_of_length_one(bundle, value):
    path = bundle / GENERATION / "time.faiss"
    content = bytearray(path.read_bytes())
    content[-4:] = np.float32(value).tobytes()
    path.write_bytes(content)
    sign(bundle, f"{GENERATION}/time.faiss")
    refused(bundle, "time.faiss", "vector")


def test_lists_are_looked_into(tmp_path):
    from earmark.errors import PrototypeIndexError
    from earmark.prototypes_index.index import PROJECTION, ViewIndex, beside
    from earmark.prototypes_index.index_build import build_index
    from earmark.prototypes_index.views import normalise

    vectors = normalise(np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32))
    path = tmp_path / "v.faiss"
    info = build_index(vectors, path, exact_limit=100)
    ViewIndex(path, info).check()
    content = path.read_bytes()
    rows = content.rindex(np.int64(ViewIndex(path, info).search(vectors[:1], 1)[1][0, 0]).tobytes())
    copies = {name: shutil.copytree(tmp_path, tmp_path.parent / name) / path.name for name in ("row", "p")}
    copies["row"].write_bytes(content[:rows] + np.int64(299).tobytes() + content[rows + 8 :])
    with pytest.raises(PrototypeIndexError, match="damaged"):
        ViewIndex(copies["row"], info).check()
    projection = np.load(beside(copies["p"], PROJECTION)).copy()
    projection[0, 0] = np.nan
    np.save(beside(copies["p"], PROJECTION), projection)
    with pytest.raises(PrototypeIndexError, match="damaged"):
        ViewIndex(copies["p"], info).check()


@pytest.mark.parametrize(
    "report",
    [
        b"[]",
        b'{"settings": 3}',
        b'{"purity": {"time": {"train": {"before": "high"}}}}',
        b'{"notes": [3]}',
        b"{",
    ],
)
def test_a_report_of_u_is_typed(bundle, report):
    (bundle / "apex.json").write_bytes(report)
    sign(bundle, "apex.json")
    rewrite(bundle, lambda manifest: manifest.pop("prototypes"))
    told = CliRunner().invoke(main, ["inspect", str(bundle)])
    assert told.exit_code == 1
    assert "apex.json" in told.stderr
    assert "defect" not in told.output


def test_the_shipped_bundle_is_all_that():
    opened, checks = verify(SHIPPED, "cpu")
    assert opened.manifest.prototypes is not None
    assert {check.output.rpartition("_")[0] for check in checks} == {"logits", "mask", "channels"}
    assert all(check.passed for check in checks)
