"""Long sound, window by window: where windows lie, and how their scores become one answer."""

import json

import numpy as np
import pytest
from command_line import invoke
from saved_graph import by_energy

import earmark
from earmark.export.bundle.write import write_bundle
from earmark.export.source.exportable import with_aggregate
from earmark.export.sources.onnx.file import load

RATE = 1000
LABELS = ["redpoll", "wren"]


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    """Redpoll 6.1035 e - 3, wren -2.5, where e is the energy of a window."""
    return by_energy(tmp_path_factory.mktemp("listener") / "listener.onnx", [6.1035, 0.0], [-3.0, -2.5])


def source_of(path, task="multi_label"):
    return load(path, labels=LABELS, sample_rate=RATE, window_seconds=3.0, scores="logits", task=task)


def ten_minutes():
    """600 s of silence with a call of energy 1 that fills the window 300-303 s."""
    sound = np.zeros(600 * RATE, np.float32)
    sound[300 * RATE : 303 * RATE] = np.tile(np.float32([1, -1]), 1500)
    return sound


@pytest.fixture(scope="module")
def bundles(listener, tmp_path_factory):
    """By how they join: the default of several labels, and the mean."""
    folder = tmp_path_factory.mktemp("joined")
    write_bundle(source_of(listener), folder / "max")
    write_bundle(with_aggregate(source_of(listener), "mean"), folder / "mean")
    return folder


def test_one_clear_call_in_ten_minutes_is_the_answer_and_is_explained(bundles):
    with earmark.load(bundles / "max", device="cpu") as explainer:
        result = explainer.explain(
            ten_minutes(), RATE, methods=["segments"], options={"segments": {"calls": 32, "fine_windows": 1}}
        )
    assert result.predictions[0] == ("redpoll", pytest.approx(0.957, abs=1e-3))
    assert result.target == "redpoll"
    # Windows at 0, 1.5, ... 597 s.
    assert len(result.windows) == 399
    segments = result.segments
    best = segments.strongest(1)[0]
    assert 300.0 <= segments.start_s[best] < 303.0
    assert segments.end_s[best] - segments.start_s[best] == pytest.approx(0.1)
    assert not any("mean over" in warning for warning in result.warnings)


def test_a_mean_that_hides_a_call_says_so(bundles):
    with earmark.load(bundles / "mean", device="cpu") as explainer:
        result = explainer.explain(ten_minutes(), RATE)
    assert result.predictions[0][0] == "wren"
    (said,) = result.warnings
    assert "'redpoll' has 95.7% in the window 300.00-303.00 s" in said
    assert "--aggregate max" in said


def test_so_does_the_mean_of_a_single_label(listener, tmp_path):
    write_bundle(source_of(listener, "single_label"), tmp_path / "b")
    with earmark.load(tmp_path / "b", device="cpu") as explainer:
        result = explainer.explain(ten_minutes(), RATE)
        (score,) = [score for label, score in result.predictions if label == "redpoll"]
        assert score < 0.5
        (said,) = result.warnings
        assert "'redpoll' has " in said
        assert "in the window 300.00-303.00 s" in said
        # One window hides nothing.
        alone = explainer.explain(ten_minutes()[300 * RATE : 303 * RATE], RATE)
        assert alone.predictions[0][0] == "redpoll"
        assert not any("mean over" in warning for warning in alone.warnings)


def test_the_aggregate_follows_the_task_and_can_be_chosen(listener, tmp_path):
    assert source_of(listener).window.aggregate == "max"
    assert source_of(listener, "single_label").window.aggregate == "mean"
    arguments = ["export", str(listener), "-o", str(tmp_path / "b"), "--labels", "redpoll,wren"]
    arguments += ["--sample-rate", str(RATE), "--window", "3", "--task", "multi_label", "--aggregate", "mean"]
    invoke(*arguments, code=0)
    window = json.loads((tmp_path / "b" / "bundle.json").read_text())["window"]
    assert (window["aggregate"], window["hop_seconds"]) == ("mean", 1.5)


def test_segments_run_when_named_alone(bundles, tmp_path):
    with earmark.load(bundles / "max", device="cpu") as explainer:
        assert explainer.methods == []
        result = explainer.explain(ten_minutes()[: 4 * RATE], RATE)
    assert result.segments is None
    # A bundle of before, whose manifest names them.
    manifest = json.loads((bundles / "max" / "bundle.json").read_text())
    manifest["explainers"] = ["segments"]
    old = tmp_path / "old"
    old.mkdir()
    for file in (bundles / "max").iterdir():
        (old / file.name).write_bytes(file.read_bytes())
    (old / "bundle.json").write_text(json.dumps(manifest))
    with earmark.load(old, device="cpu") as explainer:
        assert explainer.methods == []
    import soundfile

    soundfile.write(tmp_path / "s.wav", ten_minutes()[: 4 * RATE], RATE)
    done = invoke("explain", "-b", old, tmp_path / "s.wav", code=0)
    assert "-m segments" in done.output
    assert "log-odds" not in done.output
