"""Components in a bundle from strangers: what does not fit is refused by name; the commands know them."""

import json
import shutil

import changed_bundle
import numpy as np
import onnx
import pytest
from changed_bundle import rewrite, sign
from command_line import invoke
from onnx import numpy_helper

import earmark
from earmark.evaluation.synthesis.clips import make_clip
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.opening import open_bundle

RATE = 16000


@pytest.fixture
def bundle(components_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return shutil.copytree(components_bundle, tmp_path / "bundle")


@pytest.fixture(scope="module")
def sound():
    return make_clip("tom", [9, 2], snr_db=15.0).waveform


def refused(bundle, sound, *words, kind):
    def explain(path):
        earmark.load(path, device="cpu").explain(sound, RATE, methods=["components"])

    changed_bundle.refused(bundle, *words, at=explain, kind=kind)


def change_components(**fields):
    return lambda manifest: manifest["components"].update(fields)


def drop_interpreter(manifest):
    manifest["stages"] = [one for one in manifest["stages"] if one["name"] != "interpreter"]


def drop_output(name):
    def change(manifest):
        stage = next(one for one in manifest["stages"] if one["name"] == "interpreter")
        stage["outputs"] = [one for one in stage["outputs"] if one["name"] != name]

    return change


def other_label(manifest):
    manifest["components"]["components"][3]["label"] = "trumpet"


OTHER_STFT = {"n_fft": 1024, "window_length": 512, "hop": 256, "window": "hann", "padding": "zeros"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_components(analysis=OTHER_STFT), ("dictionary.npz", "another spectrogram", "n_fft 1024")),
        (change_components(sample_rate=44100), ("another spectrogram", "44100 Hz", "16000 Hz")),
        (change_components(count=17), ("describes 16 of 17",)),
        (change_components(file="other.npz"), ("other.npz", "not in its files")),
        (change_components(file="../dictionary.npz"), ("not in its files",)),
        (change_components(threshold=1.0), ("not a valid manifest",)),
        (other_label, ("'trumpet'", "no label")),
        (drop_interpreter, ("components without an interpreter",)),
        (lambda manifest: manifest.pop("components"), ("components without a dictionary",)),
        (drop_output("pooled"), ("'pooled'",)),
        (drop_output("activations"), ("'activations'",)),
    ],
)
def test_a_manifest_that_contradicts_itself(bundle, sound, change, words):
    rewrite(bundle, change)
    refused(bundle, sound, *words, kind=earmark.BundleError)


def column(change):
    def changed(arrays):
        arrays["dictionary"] = arrays["dictionary"].copy()
        change(arrays["dictionary"])

    return changed


def put(row, value):
    return lambda array: array.__setitem__((row, 0), value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (column(put(0, -0.5)), ("negative",)),
        (column(put(0, np.nan)), ("not finite",)),
        (column(put(0, np.inf)), ("not finite",)),
        (column(lambda array: array.__imul__(2.0)), ("unit length",)),
        (lambda a: a.update(dictionary=a["dictionary"][:100]), ("[100, 16]", "[257, 16]")),
        (lambda a: a.update(theta=a["theta"][:, :5]), ("theta", "[8, 5]")),
        (lambda a: a.update(theta=np.full_like(a["theta"], np.nan)), ("theta", "not finite")),
        (lambda a: a.pop("theta"), ("theta", "missing")),
        (lambda a: a.update(dictionary=a["dictionary"].astype(np.float64)), ("MiB",)),
        (lambda a: a.update(theta=np.array([print], dtype=object)), ("cannot be read",)),
        (lambda a: a.update(more=np.zeros(100_000, np.float32)), ("unpacks to more",)),
    ],
)
def test_a_dictionary_that_is_not_the_manifests(bundle, sound, change, words):
    with np.load(bundle / "dictionary.npz") as file:
        arrays = dict(file)
    change(arrays)
    np.savez(bundle / "dictionary.npz", **arrays)
    sign(bundle, "dictionary.npz")
    refused(bundle, sound, "dictionary.npz", *words, kind=earmark.BundleError)


def test_a_dictionary_that_is_no_archive(bundle, sound):
    (bundle / "dictionary.npz").write_bytes(b"PK\x03\x04 nothing")
    sign(bundle, "dictionary.npz")
    refused(bundle, sound, "dictionary.npz", "cannot be read", kind=earmark.BundleError)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "not finite"), (-3.0, "negative")])
def test_an_interpreter_that_answers_nonsense(bundle, sound, value, word):
    model = onnx.load(bundle / "interpreter.onnx")
    floor = next(one for one in model.graph.initializer if one.name == "W")
    floor.CopyFrom(numpy_helper.from_array(np.full_like(numpy_helper.to_array(floor), value), "W"))
    onnx.save(model, bundle / "interpreter.onnx")
    sign(bundle, "interpreter.onnx")
    refused(bundle, sound, "interpreter", word, kind=earmark.EarmarkError)


def test_verify_recomputes_the_interpreters_golden_answers(bundle):
    whole = invoke("verify", bundle, "--json", code=0)
    outputs = {one["output"] for one in json.loads(whole.stdout)["checks"]}
    assert {"activations_0", "pooled_0", "interpreted_0", "logits_0", "mask_0"} <= outputs
    model = onnx.load(bundle / "interpreter.onnx")
    theta = next(one for one in model.graph.initializer if one.name == "theta_t")
    theta.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(theta) * 1.5, "theta_t"))
    onnx.save(model, bundle / "interpreter.onnx")
    sign(bundle, "interpreter.onnx")
    differs = invoke("verify", bundle, "--json", code=1)
    failed = {one["output"] for one in json.loads(differs.stdout)["checks"] if not one["passed"]}
    assert any(name.startswith("interpreted_") for name in failed)
    assert not any(name.startswith(("pooled", "activations", "logits")) for name in failed)


def test_a_bundle_without_components_says_how_to_get_them(sound):
    refused(SHIPPED, sound, "no interpreter", "earmark train l2i", kind=earmark.MethodError)


def test_inspect_shows_stage_and_dictionary(components_bundle):
    shown = invoke("inspect", components_bundle, code=0)
    lines = {line.split()[0]: line for line in shown.stdout.splitlines()}
    assert "activations" in lines["interpreter"]
    assert "16 in dictionary.npz" in lines["components"]
    assert "0.2" in lines["components"]
    document = json.loads(invoke("inspect", components_bundle, "--json").stdout)
    assert document["components"]["count"] == 16


def test_explain_names_what_the_sound_consists_of(components_bundle, tmp_path):
    arguments = ["explain", "-b", str(components_bundle), "-m", "components"]
    clip = str(SHIPPED.parent / "example.flac")
    text = invoke(*arguments, clip, "-o", tmp_path / "out", "--rescore", code=0)
    first = next(line for line in text.stdout.splitlines() if "consists" in line)
    assert "Hz" in first
    assert "rescored  components, spectrogram" in text.stdout
    assert (tmp_path / "out" / "components.png").is_file()

    def selected(*more):
        answer = invoke(*arguments, clip, "--json", *more, code=0)
        found = json.loads(answer.stdout)["results"][0]["components"]
        return found["threshold"], len(found["selected"])

    usual, few, many = (
        selected(),
        selected("--relevance-threshold", "0.95"),
        selected("--relevance-threshold", "0"),
    )
    assert (usual[0], few[0], many[0]) == (0.2, 0.95, 0.0)
    assert few[1] <= usual[1] < many[1]
    for wrong in (["--relevance-threshold", "1"], ["-m", "mask", "--relevance-threshold", "0.5"]):
        other = arguments[:3] if "mask" in wrong else arguments
        invoke(*other, clip, *wrong, code=2)


def test_components_run_by_default_where_the_bundle_has_them(components_bundle, sound):
    with earmark.load(components_bundle, device="cpu") as explainer:
        assert explainer.methods == ["mask", "prototypes", "components"]
        explainer.warm_up()
    assert open_bundle(components_bundle).manifest.components.count == 16
