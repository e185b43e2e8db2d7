"""An .onnx alone: a tensor of it becomes the feature map, U and prototypes follow, no model in PyTorch."""

import json

import numpy as np
import onnx
import pytest
import soundfile
from command_line import invoke
from later import later

import earmark
from earmark.errors import SourceError
from earmark.export.sources.onnx.feature_map import MapRequest
from earmark.export.sources.onnx.file import load
from earmark.runtime.opening import open_bundle

later("onnxruntime")
torch = later("torch")
models = later("apex_models")

LABELS = ["hum", "whistle"]


def graph(path, rows=4, pooling="max_mean", samples=None):
    """Export the model; returns the name of its map, the product by 1.5."""
    length = samples or 4000
    dynamic = None if samples else {"wave": {0: "batch", 1: "samples"}}
    model = models.Listening(rows, pooling).eval()
    torch.onnx.export(
        model, (torch.zeros(1, length),), str(path), input_names=["wave"], output_names=["scores"],
        dynamic_axes=dynamic, dynamo=False, opset_version=17,
    )  # fmt: skip
    products = [node for node in onnx.load(str(path)).graph.node if node.op_type == "Mul"]
    return model, products[0].output[0]


def write_tones(folder):
    """Three tones in faint noise of each label."""
    random = np.random.default_rng(0)
    for label, pitch in zip(LABELS, (120, 900), strict=True):
        (folder / label).mkdir(parents=True)
        for index in range(3):
            wave = np.sin(2 * np.pi * pitch * np.arange(4000) / 8000) + 0.1 * random.standard_normal(4000)
            soundfile.write(folder / label / f"1-{pitch + index}-A-0.wav", wave / 2, 8000)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("rows", "pooling", "axes", "samples", "found"),
    [
        (4, "max_mean", "cft", None, "max_mean"),
        (4, "mean", "cft", 4000, "mean"),
        (1, "mean", "tc", None, "mean"),
        (4, "square", "cft", None, "other"),
    ],
)
def test_a_graphs_tensor_becomes_the_feature_map(tmp_path, rows, pooling, axes, samples, found):
    """Pooling and head are found in the graph; U over the bundle keeps the logits and adds up to them."""
    model, tensor = graph(tmp_path / "model.onnx", rows, pooling, samples)
    bands = [] if rows == 1 else ["--map-bands", ",".join(str(250 * row) for row in range(rows + 1))]
    window = [] if samples else ["--window", "0.5"]
    told = ["--labels", ",".join(LABELS), "--sample-rate", 8000, "--feature-map", tensor, "--map-axes", axes]
    invoke("export", tmp_path / "model.onnx", "-o", tmp_path / "bundle", *told, *bands, *window, code=0)
    spec = open_bundle(tmp_path / "bundle").manifest.feature_map
    assert (spec.channels, len(spec.bands_hz), spec.pooling) == (6, rows, found)
    assert spec.additive == (found != "other")
    assert spec.frame_seconds == pytest.approx(40 / 8000, rel=0.02)
    write_tones(tmp_path / "data")
    before = earmark.load(tmp_path / "bundle").explain(tmp_path / "data/hum/1-120-A-0.wav", methods=[])
    invoke("train", "apex", tmp_path / "bundle", tmp_path / "data", "--rounds", "5", "--n-last", "2", code=0)
    result = earmark.load(tmp_path / "bundle").explain(
        tmp_path / "data/hum/1-120-A-0.wav", methods=["prototypes"]
    )
    np.testing.assert_array_equal(result.logits, before.logits)
    wave, _ = soundfile.read(tmp_path / "data/hum/1-120-A-0.wav", dtype="float32")
    with torch.no_grad():
        own = model(torch.from_numpy(wave)[None])[0].numpy()
    np.testing.assert_allclose(result.logits, own, atol=1e-4)
    assert result.channels.additive == (found != "other")
    if result.channels.additive:
        assert abs(result.channels.error) < 1e-3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_u_is_learnt_over_the_file_and_folded_in_when_it_is_exported(tmp_path):
    model, tensor = graph(tmp_path / "model.onnx")
    told = [
        "--labels", ",".join(LABELS), "--sample-rate", "8000", "--feature-map", tensor, "--map-axes", "cft",
        "--map-bands", "0,250,500,750,1000", "--window", "0.5",
    ]  # fmt: skip
    write_tones(tmp_path / "data")
    run, bundle, file = tmp_path / "run", tmp_path / "bundle", tmp_path / "model.onnx"

    def earmark_does(*words):
        return invoke(*words, code=0).output

    shown = earmark_does("train", "apex", file, str(tmp_path / "data"), "-o", run, "--rounds", "5", *told)
    assert f"--apex {run}" in shown
    earmark_does("export", file, "-o", bundle, "--apex", run, *told)
    earmark_does("index", bundle, str(tmp_path / "data"))
    result = earmark.load(bundle).explain(tmp_path / "data/hum/1-120-A-0.wav", methods=["prototypes"])
    report = json.loads((tmp_path / "run" / "apex.json").read_text())["report"]
    assert report["channels"] == 6
    assert abs(result.channels.error) < 1e-3
    wave, _ = soundfile.read(tmp_path / "data/hum/1-120-A-0.wav", dtype="float32")
    with torch.no_grad():
        own = model(torch.from_numpy(wave)[None])[0].numpy()
    np.testing.assert_allclose(result.logits, own, atol=1e-4)
    other = onnx.load(file)
    other.doc_string = "another"
    onnx.save(other, file)
    done = invoke("export", file, "-o", bundle, "--force", "--apex", run, *told)
    assert (done.exit_code, "was learnt over another classifier" in done.output) == (1, True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (MapRequest("nowhere", "cft", (0, 1, 2, 3, 4)), "no tensor 'nowhere'"),
        (MapRequest("", "cft", (0, 1, 2)), "4 rows of frequency; give their 5 edges"),
        (MapRequest("", "cft", (0, 1, 3, 2, 4)), "ascending"),
        (MapRequest("", "ct"), "not floats"),
        (MapRequest("", "ctf", (0, 1, 2, 3, 4)), "correct its axes"),
        (MapRequest("", "xyz"), "axes 'xyz'"),
    ],
)
def test_a_map_described_wrongly_is_refused(tmp_path, request_, text):
    """Names, axes and bands that do not fit the graph."""
    _, tensor = graph(tmp_path / "model.onnx")
    asked = MapRequest(request_.tensor or tensor, request_.axes, request_.bands_hz)
    with pytest.raises(SourceError, match=text):
        load(tmp_path / "model.onnx", labels=LABELS, sample_rate=8000, window_seconds=0.5, feature_map=asked)
