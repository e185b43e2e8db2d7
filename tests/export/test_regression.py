"""Models that give values: shown and explained as values, refused where labels are meant."""

import json
import re

import numpy as np
import onnx
import pytest
import soundfile
from command_line import invoke
from saved_graph import node, saved

import earmark
from earmark.errors import MethodError, SettingsError, SourceError
from earmark.evaluation.data.folder import list_sounds
from earmark.evaluation.faithfulness.evaluate import evaluate_masks
from earmark.evaluation.localisation.evaluate import evaluate_events
from earmark.export.sources.onnx.file import load
from earmark.export.training.over_source import opened_source

RATE, SAMPLES = 8000, 4000
# loudness = 3000 mean|x| + 50, calm = 20 - 400 mean|x|.
GAINS, OFFSETS = (3000.0, -400.0), (50.0, 20.0)


def graph(path):
    """|x| as a map of one channel [B, 1, N], its mean, and two values of it."""
    constants = {
        "shape": np.array([0, 1, -1], np.int64),
        "matrix": np.array([GAINS], np.float32),
        "bias": np.array(OFFSETS, np.float32),
    }
    nodes = [
        node("Reshape", "x shape", "row"),
        node("Abs", "row", "size"),
        node("GlobalAveragePool", "size", "pooled"),
        node("Flatten", "pooled", "flat"),
        node("Gemm", "flat matrix bias", "values"),
    ]
    return saved(path, nodes, constants, {"x": ["batch", SAMPLES]}, {"values": ["batch", 2]})


def told(sound):
    size = float(np.abs(sound).mean())
    return [gain * size + offset for gain, offset in zip(GAINS, OFFSETS, strict=True)]


def burst(windows=1, at=0):
    """Silence with a tone of 0.1 s at 0.2 s of the window `at`."""
    sound = np.zeros(windows * SAMPLES, np.float32)
    start = at * SAMPLES + 1600
    sound[start : start + 800] = 0.5 * np.sin(np.arange(800))
    return sound


@pytest.fixture(scope="module")
def meter(tmp_path_factory):
    """Graph and bundle, exported by the command."""
    folder = tmp_path_factory.mktemp("meter")
    path = graph(folder / "meter.onnx")
    told = f"--labels loudness,calm --sample-rate {RATE} --task regression --feature-map size --map-axes ct"
    done = invoke("export", path, "-o", folder / "bundle", *told.split(), code=0)
    assert "2 values" in done.stdout
    assert "values, as the model gives them" in done.stdout
    assert "train lmac" not in done.stdout
    return path, folder / "bundle"


def test_values_are_told_as_they_are(meter, tmp_path):
    _, bundle = meter
    sound = burst()
    with earmark.load(bundle, device="cpu") as explainer:
        result = explainer.explain((sound, RATE), methods=[])
        found = [score for _, score in result.predictions]
        np.testing.assert_allclose(found, told(sound), rtol=1e-5)
        assert (result.task, result.target, result.predictions[1][0]) == ("regression", "loudness", "calm")
        # A value that is negative or small is no reason to leave it out, nor to put it last.
        assert [label for label, _ in result.windows.top()[0]] == ["loudness", "calm"]
        result.save(tmp_path / "saved")
        assert earmark.Result.load(tmp_path / "saved").task == "regression"
        record = json.loads((tmp_path / "saved" / "result.json").read_text())
        assert record["task"] == "regression"
        assert record["predictions"][0]["score"] == pytest.approx(told(sound)[0], rel=1e-5)
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, np.concatenate([sound, sound]), RATE, subtype="FLOAT")
    page = tmp_path / "page.html"
    done = invoke("explain", clip, "-b", bundle, "--windows", "--html", page, code=0)
    first, second = (f"{value:.4g}" for value in told(sound))
    assert f"values    loudness {first}   calm {second}" in done.stdout
    assert done.stdout.count(f"loudness {first}   calm {second}") == 4
    assert "%" not in done.stdout
    text = page.read_text()
    assert f"The model gives {first} for loudness." in text
    assert '"values":true' in text
    assert re.search("values +2 regression: loudness, calm", invoke("inspect", bundle).stdout)
    card = (bundle / "README.md").read_text()
    assert "| values | 2, regression |" in card
    assert "## Values" in card


def test_segments_say_what_moves_the_value(meter):
    _, bundle = meter
    options = {"segments": {"calls": 64, "fill": "zeros"}}
    with earmark.load(bundle, device="cpu") as explainer:
        for target, sign in (("loudness", 1), ("calm", -1)):
            sound = burst()
            part = explainer.explain(
                (sound, RATE), target=target, methods=["segments"], options=options
            ).segments
            moved = told(sound)[int(sign < 0)] - told(0 * sound)[int(sign < 0)]
            assert part.unit == "value"
            assert part.score == pytest.approx(told(sound)[int(sign < 0)], rel=1e-5)
            (strongest,) = part.top(1)
            assert part.start_s[strongest] == pytest.approx(0.2)
            assert part.importance[strongest] == pytest.approx(moved, rel=0.05)
            assert part.evidence_spans() == [pytest.approx((0.2, 0.3))]
            assert ("raises it" if sign > 0 else "lowers it") in next(iter(part.lines(1)))[1]
        # Of a longer sound: the difference from silence is divided among the windows.
        sound = burst(4, at=2)
        part = explainer.explain(
            (sound, RATE), target="calm", methods=["segments"], options=options, hop_s=0.5
        ).segments
        assert part.unit == "value"
        assert part.score == pytest.approx(told(sound)[1], rel=1e-5)
        assert part.importance.sum() == pytest.approx(told(sound)[1] - OFFSETS[1], rel=0.05)
        start, end = part.evidence_spans()[0]
        assert 1.15 <= start < end <= 1.35


def test_prototypes_and_contributions_add_up_to_the_value(meter, tmp_path):
    _, bundle = meter
    data = tmp_path / "data" / "any folder"
    data.mkdir(parents=True)
    for number in range(3):
        soundfile.write(data / f"{number}.wav", (number + 1) / 4 * burst(), RATE, subtype="FLOAT")
    invoke("index", bundle, tmp_path / "data", code=0)
    with earmark.load(bundle, device="cpu") as explainer:
        result = explainer.explain((burst(), RATE), target="calm", methods=["prototypes"])
    channels = result.channels
    assert channels.logit == pytest.approx(told(burst())[1], rel=1e-5)
    assert channels.bias + channels[0].contribution == pytest.approx(channels.logit, rel=1e-5)
    assert {one.label for one in result.prototypes["time"]} == {"any folder"}


def test_what_needs_labels_is_refused(meter, tmp_path):
    path, bundle = meter
    source = load(path, labels=["loudness", "calm"], sample_rate=RATE, task="regression")
    with pytest.raises(SourceError, match="gives values of a regression; masks and components"):
        opened_source(source, tmp_path / "run")
    with pytest.raises(SourceError, match="values of a regression are no probabilities"):
        load(path, labels=["a", "b"], sample_rate=RATE, task="regression", scores="probabilities")
    (tmp_path / "data" / "calm").mkdir(parents=True)
    soundfile.write(tmp_path / "data" / "calm" / "a.wav", burst(), RATE)
    sounds = list_sounds(tmp_path / "data", fewest_classes=1)
    with earmark.load(bundle, device="cpu") as explainer:
        with pytest.raises(SettingsError, match="values of a regression, of which none is detected"):
            explainer.detect((burst(), RATE))
        with pytest.raises(MethodError, match="lme does not join"):
            explainer.explain((burst(), RATE), aggregate="lme")
        for evaluate in (evaluate_masks, evaluate_events):
            with pytest.raises(MethodError, match="gives values of a regression"):
                evaluate(explainer, sounds)
    invoke(
        "detect", tmp_path / "data", "-b", bundle, "-o", tmp_path / "o", code=2, says="values of a regression"
    )


def test_a_value_is_suggested_where_its_name_says_so(tmp_path):
    model = onnx.load(graph(tmp_path / "meter.onnx"))
    model.graph.node[-1].output[0] = model.graph.output[0].name = "loudness"
    onnx.save(model, tmp_path / "meter.onnx")
    assert "--task regression" in invoke("inspect", tmp_path / "meter.onnx").stdout
