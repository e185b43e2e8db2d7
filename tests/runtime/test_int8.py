"""The int8 classifier: what stays in float32, how far it agrees, and what is refused."""

import json

import numpy as np
import onnx
import pytest
import soundfile
from command_line import invoke
from saved_graph import node, saved

import earmark
from earmark.errors import DataError, MethodError, ParityError, SourceError
from earmark.export.bundle import int8_explanations, quantization
from earmark.export.bundle.int8_explanations import ExplanationsMeter, loses
from earmark.export.bundle.sounds import synthesise
from earmark.export.bundle.write import write_bundle
from earmark.export.sources.onnx.file import load
from earmark.runtime.explainer import engine_of
from earmark.runtime.verify import verify

RATE = 8000
LABELS = ["a", "b", "c", "d"]


def write_net(path, *, widths=(16, 24, 24), hop=128, one_by_one=False):
    """A filterbank by a strided convolution, log energies, and a CNN over them; seeded random weights."""
    random = np.random.default_rng(0)
    time = np.arange(256) / RATE
    bands = np.geomspace(60, 3600, 32)
    kernel = np.concatenate(
        [np.cos(2 * np.pi * bands[:, None] * time), np.sin(2 * np.pi * bands[:, None] * time)]
    )
    constants = {
        "wave_shape": np.array([1 if one_by_one else 0, 1, -1], np.int64),
        "kernel": (kernel * np.hanning(256))[:, None].astype(np.float32),
        "halves": np.array([32, 32], np.int64),
        "floor": np.array(1e-3, np.float32),
        "map_axis": np.array([1], np.int64),
    }
    nodes = [
        node("Reshape", "wave wave_shape", "sound"),
        node("Conv", "sound kernel", "parts", strides=[hop], name="filterbank"),
        node("Mul", "parts parts", "squares"),
        node("Split", "squares halves", "even odd", axis=1),
        node("Add", "even odd", "power"),
        node("Add", "power floor", "floored"),
        node("Log", "floored", "log"),
        node("Unsqueeze", "log map_axis", "map0"),
    ]
    inputs = 1
    for index, width in enumerate(widths):
        weight = random.standard_normal((width, inputs, 3, 3)) * np.sqrt(2 / (9 * inputs))
        constants[f"w{index}"] = weight.astype(np.float32)
        nodes += [
            node("Conv", f"map{index} w{index}", f"c{index}", pads=[1, 1, 1, 1], name=f"conv{index}"),
            node("Relu", f"c{index}", f"r{index}"),
            node("AveragePool", f"r{index}", f"map{index + 1}", kernel_shape=[2, 1], strides=[2, 1]),
        ]
        inputs = width
    constants["matrix"] = (random.standard_normal((inputs, 4)) * 1.5).astype(np.float32)
    constants["bias"] = np.zeros(4, np.float32)
    nodes += [
        node("GlobalAveragePool", f"map{len(widths)}", "pooled"),
        node("Flatten", "pooled", "flat"),
        node("Gemm", "flat matrix bias", "scores", name="head"),
    ]
    batch = 1 if one_by_one else "batch"
    return saved(path, nodes, constants, {"wave": [batch, "samples"]}, {"scores": [batch, 4]})


def source_of(path):
    return load(path, labels=LABELS, sample_rate=RATE, window_seconds=1.0)


@pytest.fixture(scope="module", autouse=True)
def _few_calls():
    """Segments of a second need fewer answers than those of real clips."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8_explanations, "CALLS", 24)
        yield


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    """Synthesised clips, one silent and one that is no sound."""
    folder = tmp_path_factory.mktemp("calibration")
    for index, clip in enumerate(synthesise(12, RATE, RATE, seed=50)):
        soundfile.write(folder / f"clip_{index:02}.wav", 0.5 * clip / np.abs(clip).max(), RATE)
    soundfile.write(folder / "silence.wav", np.zeros(RATE), RATE)
    (folder / "damaged.wav").write_bytes(b"RIFF, but no sound")
    return folder


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return write_net(tmp_path_factory.mktemp("net") / "net.onnx")


@pytest.fixture(scope="module")
def bundle(net, calibration, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "bundle"
    write_bundle(source_of(net), path, calibration=calibration)
    return path


def test_agreement_is_measured_and_stored(bundle):
    document = json.loads((bundle / "bundle.json").read_text())
    record = document["parity"]["int8"]
    assert record["labels"]["agreement"] >= 0.75
    assert 0.95 <= record["ranks"]["spearman"] <= 1
    assert record["ranks"]["least"] <= record["ranks"]["spearman"]
    assert 0 < record["logits"]["mean_abs"] < record["logits"]["max_abs"] < record["logits"]["limit"]
    # Neither the silent clip nor the damaged one, and none on both sides.
    assert record["calibration_clips"] + record["clips"] == 12
    assert record["perturbed"] == 16 * record["clips"]


def test_scores_by_int8_are_those_measured(bundle, calibration):
    record = json.loads((bundle / "bundle.json").read_text())["parity"]["int8"]
    clips = np.stack(
        [soundfile.read(path, dtype="float32")[0] for path in sorted(calibration.glob("clip_*"))]
    )
    with earmark.load(bundle, device="cpu") as explainer:
        exact, quick = (
            engine_of(explainer).logits_of(clips),
            engine_of(explainer).logits_of(clips, precision="int8"),
        )
    assert quick.shape == exact.shape
    difference = np.abs(exact - quick)
    assert 0 < difference.max() <= 2 * record["logits"]["max_abs"]
    assert difference.mean() < 0.1 * exact.std()
    assert np.corrcoef(exact.ravel(), quick.ravel())[0, 1] > 0.99


def test_front_end_first_layer_and_head_stay_in_float(bundle):
    graph = onnx.load(bundle / "classifier_int8.onnx").graph
    makers = {name: node for node in graph.node for name in node.output}
    quantised = {
        node.op_type: sum(
            makers[node.input[1]].op_type == "DequantizeLinear"
            for node in graph.node
            if node.op_type == kind and node.input[1] in makers
        )
        for kind in ("Conv", "Gemm")
        for node in graph.node
        if node.op_type == kind
    }
    # Of four convolutions the filterbank and the first layer are not, the head neither.
    assert quantised == {"Conv": 2, "Gemm": 0}
    assert [output.name for output in graph.output] == ["logits"]


def test_verify_and_inspect_know_it(bundle, tmp_path):
    checks = {check.output: check for check in verify(bundle)[1]}
    assert {"logits_0", "logits_int8_0"} <= set(checks)
    assert all(check.passed for check in checks.values())
    record = json.loads((bundle / "bundle.json").read_text())["parity"]["int8"]
    assert checks["logits_int8_0"].limit == pytest.approx(record["logits"]["limit"])
    told = invoke("inspect", bundle).output
    assert "classifier_int8" in told
    assert "ranks: spearman" in told
    assert "of fp32" in told
    assert "int8 classifier" in (bundle / "README.md").read_text()


def test_weights_beside_the_graph(calibration, tmp_path):
    path = write_net(tmp_path / "net.onnx", widths=(16, 96, 320), hop=512)
    manifest = write_bundle(source_of(path), tmp_path / "b", calibration=calibration)
    assert manifest.stage("classifier").data
    quick = manifest.files["classifier_int8.onnx"].size
    assert quick < 0.4 * manifest.files["classifier.onnx.data"].size
    assert all(check.passed for check in verify(tmp_path / "b")[1])


def test_a_bundle_without_says_so(net, tmp_path):
    write_bundle(source_of(net), tmp_path / "plain")
    with (
        earmark.load(tmp_path / "plain", device="cpu") as explainer,
        pytest.raises(MethodError, match="--int8"),
    ):
        engine_of(explainer).logits_of(np.zeros((1, RATE), np.float32), precision="int8")


def test_the_same_folder_gives_the_same_graph(net, calibration, bundle, tmp_path):
    write_bundle(source_of(net), tmp_path / "again", calibration=calibration)
    again = (tmp_path / "again" / "classifier_int8.onnx").read_bytes()
    assert again == (bundle / "classifier_int8.onnx").read_bytes()


def test_poor_agreement_is_refused(net, calibration, tmp_path, monkeypatch):
    monkeypatch.setattr(quantization, "RANK_LIMIT", 1.1)
    with pytest.raises(ParityError, match="more clips"):
        write_bundle(source_of(net), tmp_path / "poor", calibration=calibration)
    assert list(tmp_path.iterdir()) == []


def test_explanations_agree_and_are_stored(bundle):
    explained = json.loads((bundle / "bundle.json").read_text())["parity"]["int8"]["explanations"]
    assert 0.8 <= explained["ranks"] <= 1
    assert 0.5 <= explained["overlap"] <= 1
    for change in (explained["ff_change"], explained["ad_change"]):
        assert change["low"] <= change["mean"] <= change["high"]
    told = invoke("inspect", bundle).output
    assert "segments: ranks" in told
    assert "FF" in (bundle / "README.md").read_text()


def noisy(wave_logits):
    """A classifier whose answers have nothing to do with the sound."""
    random = np.random.default_rng(0)
    return lambda waves: wave_logits(waves) * 0 + random.standard_normal((len(waves), 4)).astype(np.float32)


def test_explanations_that_lose_faithfulness_are_refused(net, calibration, tmp_path, monkeypatch):
    def by_place(waves):
        """Logits that the loudness of the first half of a sound decides."""
        loud = np.abs(waves[:, : waves.shape[1] // 2]).mean(axis=1) * 40 - 3
        return np.stack([loud, *[np.zeros_like(loud)] * 3], axis=1).astype(np.float32)

    random = np.random.default_rng(3)
    meters = {
        name: ExplanationsMeter(source_of(net), {"fp32": by_place, "int8": int8}, 0)
        for name, int8 in (("same", by_place), ("noise", noisy(by_place)))
    }
    for _ in range(6):
        sound = random.standard_normal(RATE).astype(np.float32) * 0.01
        sound[: RATE // 5] *= 40
        for meter in meters.values():
            meter.add(sound, 0)
    same, noise = (meter.agreement() for meter in meters.values())
    assert same.ranks == pytest.approx(1.0)
    assert same.overlap == 1.0
    assert (same.ff_change.low, same.ff_change.high) == (0.0, 0.0)
    assert not loses(same)
    assert noise.ff_change.high < -0.02
    assert loses(noise)

    monkeypatch.setattr(quantization, "loses", lambda _: True)
    with pytest.raises(ParityError, match="less faithful"):
        write_bundle(source_of(net), tmp_path / "poor", calibration=calibration)
    assert list(tmp_path.iterdir()) == []


def test_detections_by_int8(bundle, net, calibration, tmp_path):
    sound = np.concatenate(
        [soundfile.read(path, dtype="float32")[0] for path in sorted(calibration.glob("clip_*"))[:4]]
    )
    record = json.loads((bundle / "bundle.json").read_text())["parity"]["int8"]
    with earmark.load(bundle, device="cpu") as explainer:
        found = {
            precision: explainer.detect(sound, RATE, min_score=0.0, methods=[], precision=precision)
            for precision in ("fp32", "int8")
        }
        detection = explainer.detect(
            sound,
            RATE,
            min_score=0.0,
            labels=["a"],
            methods=["segments"],
            options={"segments": {"calls": 32}},
            precision="int8",
        )[0]
    exact, quick = (one.windows.scores for one in found.values())
    # A softmax changes by no more than half of what its logits do, both ways.
    assert 0 < np.abs(exact - quick).max() <= record["logits"]["limit"]
    assert detection.explanation.segments is not None
    out = tmp_path / "run"
    soundfile.write(tmp_path / "sound.wav", sound, RATE)
    arguments = ("detect", tmp_path / "sound.wav", "-b", bundle, "--min-score", 0, "--explain", "none")
    invoke(*arguments, "--int8", "-o", out, code=0)


def test_detections_by_int8_need_the_classifier(net, tmp_path):
    write_bundle(source_of(net), tmp_path / "plain")
    with earmark.load(tmp_path / "plain", device="cpu") as explainer:
        with pytest.raises(earmark.EarmarkError, match="--int8"):
            explainer.detect(np.zeros(RATE, np.float32), RATE, precision="int8")
        with pytest.raises(earmark.EarmarkError, match="fp32 or int8"):
            explainer.detect(np.zeros(RATE, np.float32), RATE, precision="fp8")


def test_too_few_clips(net, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no sound files"):
        write_bundle(source_of(net), tmp_path / "b", calibration=tmp_path / "empty")
    for index in range(3):
        soundfile.write(tmp_path / "empty" / f"{index}.wav", synthesise(1, RATE, RATE, index)[0] / 2, RATE)
    (tmp_path / "empty" / "3.wav").write_text("no sound")
    with pytest.raises(DataError, match="3 clips"):
        write_bundle(source_of(net), tmp_path / "b", calibration=tmp_path / "empty")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("how", [{"widths": ()}, {"one_by_one": True}])
def test_nothing_to_quantise(tmp_path, calibration, how):
    path = write_net(tmp_path / "net.onnx", **how)
    with pytest.raises(SourceError, match="no layer"):
        write_bundle(source_of(path), tmp_path / "b", calibration=calibration)


def test_the_commands_usage(net, calibration, tmp_path):
    words = ("export", net, "-o", tmp_path / "b", "--labels", "a,b,c,d", "--sample-rate", RATE)
    words += ("--window", 1, "--int8")
    invoke(*words, code=2, says="--calibration")
    invoke(*words, "--calibration", tmp_path / "none", code=2)
    assert "ranks by" in invoke(*words, "--calibration", calibration, code=0).output
    invoke("verify", tmp_path / "b", code=0)


@pytest.mark.slow
def test_a_source_in_pytorch(tiny_source, calibration, tmp_path):
    manifest = write_bundle(tiny_source, tmp_path / "tiny", calibration=calibration)
    assert manifest.parity.int8.ranks.spearman >= 0.95
    assert manifest.stage("classifier_int8").inputs == manifest.stage("classifier").inputs
    assert all(check.passed for check in verify(tmp_path / "tiny")[1])
