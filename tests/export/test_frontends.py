"""Front ends: presets against their originals, every field as a graph, and classifiers that take features."""

import frontend_originals as originals
import numpy as np
import onnx
import pytest
from frontend_graphs import answers, assert_close, by_graph
from onnx import TensorProto, helper, numpy_helper
from saved_graph import node, saved

import earmark
from earmark.errors import SourceError
from earmark.export.bundle.write import write_bundle
from earmark.export.frontends.description import described
from earmark.export.frontends.fields import merged
from earmark.export.frontends.frontend import from_description
from earmark.export.frontends.presets import PRESETS, preset_fields
from earmark.export.sources.onnx.file import load
from earmark.export.sources.onnx.frontends import open_frontend
from earmark.runtime.explainer import engine_of
from earmark.runtime.inference.onnx_runtime import cpu_session
from earmark.runtime.verify import verify

LABELS = ["a", "b", "c"]


def front_of(fields, **over):
    return from_description(described(merged(fields, over), "test"))


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_give_what_their_originals_give(name):
    """Values of transformers, torchlibrosa, librosa, torchaudio and kaldi-native-fbank, kept in a file."""
    front = front_of(preset_fields(name))
    sound = originals.sound_of(originals.RATES[name])
    expected = np.load(originals.VALUES)
    if front.samples is not None:
        sound = np.pad(sound, (0, front.samples - len(sound)))
    for made in (front.rows(sound), by_graph(front, sound[None])):
        assert list(made.shape) == list(expected[f"{name} shape"])
        assert_close(originals.kept(made), expected[name])


STFT = {"n_fft": 256, "hop": 100}
# The floor is well above what float32 leaves where bins cancel.
BASE = {"sample_rate": 8000, "stft": STFT, "log": {"floor": 1e-2}}
FORMS = {
    "zeros, hamming": {"stft": {"centring": "zeros", "window": "hamming", "window_length": 201}},
    "of an odd length": {"stft": {"n_fft": 321, "hop": 160}},
    "of an odd length, zeros": {"stft": {"n_fft": 321, "window_length": 200, "centring": "zeros"}},
    "whole frames": {"stft": {"centring": "none", "frame": "n_fft", "window_length": 200, "periodic": False}},
    "whole windows": {"stft": {"centring": "none", "window_length": 200, "window": "rectangular"}},
    "per frame": {"stft": {"remove_dc": True, "preemphasis": 0.9, "window": "povey"}},
    "sound": {"preemphasis": 0.95, "scale": 32768.0, "level": "unit_variance", "log": {"floor": 1e7}},
    "magnitude": {"stft": {"spectrum": "magnitude", "bins": 100}, "log": {"kind": "db", "floor": 0.1}},
    "factor on magnitudes": {"scale": 32768.0, "stft": {"spectrum": "magnitude"}, "log": {"floor": 1e3}},
    "log1p": {"log": {"kind": "log1p", "gain": 10.0}},
    "floor added": {"log": {"kind": "log10", "floor": 1e-2, "floor_by": "add", "reference": 0.1}},
    "reference and range": {"log": {"kind": "db", "reference": "max", "range": 40.0}},
    "mfcc": {"mel": {"bins": 30}, "mfcc": {"count": 12, "lifter": 22.0}},
    "mfcc, type 3": {"mel": {"bins": 30}, "mfcc": {"count": 12, "dct": 3, "norm": "none"}},
    "per bin": {"normalise": {"over": "bin", "correction": 1}},
    "per clip": {"normalise": {"over": "clip", "epsilon": 1e-3}},
    "frames repeated": {"frames": {"count": 100, "pad": "repeat"}, "output": {"layout": "B1FT"}},
    "frames of a value": {"frames": {"count": 100, "value": -7.5}, "output": {"layout": "BTF1"}},
    "frames cut": {"frames": {"count": 20}, "log": {"kind": "db", "range": 30.0}},
    "samples repeated": {"samples": {"count": 9000, "pad": "repeat"}},
    "samples repeated whole": {"samples": {"count": 9000, "pad": "repeat_whole"}},
    "patches": {"patches": {"length": 12, "hop": 5}, "output": {"layout": "B1FT", "channels": 3}},
    "patches to the end": {"patches": {"length": 12, "hop": 7, "end": "pad"}, "output": {"layout": "BFT"}},
    "stacked": {"output": {"stack": 3}},
    "uint8": {"output": {"dtype": "uint8", "scale": 0.25, "zero_point": 200}},
    "float16": {"output": {"dtype": "float16"}},
    "waveform": {"stft": None, "log": None, "output": {"layout": "B1N", "channels": 2}, "scale": 0.5},
}


@pytest.mark.parametrize("form", list(FORMS))
def test_every_field_is_the_same_as_a_graph_and_in_numpy(form):
    front = front_of(BASE, **FORMS[form])
    sounds = np.stack([originals.sound_of(8000, 0.5), originals.sound_of(8000, 0.6)[800:]])
    theirs = np.concatenate([front.rows(sound) for sound in sounds])
    for opset in (12, 20):
        ours = by_graph(front, sounds, opset)
        assert ours.dtype == theirs.dtype
        if ours.dtype == np.uint8:
            # A value in the middle of two steps may fall to either.
            assert np.abs(ours.astype(int) - theirs).max() <= 1
            assert np.mean(ours != theirs) < 1e-3
        else:
            assert_close(ours, theirs.astype(np.float64), 1e-3 if ours.dtype == np.float16 else 1e-4)


def test_the_stft_is_pytorchs():
    import torch

    sound = originals.sound_of(8000, 0.5)
    forms = (256, "reflect", "reflect"), (256, "zeros", "constant"), (256, "none", "reflect")
    for n_fft, centring, pad in (*forms, (321, "reflect", "reflect"), (321, "none", "reflect")):
        stft = {"n_fft": n_fft, "hop": 100, "window_length": 200, "centring": centring, "frame": "n_fft"}
        front = front_of({"sample_rate": 8000, "stft": stft, "output": {"layout": "BFT"}})
        theirs = torch.stft(
            torch.from_numpy(sound),
            n_fft,
            100,
            200,
            torch.hann_window(200),
            center=centring != "none",
            pad_mode=pad,
            return_complex=True,
        )
        assert_close(by_graph(front, sound[None])[0], (theirs.abs() ** 2).numpy().astype(float), 1e-5)


def test_mfcc_are_kaldis_and_torchaudios():
    import torch

    torchaudio = originals.torchaudio()
    sound = torch.from_numpy(originals.sound_of(16000))
    kaldi = torchaudio.compliance.kaldi.mfcc(sound[None] * 32768, num_ceps=13, num_mel_bins=23)
    ours = front_of(preset_fields("kaldi-fbank"), mel={"bins": 23}, mfcc={"count": 13, "lifter": 22.0})
    assert_close(ours.rows(sound.numpy())[0], kaldi.numpy().astype(float))
    theirs = torchaudio.transforms.MFCC()(sound).numpy().astype(float)
    ours = front_of(preset_fields("torchaudio-melspectrogram"), log={"range": 80.0}, mfcc={"count": 40})
    assert_close(ours.rows(sound.numpy())[0], theirs)


# What the classifiers of these tests take, [batch, ...], by layout.
LAYOUTS = {
    "BTF": lambda frames, bins: ["batch", frames, bins],
    "BFT": lambda frames, bins: ["batch", bins, frames],
    "B1TF": lambda frames, bins: ["batch", 1, frames, bins],
    "BN": lambda frames, bins: ["batch", "samples"],
}


def classifier(path, dims, axis, *, kind=TensorProto.FLOAT, last=None, offset=0.0):
    """Mean over all axes but that of the bins, and a matrix."""
    bins = dims[axis]
    weights = {
        "w": (np.random.default_rng(0).standard_normal((bins, 3)) / bins).astype(np.float32),
        "b": np.array([0.3, -0.2, offset], np.float32),
    }
    nodes = [
        node("Cast", "x", "f", to=TensorProto.FLOAT),
        node("ReduceMean", "f", "m", keepdims=0, axes=[a for a in range(1, len(dims)) if a != axis]),
        helper.make_node("Gemm", ["m", "w", "b"], ["y" if last is None else "z"]),
    ]
    if last is not None:
        nodes.append(node(last, "z", "y"))
    return saved(path, nodes, weights, {"x": (kind, dims)}, {"y": [dims[0], 3]}, opset=13)


BUNDLES = {
    # name: preset, fields, frames of the input, rescore
    "whisper": ("whisper", {"samples": {"count": 8000}, "frames": {"count": 50}}, 50, "spectrogram"),
    "ast": ("ast", {"frames": {"count": 60}}, 60, "waveform"),
    "panns": ("panns", {"sample_rate": 16000, "mel": {"high_hz": 7000.0}}, "frames", "spectrogram"),
    "one sound at a time": ("kaldi-fbank", {}, "frames", "waveform"),
}


@pytest.mark.parametrize("name", list(BUNDLES))
def test_a_classifier_of_features_becomes_a_bundle(tmp_path, name):
    preset, over, frames, rescore = BUNDLES[name]
    front = front_of(preset_fields(preset), **over)
    layout = PRESETS[preset].output.layout
    dims = LAYOUTS[layout](frames, front.description.bins)
    if name == "one sound at a time":
        dims[0] = 1
    path = classifier(tmp_path / "net.onnx", dims, layout.index("F"))
    window = None if front.window else 0.5
    manifest = write_bundle(load(path, labels=LABELS, frontend=front, window_seconds=window), tmp_path / "b")
    assert manifest.rescore == rescore
    assert manifest.parity.fp32["logits"].max_abs <= 1e-4
    if rescore == "spectrogram":
        assert manifest.analysis.n_fft == PRESETS[preset].stft.n_fft
    assert all(check.passed for check in verify(tmp_path / "b")[1])
    sound = originals.sound_of(16000, 0.5)
    with earmark.load(tmp_path / "b", device="cpu") as explainer:
        result = explainer.explain(sound, sample_rate=16000, methods=[])
        expected = answers(path, front.rows(sound))[0]
        np.testing.assert_allclose(result.logits, expected, atol=1e-4)


def test_a_window_of_fixed_frames(tmp_path):
    """The graph's dims, not the description, say how many frames there are: the window gets their length."""
    front = front_of(preset_fields("torchaudio-melspectrogram"))
    path = classifier(tmp_path / "net.onnx", ["batch", 128, 81], 1)
    with pytest.raises(SourceError, match=r"'x' takes float32 \[batch, 128, 81\].* gives \[batch, 128, 41\]"):
        load(path, labels=LABELS, frontend=front, window_seconds=0.5)
    source = load(path, labels=LABELS, frontend=front, window_seconds=1.0)
    write_bundle(source, tmp_path / "b")
    with earmark.load(tmp_path / "b", device="cpu") as explainer:
        for seconds in (0.4, 1.0):
            sound = originals.sound_of(16000, seconds)
            padded = np.pad(sound, (0, 16000 - len(sound)))
            np.testing.assert_allclose(
                explainer.explain(sound, sample_rate=16000, methods=[]).logits,
                answers(path, front.rows(padded))[0],
                atol=1e-4,
            )


@pytest.mark.parametrize("join", ["mean", "max"])
def test_patches_are_joined_as_scores(tmp_path, join):
    front = front_of(preset_fields("yamnet"), patches={"join": join})
    path = classifier(tmp_path / "net.onnx", ["batch", 96, 64], 2, last="Sigmoid", offset=4.0)
    told = {"labels": LABELS, "task": "multi_label", "scores": "probabilities", "window_seconds": 1.5}
    manifest = write_bundle(load(path, **told, frontend=front), tmp_path / "b")
    assert manifest.parity.fp32["scores"].max_abs <= 1e-5
    with earmark.load(tmp_path / "b", device="cpu") as explainer:
        for seconds in (0.3, 1.5):
            sound = originals.sound_of(16000, seconds)
            each = answers(path, originals.yamnet(sound).astype(np.float32))
            scores = dict(explainer.explain(sound, sample_rate=16000, methods=[]).predictions)
            expected = each.mean(axis=0) if join == "mean" else each.max(axis=0)
            np.testing.assert_allclose([scores[label] for label in LABELS], expected, atol=1e-5)


def test_quantised_features(tmp_path):
    """A uint8 input, as models of phones have."""
    output = {"layout": "BTF", "dtype": "uint8", "scale": 0.1, "zero_point": 180}
    front = front_of(preset_fields("kaldi-fbank"), output=output, frames={"count": 90})
    path = classifier(tmp_path / "net.onnx", ["batch", 90, 80], 2, kind=TensorProto.UINT8)
    model = onnx.load(path)
    # To logits of order one.
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(model.graph.initializer[0]) / 50, "w")
    )
    onnx.save(model, path)
    write_bundle(load(path, labels=LABELS, frontend=front), tmp_path / "b")
    sound = originals.sound_of(16000, 0.9)
    with earmark.load(tmp_path / "b", device="cpu") as explainer:
        np.testing.assert_allclose(
            engine_of(explainer).logits_of(sound[None]), answers(path, front.rows(sound)), atol=1e-3
        )


def front_file(path, *, batched=True, half=False):
    """A filter bank of eight bands as a graph: waveform -> [B, T, 8], or [T, 8] of one sound [N]."""
    kernel = np.random.default_rng(1).standard_normal((8, 1, 64)).astype(np.float32) / 8
    nodes = [
        node("Reshape", "wave shape", "rows"),
        node("Conv", "rows kernel", "bands", strides=[32]),
        node("Abs", "bands", "size"),
        node("Transpose", "size", "turned", perm=[0, 2, 1]),
    ]
    made, dims = "turned", ["batch", "T", 8]
    if not batched:
        nodes.append(node("Squeeze", f"{made} zero", "one"))
        made, dims = "one", ["T", 8]
    if half:
        nodes.append(node("Cast", made, "halved", to=TensorProto.FLOAT16))
        made = "halved"
    constants = {
        "shape": np.array([0, 1, -1] if batched else [1, 1, -1]),
        "kernel": kernel,
        "zero": np.array([0]),
    }
    wave = ["batch", "samples"] if batched else ["samples"]
    features = TensorProto.FLOAT16 if half else TensorProto.FLOAT, dims
    # Another opset and IR than the classifier's.
    return saved(path, nodes, constants, {"wave": wave}, {made: features}, opset=17, ir_version=9)


@pytest.mark.parametrize(("batched", "half"), [(True, False), (False, False), (True, True)])
def test_another_graph_is_the_front_end(tmp_path, batched, half):
    front = front_file(tmp_path / "front.onnx", batched=batched, half=half)
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    path = classifier(tmp_path / "net.onnx", ["batch", 1, "T", 8], 3, kind=kind)
    source = load(
        path,
        labels=LABELS,
        sample_rate=8000,
        frontend=open_frontend(str(front), sample_rate=8000),
        window_seconds=0.5,
    )
    manifest = write_bundle(source, tmp_path / "b")
    assert (manifest.stage("frontend").opset, manifest.stage("classifier").opset) == (17, 13)
    assert manifest.stage("frontend").outputs[0].dims[2] == 8
    assert all(check.passed for check in verify(tmp_path / "b")[1])
    sounds = np.stack([originals.sound_of(8000, 0.4), originals.sound_of(8000, 0.8)[3200:]])
    session = cpu_session(front)
    with earmark.load(tmp_path / "b", device="cpu") as explainer:
        made = engine_of(explainer).logits_of(sounds)
    for row, sound in enumerate(sounds):
        features = session.run(None, {"wave": sound[None] if batched else sound})[0].reshape(1, 1, -1, 8)
        np.testing.assert_allclose(made[row], answers(path, features)[0], atol=1e-4)


def test_descriptions_in_files(tmp_path):
    np.save(tmp_path / "bank.npy", np.random.default_rng(0).random((20, 129)))
    (tmp_path / "front.toml").write_text(
        "sample_rate = 8000\n[stft]\nn_fft = 256\nhop = 100\n"
        '[mel]\nfile = "bank.npy"\n[log]\nkind = "log10"\n'
    )
    front = open_frontend(str(tmp_path / "front.toml"), ["log.floor=1e-3", "output.layout=BFT"])
    sound = originals.sound_of(8000, 0.5)
    assert front.rows(sound).shape == (1, 20, 41)
    assert front.description.log.floor == 1e-3
    assert_close(by_graph(front, sound[None]), front.rows(sound).astype(float), 1e-4)
    (tmp_path / "own.toml").write_text('preset = "whisper"\n[mel]\nbins = 128\n')
    own = open_frontend(str(tmp_path / "own.toml")).description
    assert own == described(merged(preset_fields("whisper"), {"mel": {"bins": 128}}), "whisper")


REFUSED = [
    ("mfcc", [], "no front end; give a preset \\(ast, whisper, .*preprocessor_config.json.*\\.onnx"),
    ("whisper", ["mel.bands=3"], "unknown field `bands`.*docs/frontends.md"),
    ("whisper", ["mel.bins"], "give PART.FIELD=VALUE, as mel.bins=64"),
    ("whisper", ["mel.bins=many"], "mel.bins"),
    ("whisper", ["log.floor=0"], "log.floor 0: silence has no logarithm"),
    ("whisper", ["mel.high_hz=9000"], "up to 8000 Hz, half of sample_rate"),
    ("whisper", ["stft.window_length=401"], "stft.window_length 401: give 2 to stft.n_fft 400"),
    ("whisper", ["output.layout=BN"], "output.layout BN does not fit"),
    ("whisper", ["normalise.mean=[1.0, 2.0]"], "normalise.mean: 2 values for 80 bins"),
    ("whisper", ["mel.file=none.npy"], "none.npy: is no .npy file"),
    ("missing.toml", [], "missing.toml: is no readable TOML file"),
    ("missing.json", [], "missing.json: is no readable JSON file"),
]


@pytest.mark.parametrize(("text", "given", "why"), REFUSED)
def test_what_is_no_front_end_is_refused(text, given, why):
    with pytest.raises(SourceError, match=why):
        open_frontend(text, given).rows(np.zeros(480000, np.float32))


@pytest.mark.parametrize(
    ("dims", "layout"),
    [(["batch", 1, "T", 64], "B1TF"), (["batch", "T", 64, 1], "BTF1"), (["batch", "T", 64], "BTF")],
)
@pytest.mark.parametrize("given", ["BTF", "B1TF"])
def test_an_axis_of_one_channel_follows_the_classifier(dims, layout, given, tmp_path):
    path = classifier(tmp_path / "net.onnx", dims, layout.index("F"))
    front = open_frontend("panns", [f"output.layout={given}"])
    source = load(path, labels=LABELS, window_seconds=1.0, frontend=front)
    rows = front_of(preset_fields("panns"), output={"layout": layout}).rows(originals.sound_of(32000, 1.0))
    sound = originals.sound_of(32000, 1.0)[None]
    np.testing.assert_allclose(source.outputs(sound)["logits"], answers(path, rows), atol=1e-4)


def test_features_that_do_not_fit_are_refused(tmp_path):
    path = classifier(tmp_path / "net.onnx", ["batch", 1, 64, "T"], 2)
    told = {"labels": LABELS, "window_seconds": 1.0}
    for preset, fields, why in (
        (
            "ast",
            ["output.layout=BTF"],
            r"takes float32 \[batch, 1, 64, T\], .* gives \[batch, 1, 1024, 128\]",
        ),
        ("panns", [], r"gives \[batch, 1, 101, 64\] for 32000 samples.*output.layout"),
        ("panns", ["output.layout=B1FT", "output.dtype=float16"], "gives float16; set output.dtype"),
    ):
        with pytest.raises(SourceError, match=f"'x' .*{why}"):
            load(path, **told, frontend=open_frontend(preset, fields))
    levelled = open_frontend("panns", ["output.layout=B1FT", "level=peak"])
    with pytest.raises(SourceError, match="the level signed_peak, and peak of its front end"):
        load(path, **told, level="signed_peak", frontend=levelled)
    assert load(path, **told, frontend=levelled).level == "peak"
    with pytest.raises(SourceError, match="a sample rate of 8000 Hz, and 32000 Hz in the description"):
        load(path, **told, sample_rate=8000, frontend=open_frontend("panns"))
