"""A model with thousands of labels: what is printed and written stays short unless all is asked for."""

import json

import numpy as np
import pytest
import soundfile
from command_line import invoke
from saved_graph import by_energy

import earmark
from earmark.export.bundle.write import write_bundle
from earmark.export.sources.onnx.file import load

RATE, COUNT = 1000, 6500


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Logits of a window: species k has its energy minus k / 1000."""
    folder = tmp_path_factory.mktemp("many")
    path = by_energy(folder / "many.onnx", np.ones(COUNT), -np.arange(COUNT) / 1000)
    labels = [f"Species number_{number}" for number in range(COUNT)]
    told = {"window_seconds": 1.0, "scores": "logits", "task": "multi_label"}
    write_bundle(load(path, labels=labels, sample_rate=RATE, **told), folder / "bundle")
    soundfile.write(folder / "s.wav", np.full(4 * RATE, 0.1), RATE)
    return folder / "bundle"


def test_what_is_told_is_bounded(bundle, tmp_path):
    sound = str(bundle.parent / "s.wav")
    done = invoke(
        "explain", "-b", bundle, sound, "--json", "--windows", "-m", "none", "-o", tmp_path / "r", code=0
    )
    assert len(done.stdout) < 20_000
    (record,) = json.loads(done.stdout)["results"]
    assert record["label_count"] == COUNT
    assert [one["label"] for one in record["predictions"]] == [f"Species number_{k}" for k in range(10)]
    assert len(record["window_scores"]) == record["windows"] == 7
    assert (tmp_path / "r" / "result.json").stat().st_size < 20_000
    assert (bundle / "README.md").stat().st_size < 6_000
    told = invoke("inspect", bundle).output
    assert len(told) < 3_000
    assert "... 6500 in all" in told


def test_all_of_it_is_there_when_asked_for(bundle):
    with earmark.load(bundle, device="cpu") as explainer:
        result = explainer.explain(str(bundle.parent / "s.wav"), methods=[])
        asked = explainer.explain(str(bundle.parent / "s.wav"), target="Species number_6000", methods=[])
    record = result.to_dict(None)
    assert len(record["predictions"]) == COUNT
    energy = 0.1**2
    assert record["target_score"] == pytest.approx(1 / (1 + np.exp(-energy)), abs=1e-4)
    # A score of 0.4976 is a logit of -0.0096: energy minus k / 1000, for k up to 19.6.
    assert len(result.to_dict(None, min_score=0.4976)["predictions"]) == 20
    assert asked.to_dict()["target_score"] == pytest.approx(1 / (1 + np.exp(6 - energy)), abs=1e-4)
