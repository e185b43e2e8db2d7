"""Where the runtime runs: devices, threads, forks, processes, and what is imported there."""

import os
import threading

import numpy as np
import pytest
from runtime_sounds import RATE, noise

import earmark

# Where it runs


def test_devices(tiny_bundle):
    assert earmark.load(tiny_bundle, "auto").explain(noise(), RATE, methods=[]).device
    with pytest.raises(earmark.DeviceError, match="warp"):
        earmark.load(tiny_bundle, "warp")
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        for device in ("cuda", "cuda:1", "tensorrt"):
            with pytest.raises(earmark.DeviceError, match=device):
                earmark.load(tiny_bundle, device).explain(noise(), RATE, methods=[])


def test_a_device_that_does_not_become_active_is_an_error(tiny_bundle, monkeypatch):
    """onnxruntime falls back to the CPU by itself: that must not pass for the device asked for."""
    import onnxruntime

    real = onnxruntime.get_available_providers()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", *real])
    if "CUDAExecutionProvider" in real:
        pytest.skip("this onnxruntime has CUDA")
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(earmark.DeviceError, match="cuda"),
    ):
        earmark.load(tiny_bundle, "cuda").explain(noise(), RATE, methods=[])
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        result = earmark.load(tiny_bundle, "auto").explain(noise(), RATE, methods=[])
    assert result.device == "cpu"
    assert any("CPU" in warning for warning in result.warnings)


def test_threads_by_the_environment(monkeypatch):
    from earmark.runtime.inference.threads import thread_count

    monkeypatch.setenv("EARMARK_THREADS", "3")
    assert thread_count() == 3
    monkeypatch.delenv("EARMARK_THREADS")
    assert 1 <= thread_count() <= (os.cpu_count() or 1)


# Processes and threads


def test_threads_share_an_explainer(tiny_bundle):
    explainer = earmark.load(tiny_bundle, "cpu")
    waves = [noise(0.3 + 0.1 * index, seed=index) for index in range(6)]
    found = {}

    def work(index):
        found[index] = explainer.explain(waves[index], RATE, methods=["mask"]).mask.audio

    workers = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    for index, wave in enumerate(waves):
        alone = explainer.explain(wave, RATE, methods=["mask"]).mask.audio
        np.testing.assert_allclose(found[index], alone, atol=1e-6)


def test_closed_explainers_start_again(tiny_bundle):
    with earmark.load(tiny_bundle, "cpu") as explainer:
        explainer.warm_up()
    assert explainer.explain(noise(), RATE, methods=["mask"]).mask is not None
