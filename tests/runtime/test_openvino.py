"""A second real provider: OpenVINO's, on the CPU; in an environment of its own, since builds of onnxruntime
overwrite each other (`pip install ".[openvino]" pytest pytest-timeout`, then `pytest -m openvino`).
"""

import numpy as np
import pytest

import earmark
from earmark.runtime.explainer import SHIPPED, engine_of
from earmark.runtime.inference import session
from earmark.runtime.inference.tensors import DeviceTensor

pytestmark = pytest.mark.openvino

RATE = 16_000


@pytest.fixture(scope="module")
def waves():
    """Decaying noise, 2 s: as drums are."""
    random = np.random.default_rng(0)
    decay = np.exp(-np.linspace(0.0, 9.0, 2 * RATE) * random.uniform(0.5, 2.0, (5, 1)))
    return (random.standard_normal(decay.shape) * decay * 0.2).astype(np.float32)


@pytest.fixture(scope="module")
def explainers():
    return earmark.load(SHIPPED, "cpu"), earmark.load(SHIPPED, providers=["openvino", "cpu"])


def test_its_explanations_are_onnxruntimes_own(explainers, waves):
    ours, theirs = (
        list(one.explain_many(waves, sample_rate=RATE, batch_size=len(waves), rescore=True))
        for one in explainers
    )
    for expected, found in zip(ours, theirs, strict=True):
        assert found.device == "OpenVINOExecutionProvider, CPUExecutionProvider"
        assert (found.target, found.ok) == (expected.target, True)
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)
        np.testing.assert_allclose(found.mask.values, expected.mask.values, atol=1e-4)
        np.testing.assert_allclose(found.mask.audio, expected.mask.audio, atol=1e-5)
        for view, nearest in expected.prototypes.items():
            assert found.prototypes[view][0].clip == nearest[0].clip
        for domain, scores in expected.rescored.items():
            assert found.rescored[domain]["mask_in"] == pytest.approx(scores["mask_in"], abs=1e-4)


def test_tensors_stay_with_it(explainers, waves):
    sessions = engine_of(explainers[1]).sessions
    stft = sessions.keep("frontend", {"waveform": waves})["stft"]
    assert isinstance(stft, DeviceTensor)
    kept = sessions.run("classifier", {"stft": stft}, ["logits"])["logits"]
    copied = sessions.run("classifier", {"stft": stft.array.copy()}, ["logits"])["logits"]
    np.testing.assert_allclose(kept, copied, atol=1e-6)


def test_it_runs_the_graphs_and_what_it_does_not_run_is_listed(waves, monkeypatch):
    made, activate = {}, session.activate

    def noted(path, *rest):
        made[path.name] = activate(path, *rest)
        return made[path.name]

    monkeypatch.setattr(session, "activate", noted)
    result = earmark.load(SHIPPED, providers=["openvino", "cpu"]).explain(waves[0], RATE)
    for name in ("frontend.onnx", "classifier.onnx", "decoder.onnx"):
        assert made[name].session.get_providers()[0] == "OpenVINOExecutionProvider"
        assert made[name].device.providers[0] == "OpenVINOExecutionProvider"
    elsewhere = {name for name, one in made.items() if one.device.name == "cpu"}
    assert {line.partition(":")[0] for line in result.warnings if "on the CPU instead" in line} >= elsewhere


def test_its_options_reach_it(waves):
    def warnings(options):
        explainer = earmark.load(SHIPPED, providers={"openvino": options, "cpu": {}})
        result = explainer.explain(waves[0], RATE, methods=["mask"])
        return [line for line in result.warnings if "on the CPU instead" in line]

    assert warnings({"device_type": "CPU", "precision": "FP32"}) == []
    # onnxruntime calls the provider active, and gives it nothing to do.
    fallen = warnings({"device_type": "NONSENSE"})
    assert any(line.startswith("classifier.onnx") and "Conv" in line for line in fallen)
