"""`earmark train l2i` on tones: it learns, resumes, exports, refuses; by design."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command_line import invoke
from later import later
from refusals import refuses
from tones import FORM, INTERPRETER, PLAIN, RATE, one_thread, write_tones  # noqa: F401 (a fixture)

import earmark
from earmark.errors import DataError, RunError, SourceError
from earmark.export.bundle.write import write_bundle
from earmark.export.training.l2i.settings import L2iSettings
from earmark.export.training.options import InterpreterOptions
from earmark.export.training.settings import ClassifierSettings

torch = later("torch")
DecoderConfig = later("earmark.export.sources.run.config", "DecoderConfig")
RunDirectory = later("earmark.export.sources.run.directory", "RunDirectory")
decoder_form = later("earmark.export.training.forms", "decoder_form")
load = later("earmark.export.sources.run.source", "load")
train_classifier = later("earmark.export.training.classifier", "train_classifier")
train_l2i = later("earmark.export.training.l2i.recipe", "train_l2i")

pytestmark = pytest.mark.trained


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The tones, and a silent clip."""
    folder = write_tones(tmp_path_factory.mktemp("data"))
    soundfile.write(folder / "low" / "1-900-A.wav", np.zeros(4000), RATE)
    return folder


@pytest.fixture(scope="module")
def classified(data, tmp_path_factory) -> Path:
    """A run with a finished classifier. Shared: copy it before changing it."""
    path = tmp_path_factory.mktemp("runs") / "tones"
    train_classifier(data, path, ClassifierSettings(epochs=15, exact=True, **PLAIN, **FORM, batch_size=4))
    return path


@pytest.fixture(scope="module")
def trained(data, classified, tmp_path_factory) -> tuple[Path, str]:
    """The run with its interpreter, trained by the command, and what it said."""
    path = shutil.copytree(classified, tmp_path_factory.mktemp("trained") / "tones")
    options = ["--components", "6", "--batch-size", "4", "--width", "16", "--epochs", "4"]
    options += ["--lr", "0.01", "--alpha", "1", "--beta", "0.08", "--threads", "1"]
    return (path, invoke("train", "l2i", path, data, *options, code=0).stderr)


@pytest.fixture(scope="module")
def other_dictionary(trained, tmp_path_factory) -> Path:
    """The same run with the columns of its dictionary in another order."""
    path = shutil.copytree(trained[0], tmp_path_factory.mktemp("other") / "run")
    arrays = dict(np.load(path / "dictionary.npz"))
    np.savez(path / "dictionary.npz", dictionary=arrays["dictionary"][:, ::-1], scale=arrays["scale"][::-1])
    return path


@pytest.fixture(scope="module")
def bundle(trained, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "tones"
    invoke("export", trained[0], "-o", path, code=0)
    return path


def test_it_learns(data, classified, tmp_path):
    """In float64, which learns the same on every processor."""
    run = shutil.copytree(classified, tmp_path / "run")
    train_l2i(run, data, L2iSettings(epochs=6, exact=True, **INTERPRETER))
    rows = [json.loads(line) for line in (run / "interpreter_metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_it_says_what_it_did(trained, classified):
    path, said = trained
    rows = [json.loads(line) for line in (path / "interpreter_metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    config = json.loads((path / "interpreter.json").read_text())
    assert 0.0 <= config["validation"]["fidelity_top1"] <= 1.0
    assert config["dictionary"]["silent"] == ["low/1-900-A.wav"]
    assert "left low/1-900-A.wav out of the dictionary: it is silent" in said
    assert (path / "interpreter_loss.png").read_bytes().startswith(b"\x89PNG")
    for name in ("config.json", "classifier.safetensors"):
        assert (path / name).read_bytes() == (classified / name).read_bytes()


def test_the_bundle_verifies_and_explains(bundle, trained, data):
    assert "activations_0" in invoke("verify", bundle, code=0).output
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["explainers"] == ["components"]
    spec = manifest["components"]
    # Evidence and rest of each of six spectra.
    assert spec["count"] == 12
    assert not any(c["label"] for c in spec["components"][6:])
    assert not spec["by_design"]
    # Both tones have components of their own.
    narrow = [c["peak_hz"] for c in spec["components"] if c["bandwidth_hz"] < 150]
    assert any(abs(hz - 2500) < 60 for hz in narrow)
    assert any(abs(hz - 200) < 60 for hz in narrow)
    labels = {"", *manifest["labels"]}
    assert all(c["label"] in labels and c["clip"].split("/")[0] in labels for c in spec["components"])
    said = earmark.load(bundle, device="cpu").explain(data / "high" / "2-1-A.wav", methods=["components"])
    assert said.components is not None


def test_graph_is_the_module(bundle, trained):
    """Interpreter.onnx against the module as trained, at a length the export did not see, batch of three."""
    ort = pytest.importorskip("onnxruntime")
    source = load(trained[0])
    session = ort.InferenceSession(str(bundle / "interpreter.onnx"), providers=["CPUExecutionProvider"])
    waves = torch.randn(3, 7001, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        spectrum = source.frontend(waves)
        _, *taps = source.classifier(spectrum)
        given = {"stft": spectrum, **dict(zip(source.taps, taps, strict=True))}
        theirs = source.interpreter(*(given[name] for name in source.interpreter_taps))
    feeds = {name: given[name].numpy() for name in source.interpreter_taps}
    ours = session.run(["activations", "pooled", "logits"], feeds)
    frames = given["logmel"].shape[1]
    assert ours[0].shape == (3, 12, frames)
    assert ours[0].min() >= 0
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-4 * max(1.0, float(other.abs().max())))
    theta = np.load(bundle / "dictionary.npz")["theta"]
    np.testing.assert_allclose(ours[1] @ theta.T, ours[2], rtol=1e-3, atol=1e-4)


def weights_of(path) -> bytes:
    return (path / "interpreter.safetensors").read_bytes()


@pytest.mark.parametrize("by_design", [False, True])
def test_interrupted_training_resumes_bit_for_bit(data, classified, tmp_path, monkeypatch, by_design):
    settings = L2iSettings(epochs=5, by_design=by_design, **INTERPRETER)
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    shutil.copytree(classified, stopped)
    shutil.copytree(classified, whole)

    from earmark.export.sources.run.directory import RunDirectory

    write = RunDirectory.write_metrics

    def interrupt(run, rows):
        write(run, rows)
        if len(rows) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "write_metrics", interrupt)
        refuses(RunError, "2 of 5 epochs of the interpreter", train_l2i, stopped, data, settings)
    assert not (stopped / "interpreter.safetensors").exists()
    refuses(SourceError, "not finished; go on with --resume", load, stopped)
    of_before = shutil.copytree(stopped, tmp_path / "of_before")
    config = of_before / "interpreter.json"
    config.write_text(config.read_text().replace('"mask_power": 3.0', '"mask_power": 2.0'))
    invoke("train", "l2i", of_before, data, "--resume", code=1, says="masks of another power")
    invoke("train", "l2i", stopped, data, "--resume", "--threads", "1", code=0)
    train_l2i(whole, data, settings)
    assert weights_of(stopped) == weights_of(whole)
    assert (stopped / "dictionary.npz").read_bytes() == (whole / "dictionary.npz").read_bytes()


def test_another_seed_is_another_interpreter(data, classified, tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        shutil.copytree(classified, tmp_path / name)
        train_l2i(tmp_path / name, data, L2iSettings(epochs=1, seed=seed, **INTERPRETER))
    assert weights_of(tmp_path / "a") != weights_of(tmp_path / "b")


def test_start_wants_an_interpreter_like_it(data, classified, trained, tmp_path):
    shutil.copytree(classified, tmp_path / "run")
    with pytest.raises(RunError, match="of another form"):
        train_l2i(
            tmp_path / "run", data, L2iSettings(epochs=1, width=24), InterpreterOptions(start=trained[0])
        )


@pytest.fixture(scope="module")
def designed(data, classified, trained, tmp_path_factory) -> tuple[Path, dict]:
    """A run that is a classifier by design, and the summary of its training."""
    run = shutil.copytree(classified, tmp_path_factory.mktemp("designed") / "tones")
    settings = L2iSettings(epochs=3, by_design=True, **INTERPRETER)
    return run, train_l2i(run, data, settings, InterpreterOptions(start=trained[0]))


def test_by_design_the_components_are_the_classifier(designed, classified):
    run, summary = designed
    assert 0.0 <= summary.figures["by_design_accuracy"] <= 1.0
    assert summary.figures["fidelity_top1"] == 1.0
    source = load(run)
    assert source.components.by_design
    assert source.evaluation["interpreter_by_design_accuracy"] == pytest.approx(
        summary.figures["by_design_accuracy"], abs=1e-5
    )
    wave = np.random.default_rng(0).standard_normal((2, 5120)).astype(np.float32)
    answers = source.outputs(wave)
    np.testing.assert_allclose(answers["logits"], answers["interpreted"], atol=1e-5)
    # The classifier after the fact is still there, and untouched.
    again, before = load(run, interpreter=False), load(classified)
    assert again.head_layers
    np.testing.assert_array_equal(again.outputs(wave)["logits"], before.outputs(wave)["logits"])
    assert np.abs(answers["logits"] - before.outputs(wave)["logits"]).max() > 0.1


def test_by_design_nothing_is_left_of_a_decoder_beside_it(designed, tmp_path):
    """It explains the classifier after the fact: neither its figures nor what its masks multiply are kept."""
    run = shutil.copytree(designed[0], tmp_path / "run")
    after = load(run, interpreter=False)
    config = DecoderConfig(
        decoder=decoder_form(after, "compact", 4),
        classifier_sha256=after.fingerprint(),
        mask_gain="linear",
        validation={"area": 0.1},
    )
    RunDirectory(run, "decoder").write_config(config)
    source = load(run)
    assert (source.decoder, source.mask_gain) == (None, "log")
    assert "validation_area" not in source.evaluation


@pytest.mark.slow
def test_a_bundle_by_design(designed, data, tmp_path):
    bundle = tmp_path / "bundle"
    manifest = write_bundle(load(designed[0]), bundle)
    assert manifest.components is not None
    assert manifest.components.by_design
    golden = np.load(bundle / "golden.npz")
    np.testing.assert_allclose(golden["logits_0"], golden["interpreted_0"], atol=1e-4)
    said = earmark.load(bundle, device="cpu").explain(data / "low" / "2-101-A.wav")
    assert said.components is not None
    assert not said.warnings


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{run}", "{data}", "--components", "9999"], "allow 1 to"),
        (["{run}", "{data}", "--interpreter", "reference"], "reference layers are those of"),
        (["{run}", "{data}", "--dictionary", "{run}"], "interpreter.json: not there"),
        (["{trained}", "{data}"], "holds an interpreter already"),
        (["{trained}", "{data}", "--resume", "--epochs", "9"], "--epochs 4"),
        (["{trained}", "{data}", "--resume", "--dictionary", "{other}"], "leave --dictionary out"),
        (["{trained}", "{data}", "--resume", "--start", "{other}"], "leave --start out"),
        (["{trained}", "{data}", "--resume", "--noise", "{data}"], "leave --noise out"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(
    data, classified, trained, other_dictionary, tmp_path, arguments, said
):
    run = shutil.copytree(classified, tmp_path / "run")
    before = sorted(p.name for p in run.iterdir())
    names = {"tmp": tmp_path, "data": data, "run": run, "trained": trained[0], "other": other_dictionary}
    filled = [a.format(**names) for a in arguments]
    result = invoke("train", "l2i", *filled, "--threads", "1", code=1, says=said)
    assert len(result.stderr.strip().splitlines()) == 1
    assert sorted(p.name for p in run.iterdir()) == before


def test_silent_clips_alone(data, classified, tmp_path):
    folder, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(data, folder)
    shutil.copytree(classified, run)
    for path in folder.rglob("*.wav"):
        soundfile.write(path, np.zeros(4000), RATE)
    refuses(DataError, "every one is silent", train_l2i, run, folder, L2iSettings(epochs=1, **INTERPRETER))
    assert not (run / "interpreter.json").exists()


def test_a_dictionary_is_taken_only_for_its_own_spectrogram(data, trained, classified, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(classified, run)
    train_l2i(run, data, L2iSettings(epochs=1, width=16), InterpreterOptions(dictionary=trained[0]))
    assert (run / "dictionary.npz").read_bytes() == (trained[0] / "dictionary.npz").read_bytes()
    train_classifier(data, other, ClassifierSettings(epochs=1, hop_seconds=0.01, **FORM, batch_size=4))
    with pytest.raises(RunError, match="was learnt on spectrograms at 8000 Hz"):
        train_l2i(other, data, L2iSettings(epochs=1), InterpreterOptions(dictionary=trained[0]))


def test_damaged_runs_are_named(trained, data, classified, tmp_path):
    for name, change, said in (
        ("dictionary.npz", lambda p: p.write_bytes(b"no archive"), "dictionary.npz"),
        ("interpreter.safetensors", lambda p: p.write_bytes(p.read_bytes()[:-9]), "damaged"),
        ("interpreter.json", lambda p: p.write_text(p.read_text().replace("facts", "fakes")), "damaged"),
    ):
        run = shutil.copytree(trained[0], tmp_path / name)
        change(run / name)
        refuses(SourceError, said, load, run)
    # Another classifier than the one it was trained over.
    run = shutil.copytree(trained[0], tmp_path / "another")
    for path in run.glob("c*"):
        path.unlink()
    train_classifier(data, run, ClassifierSettings(epochs=1, **FORM, batch_size=4))
    refuses(SourceError, "another classifier", load, run)
