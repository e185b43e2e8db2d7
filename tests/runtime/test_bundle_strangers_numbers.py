"""Numbers, metadata and rows that a stranger put into the shipped bundle: one clear line, and no answer."""

import json
import shutil
import time
from functools import partial

import numpy as np
import pytest
import strange_bundle
from changed_bundle import edited_arrays, refused, rewrite, sign
from command_line import invoke
from onnx import TensorProto, helper, numpy_helper
from strange_bundle import GENERATION, edit_graph, edit_table, explain

import earmark
from earmark import limits
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.opening import open_bundle
from earmark.runtime.verify import verify

pytestmark = pytest.mark.timeout(60)
bundle, cache = strange_bundle.bundle, strange_bundle.cache


# Numbers are checked before they are used


def changed(name, **changes):
    return lambda manifest: manifest[name].update(changes)


window, analysis, feature_map, prototypes = (
    partial(changed, name) for name in ("window", "analysis", "feature_map", "prototypes")
)


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
    invoke("inspect", bundle, code=1)


@pytest.mark.parametrize(
    ("shape", "word"), [((1, 40 << 20), "waveform_0"), ((), "no channel"), ((1600,), "no channel")]
)
def test_golden_sounds_have_channels_and_are_no_longer_than_windows(bundle, shape, word):
    with edited_arrays(bundle, "golden.npz") as arrays:
        arrays["waveform_0"] = np.zeros(shape, np.float32)
    assert (bundle / "golden.npz").stat().st_size < 3 << 20
    refused(bundle, "golden.npz", word, at=lambda path: verify(path, "cpu"))


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
        invoke(verb[0], bundle, *verb[1:], code=1, says="index_info.json")


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
        b'{"channels": "many"}',
        b'{"purity": {"time": {"train": {"before": "high"}}}}',
        b'{"notes": [3]}',
        b"{",
    ],
)
def test_a_report_of_u_is_typed(bundle, report):
    (bundle / "apex.json").write_bytes(report)
    sign(bundle, "apex.json")
    rewrite(bundle, lambda manifest: manifest.pop("prototypes"))
    invoke("inspect", bundle, code=1, says="apex.json")


def test_the_shipped_bundle_is_all_that():
    opened, checks = verify(SHIPPED, "cpu")
    assert opened.manifest.prototypes is not None
    assert {check.output.rpartition("_")[0] for check in checks} == {"logits", "mask", "channels"}
    assert all(check.passed for check in checks)
