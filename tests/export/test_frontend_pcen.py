"""PCEN, which keeps a state in time, as a front end by another graph: features, bundle, training."""

import frontend_originals as originals
import numpy as np
import onnx_graphs as graphs
import pytest
import scipy.signal
from later import later
from onnx import TensorProto, helper
from saved_graph import node, saved
from scipy.special import expit

import earmark
from earmark.export.bundle.write import write_bundle
from earmark.export.sources.onnx.file import load
from earmark.export.sources.onnx.frontends import open_frontend
from earmark.runtime.audio.sound import open_sound
from earmark.runtime.audio.stft import as_complex, inverse
from earmark.runtime.explainer import engine_of
from earmark.runtime.inference.onnx_runtime import cpu_session

torch = later("torch")
trainable = later("earmark.export.sources.onnx.trainable", "trainable")

RATE, N_FFT, HOP, BANDS = graphs.RATE, 256, 80, graphs.BANDS
GAIN, BIAS, POWER, SECONDS, EPS = 0.98, 2.0, 0.5, 0.4, 1e-6
# Of the first-order filter whose time constant librosa means.
FRAMES = SECONDS * RATE / HOP
SMOOTHING = (np.sqrt(1 + 4 * FRAMES**2) - 1) / (2 * FRAMES**2)
ROW = ["batch", BANDS]
HOW = {
    "labels": graphs.LABELS,
    "sample_rate": RATE,
    "task": "multi_label",
    "scores": "probabilities",
    "window_seconds": 1.0,
}


def bank():
    """Triangles [bins, BANDS], evenly spaced."""
    edges = np.linspace(0, RATE / 2, BANDS + 2)
    bins = np.linspace(0, RATE / 2, N_FFT // 2 + 1)[:, None]
    rising, falling = bins - edges[:-2], edges[2:] - bins
    return (np.clip(np.minimum(rising, falling), 0, None) / (edges[1] - edges[0])).astype(np.float32)


def front_file(path):
    """Waveform [B, N] -> PCEN [B, T, BANDS], as librosa defines it, in int16's scale; the state in a Scan."""

    def value(name, dims):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)

    frame = helper.make_graph(
        [
            node("Mul", "energy b", "new"),
            node("Mul", "before rest", "old"),
            node("Add", "new old", "after"),
            node("Identity", "after", "shown"),
        ],
        "frame",
        [value("before", ROW), value("energy", ROW)],
        [value("after", ROW), value("shown", ROW)],
    )
    nodes = [
        node("Mul", "wave scale", "loud"),
        node("Pad", "loud edges", "padded", mode="reflect"),
        node("STFT", "padded hop window", "stft"),
        node("ReduceSumSquare", "stft", "power", axes=[3], keepdims=0),
        node("MatMul", "power bank", "mel"),
        # The filter begins as if it had seen ones.
        node("Transpose", "mel", "in_time", perm=[1, 0, 2]),
        node("Slice", "in_time zero first zero", "one"),
        node("Squeeze", "one zero", "row"),
        node("Sub", "row row", "nothing"),
        node("Exp", "nothing", "ones"),
        node("Scan", "ones in_time", "end smoothed", body=frame, num_scan_inputs=1),
        node("Transpose", "smoothed", "smooth", perm=[1, 0, 2]),
        node("Add", "smooth eps", "floored"),
        node("Pow", "floored gain", "level"),
        node("Div", "mel level", "relative"),
        node("Add", "relative bias", "lifted"),
        node("Pow", "lifted root", "compressed"),
        node("Sub", "compressed offset", "features"),
    ]
    numbers = {
        "scale": 2.0**15, "b": SMOOTHING, "rest": 1 - SMOOTHING, "eps": EPS, "gain": GAIN, "bias": BIAS,
        "root": POWER, "offset": BIAS**POWER,
    }  # fmt: skip
    arrays = {
        "edges": np.array([0, N_FFT // 2, 0, N_FFT // 2]), "hop": np.array(HOP), "zero": np.array([0]),
        "first": np.array([1]), "window": scipy.signal.get_window("hann", N_FFT).astype(np.float32),
        "bank": bank(), **{name: np.array(number, np.float32) for name, number in numbers.items()},
    }  # fmt: skip
    return saved(
        path, nodes, arrays, {"wave": ["batch", "samples"]}, {"features": ["batch", "frames", BANDS]}
    )


def mel_of(sound):
    """Power in bands [BANDS, T], by scipy."""
    padded = np.pad(sound.astype(np.float64) * 2**15, N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    spectrum = np.fft.rfft(frames * scipy.signal.get_window("hann", N_FFT))
    return (np.abs(spectrum) ** 2 @ bank()).T


def pcen_of(mel):
    """[BANDS, T] by its formula, the smoothing by scipy's filter."""
    start = np.full((len(mel), 1), 1 - SMOOTHING)
    smooth, _ = scipy.signal.lfilter([SMOOTHING], [1, SMOOTHING - 1], mel, zi=start)
    return (mel / (EPS + smooth) ** GAIN + BIAS) ** POWER - BIAS**POWER


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    return front_file(tmp_path_factory.mktemp("pcen") / "front.onnx")


def test_its_features_are_those_of_the_formula(front):
    sound = originals.sound_of(RATE, 1.0)
    (ours,) = cpu_session(front).run(None, {"wave": sound[None]})
    np.testing.assert_allclose(ours[0].T, pcen_of(mel_of(sound)), rtol=1e-3, atol=1e-3)


@pytest.mark.originals
def test_its_features_are_librosas(front):
    import librosa

    sound = originals.sound_of(RATE, 1.0)
    theirs = librosa.pcen(
        mel_of(sound),
        sr=RATE,
        hop_length=HOP,
        gain=GAIN,
        bias=BIAS,
        power=POWER,
        time_constant=SECONDS,
        eps=EPS,
    )
    (ours,) = cpu_session(front).run(None, {"wave": sound[None]})
    np.testing.assert_allclose(ours[0].T, theirs, rtol=1e-3, atol=1e-3)


def test_a_bundle_of_it_explains_and_rescores(front, tmp_path):
    """Scores are the graph's on the formula's features; what segments leave is scored as it sounds."""
    net = graphs.panns(tmp_path / "net.onnx")
    source = load(net, frontend=open_frontend(str(front), sample_rate=RATE), **HOW)
    assert source.rescore == "waveform"
    write_bundle(source, tmp_path / "bundle")
    sound = originals.sound_of(RATE, 1.0)

    def scores_of(wave):
        features = pcen_of(mel_of(wave)).T[None, None].astype(np.float32)
        return cpu_session(net).run(None, {"sound": features})[0][0]

    with earmark.load(tmp_path / "bundle", device="cpu") as explainer:
        result = explainer.explain(sound, sample_rate=RATE, methods=["segments"], seed=0)
        expected = dict(zip(graphs.LABELS, scores_of(sound), strict=True))
        assert dict(result.predictions) == pytest.approx(expected, abs=1e-4)
        assert result.segments is not None
        # A masked sound goes through the same steps, its gain control anew.
        engine = engine_of(explainer)
        (window,) = engine.windows(open_sound((sound, RATE), None, RATE))
        random = np.random.default_rng(0)
        mask = np.repeat(random.random((len(window.stft), 1)) > 0.5, window.stft.shape[1], axis=1)
        analysis = engine.manifest.analysis
        kept = inverse(as_complex(window.stft) * mask, analysis, len(window.waveform)).astype(np.float32)
        for wave in (kept, window.waveform - kept):
            given = scores_of(wave)
            assert np.abs(given - scores_of(sound)).max() > 1e-3
            np.testing.assert_allclose(expit(engine.logits_of(wave[None])[0]), given, atol=1e-4)


@pytest.mark.slow
def test_training_differentiates_through_its_state(front, tmp_path):
    net = graphs.panns(tmp_path / "net.onnx")
    source = trainable(load(net, frontend=open_frontend(str(front), sample_rate=RATE), **HOW))
    sound = torch.from_numpy(originals.sound_of(RATE, 1.0))[None].requires_grad_()
    (gradient,) = torch.autograd.grad(source.forward_pass(sound)["logits"][0, 0], sound)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
