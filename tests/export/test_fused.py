"""A bundle as one graph: the same answers, in any onnxruntime."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
from command_line import invoke
from onnx import TensorProto, helper

import earmark
from earmark.export.fused import sound
from earmark.export.fused.fuse import fuse
from earmark.runtime.audio import stft as numpy_stft
from earmark.runtime.audio.level import level_of
from earmark.runtime.bundle.manifest import AnalysisSpec
from earmark.runtime.bundle.nodes import Nodes
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.inference import masked_sound
from earmark.runtime.opening import open_bundle

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    path = tmp_path_factory.mktemp("fused") / "model.onnx"
    fuse(open_bundle(SHIPPED), path)
    return path


def run(path, waves):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"waveform": waves}), strict=True))


def waves(seconds, rate=16000, rows=2):
    random = np.random.default_rng(int(1000 * seconds))
    sounds = random.standard_normal((rows, int(seconds * rate))) * random.uniform(0.01, 0.2, (rows, 1))
    return sounds.astype(np.float32)


@pytest.mark.parametrize("seconds", [0.3, 1.2345, 2.0])
def test_a_batch_has_the_answers_of_the_bundle(shipped, seconds):
    explainer = earmark.load(SHIPPED, "cpu")
    sounds = waves(seconds)
    found = run(shipped, sounds)
    for row, wave in enumerate(sounds):
        result = explainer.explain(wave, 16000, methods=["mask"])
        scores = [dict(result.predictions)[label] for label in explainer.labels]
        np.testing.assert_allclose(found["scores"][row], scores, atol=1e-5)
        np.testing.assert_allclose(found["mask"][row], result.mask.values, atol=1e-5)
        np.testing.assert_allclose(found["kept"][row], result.mask.audio, atol=1e-5)
    # Contributions and a bias of each class sum to its logit.
    bias = found["logits"] - found["contributions"].sum(axis=-1)
    np.testing.assert_allclose(bias[0], bias[1], atol=1e-5)


def test_a_bundle_whose_files_have_several_names_is_joined(tmp_path):
    """As installers link them from a cache, and an index that grows from its last generation."""
    linked = tmp_path / "bundle"
    shutil.copytree(SHIPPED, linked, copy_function=lambda one, other: Path(other).hardlink_to(one))
    assert fuse(open_bundle(linked), tmp_path / "model.onnx")["logits"] < 1e-5


def test_any_length_is_one_window(shipped):
    found = run(shipped, waves(5.01, rows=3))
    assert found["mask"].shape == (3, 1 + 80160 // 256, 257)
    assert found["kept"].shape == (3, 80160)
    assert run(shipped, np.zeros((1, 1), np.float32))["kept"].tolist() == [[0.0]]


def test_the_model_says_what_it_is(shipped):
    model = onnx.load(shipped, load_external_data=False)
    onnx.checker.check_model(str(shipped))
    facts = {one.key: one.value for one in model.metadata_props}
    explainer = earmark.load(SHIPPED, "cpu")
    assert json.loads(facts["labels"]) == explainer.labels
    assert (facts["sample_rate"], facts["window_seconds"], facts["task"]) == ("16000", "2", "single_label")
    assert facts["bundle_id"] == open_bundle(SHIPPED).manifest.bundle_id
    assert model.opset_import[0].version >= 17
    assert shipped.with_name("model.onnx.data").exists()


def test_other_bundles(tiny_bundle, components_bundle, tmp_path):
    assert set(fuse(open_bundle(tiny_bundle), tmp_path / "tiny.onnx")) == {"logits", "scores", "mask", "kept"}
    assert "activations" in fuse(open_bundle(components_bundle), tmp_path / "components.onnx")


def test_a_graph_that_differs_is_not_written(tmp_path, monkeypatch):
    masked = masked_sound.masked
    monkeypatch.setattr(
        masked_sound,
        "masked",
        lambda nodes, spectrum, mask, how: nodes.add(
            "Mul", masked(nodes, spectrum, mask, how), nodes.constant(1.001)
        ),
    )
    with pytest.raises(earmark.EarmarkError, match="its kept differs by"):
        fuse(open_bundle(SHIPPED), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_command(tmp_path):
    out = tmp_path / "new" / "model.onnx"
    assert "differs from the bundle by at most" in invoke("export", SHIPPED, "--fused", out, code=0).stdout
    invoke("export", SHIPPED, "--fused", out, code=1, says="--force")
    invoke("export", SHIPPED, "--fused", out, "--force", code=0)
    assert sorted(path.name for path in out.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    invoke("export", SHIPPED, code=2)


def computed(build, **inputs):
    """What nodes give for inputs by name: `build` adds them and names the output."""
    nodes = Nodes(20, "test")
    output = build(nodes)
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}
    borders = [
        helper.make_tensor_value_info(name, kinds[one.dtype], [None] * one.ndim)
        for name, one in inputs.items()
    ]
    gives = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes.take(), "test", borders, gives, nodes.initializers())
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([output], inputs)[0]


@pytest.mark.parametrize(
    "spec",
    [
        AnalysisSpec(n_fft=512, window_length=400, hop=160, window="hann", padding="reflect"),
        AnalysisSpec(n_fft=256, window_length=256, hop=200, window="hamming"),
        AnalysisSpec(n_fft=128, window_length=100, hop=99, window="hamming"),
    ],
)
@pytest.mark.parametrize("length", [800, 1023])
def test_stft_and_back(spec, length):
    sounds = waves(length / 16000)
    spectrum = computed(lambda nodes: sound.stft(nodes, "x", spec), x=sounds)
    expected = numpy_stft.forward(sounds, spec)
    np.testing.assert_allclose(spectrum, numpy_stft.as_pairs(expected), atol=1e-5)
    back = computed(
        lambda nodes: masked_sound.inverse(nodes, "s", spec, "n"), s=spectrum, n=np.array([length], np.int64)
    )
    np.testing.assert_allclose(back, numpy_stft.inverse(expected, spec, length), atol=1e-5)


@pytest.mark.parametrize("how", ["linear", "floored", "log"])
def test_the_gain_of_a_mask(how):
    random = np.random.default_rng(0)
    spectrum = (random.standard_normal((2, 9, 5, 2)) * 10.0 ** random.uniform(-9, 2, (2, 9, 5, 1))).astype(
        np.float32
    )
    spectrum[0, 0] = 0.0
    mask = random.uniform(size=(2, 9, 5)).astype(np.float32)
    amplitude = np.abs(numpy_stft.as_complex(spectrum))
    gained = computed(lambda nodes: masked_sound.masked(nodes, "s", "m", how), s=spectrum, m=mask)
    expected = spectrum * numpy_stft.gain(mask, amplitude, how)[..., None]
    np.testing.assert_allclose(gained, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", ["peak", "signed_peak", "unit_variance"])
def test_the_level(how):
    sounds = waves(0.1, rows=4)
    sounds[1] = 0.0
    sounds[2] = -np.abs(sounds[2])
    found = computed(lambda nodes: sound.level(nodes, "x", how), x=sounds)
    np.testing.assert_allclose(found[:, 0], [level_of(one, how) for one in sounds], rtol=1e-5)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The shipped clip as a WAV, a window long, and what the bundle says of it."""
    wave, rate = soundfile.read(SHIPPED.parent / "example.flac", dtype="float32")
    wave = wave[: 2 * rate]
    path = tmp_path_factory.mktemp("clip") / "sound.wav"
    soundfile.write(path, wave, rate, subtype="FLOAT")
    return path, earmark.load(SHIPPED, "cpu").explain(wave, rate, methods=["mask"])


def check_answers(found, kept, result):
    """What an example printed, and the kept sound that it wrote."""
    assert found["scores"] == pytest.approx(dict(result.predictions), abs=1e-5)
    assert found["logits"] == pytest.approx(result.logits.tolist(), abs=1e-5)
    assert found["mask_dims"] == [1, *result.mask.values.shape]
    assert found["mask_mean"] == pytest.approx(result.mask.area, abs=1e-5)
    np.testing.assert_allclose(soundfile.read(kept, dtype="float32")[0], result.mask.audio, atol=1e-5)


@pytest.mark.node
def test_node_gives_the_same(shipped, clip, tmp_path):
    shutil.copytree(EXAMPLES / "node", tmp_path / "node", ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(
        ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=tmp_path / "node", check=True
    )
    sound, result = clip
    command = ["node", "explain.js", shipped, sound, tmp_path / "kept.wav"]
    told = subprocess.run(command, cwd=tmp_path / "node", check=True, capture_output=True, text=True)
    check_answers(json.loads(told.stdout), tmp_path / "kept.wav", result)


@pytest.fixture(scope="module")
def c_program(tmp_path_factory):
    """examples/c, compiled with every warning an error, over the library of the wheel."""
    folder = tmp_path_factory.mktemp("c")
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    # The name that programs ask the loader for.
    (folder / "libonnxruntime.so.1").symlink_to(library)
    program = folder / "explain"
    warnings = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2", "-fsanitize=undefined"]
    source = EXAMPLES / "c" / "explain.c"
    subprocess.run(["cc", *warnings, source, "-o", program, library, f"-Wl,-rpath,{folder}"], check=True)
    return program


@pytest.mark.c
def test_c_gives_the_same(shipped, clip, c_program, tmp_path):
    sound, result = clip
    command = [c_program, shipped, sound, tmp_path / "kept.wav"]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(told.stdout)
    found["scores"] = dict(zip(found.pop("labels"), found["scores"], strict=True))
    check_answers(found, tmp_path / "kept.wav", result)


@pytest.mark.c
@pytest.mark.parametrize(
    ("content", "text"),
    [(b"no sound", "is no WAV"), (b"RIFF\0\0\0\0WAVEdata", "no samples"), (None, "cannot be opened")],
)
def test_c_refuses_what_is_no_sound(shipped, c_program, tmp_path, content, text):
    sound = tmp_path / "sound.wav"
    if content is not None:
        sound.write_bytes(content)
    told = subprocess.run([c_program, shipped, sound], check=False, capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith(f"{sound}: ")
    assert text in told.stderr
