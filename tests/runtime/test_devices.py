"""What runs the graphs: execution providers and session options as onnxruntime names them."""

import pickle
import sys
import threading
import time

import numpy as np
import pytest
from forked import forks, in_a_child
from runtime_sounds import RATE, tone

import earmark
from earmark.runtime.inference import devices

CPU, AZURE, OPENVINO = "CPUExecutionProvider", "AzureExecutionProvider", "OpenVINOExecutionProvider"
CUDA = "CUDAExecutionProvider"


@pytest.fixture
def available():
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.get_available_providers()


def test_a_device_by_name(tiny_bundle, available):
    assert earmark.load(tiny_bundle, "auto").explain(tone(), RATE, methods=[]).device
    with pytest.raises(earmark.DeviceError, match="warp"):
        earmark.load(tiny_bundle, "warp")
    if CUDA not in available:
        for device in ("cuda", "cuda:1", "tensorrt"):
            with pytest.raises(earmark.DeviceError, match=device):
                earmark.load(tiny_bundle, device).explain(tone(), RATE, methods=[])


def test_a_device_that_does_not_become_active_is_an_error(tiny_bundle, available, monkeypatch):
    """onnxruntime falls back to the CPU by itself: that must not pass for the device asked for."""
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, *available])
    if CUDA in available:
        pytest.skip("this onnxruntime has CUDA")
    with (
        pytest.warns(UserWarning, match=CUDA),
        pytest.raises(earmark.DeviceError, match="cuda"),
    ):
        earmark.load(tiny_bundle, "cuda").explain(tone(), RATE, methods=[])
    with pytest.warns(UserWarning, match=CUDA):
        result = earmark.load(tiny_bundle, "auto").explain(tone(), RATE, methods=[])
    assert result.device == "cpu"
    assert any("CPU" in warning for warning in result.warnings)


def test_a_provider_by_name_answers_as_its_device_does(tiny_bundle):
    expected = earmark.load(tiny_bundle, "cpu").explain(tone(), RATE)
    options = {"arena_extend_strategy": "kSameAsRequested"}
    asked = [(CPU, options)]
    for providers in ([CPU], (CPU,), asked, CPU, "cpu", {"cpu": options}):
        result = earmark.load(tiny_bundle, providers=providers).explain(tone(), RATE)
        assert (result.device, expected.device) == (CPU, "cpu")
        assert result.predictions == expected.predictions
        assert result.warnings == expected.warnings
    assert asked == [(CPU, {"arena_extend_strategy": "kSameAsRequested"})]


def test_what_falls_to_the_cpu_is_said(tiny_bundle, available):
    if AZURE not in available:
        pytest.skip(f"this onnxruntime has no {AZURE}")
    explainer = earmark.load(tiny_bundle, providers=[AZURE, CPU])
    result = explainer.explain(tone(), RATE, methods=[])
    assert result.device == explainer.device == f"{AZURE}, {CPU}"
    assert any(f"on the CPU instead of {AZURE}" in warning for warning in result.warnings)


@forks
def test_what_falls_to_the_cpu_is_said_once_and_survives_a_fork(tiny_bundle, available):
    if AZURE not in available:
        pytest.skip(f"this onnxruntime has no {AZURE}")
    with earmark.load(tiny_bundle, providers=[AZURE, CPU]) as explainer:
        first = explainer.explain(tone(), RATE, methods=[]).warnings
        explainer.close()
        assert explainer.explain(tone(), RATE, methods=[]).warnings == first
        assert in_a_child(lambda: explainer.explain(tone(), RATE, methods=[]).warnings == first) == 0


class Printing:
    """An onnxruntime that prints while it loads CUDA's libraries."""

    def __init__(self):
        self.loading = threading.Event()

    def get_available_providers(self):
        return [CUDA, CPU]

    def preload_dlls(self):
        sys.stdout.write("Failed to load libcudnn.so\n")
        self.loading.set()
        time.sleep(0.1)


@forks
def test_stdout_is_back_after_cuda_was_loaded_in_threads_and_in_a_fork(monkeypatch, capsys):
    before, onnxruntime = sys.stdout, Printing()
    monkeypatch.setattr(devices, "import_onnxruntime", lambda: onnxruntime)
    request = devices.DeviceRequest.of("cuda")
    threads = [threading.Thread(target=request.choose) for _ in range(4)]
    for thread in threads:
        thread.start()
    onnxruntime.loading.wait(10)
    assert in_a_child(lambda: sys.stdout is before) == 0
    for thread in threads:
        thread.join(10)
    assert sys.stdout is before
    assert capsys.readouterr().out == ""


def test_a_provider_that_is_not_there_is_an_error(tiny_bundle, available, monkeypatch):
    if OPENVINO in available:
        pytest.skip(f"this onnxruntime has {OPENVINO}")
    with pytest.raises(earmark.DeviceError, match=f"{OPENVINO}.*{CPU}"):
        earmark.load(tiny_bundle, providers=[OPENVINO, CPU])
    # Built in, but without its libraries: onnxruntime falls back by itself.
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [OPENVINO, *available])
    explainer = earmark.load(tiny_bundle, providers=[OPENVINO, CPU])
    with (
        pytest.warns(UserWarning, match=OPENVINO),
        pytest.raises(earmark.DeviceError, match=f"did not activate {OPENVINO}"),
    ):
        explainer.explain(tone(), RATE)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"device": "cpu", "providers": [CPU]}, "not both"),
        ({"providers": []}, "empty"),
        ({"providers": [CPU, CPU]}, "twice"),
        ({"providers": [(CPU, "fast")]}, "neither a name nor a pair"),
        ({"providers": ["cpu", CPU]}, "twice"),
        ({"providers": {"cuda": {"enable_cuda_graph": "1"}, "cpu": {}}}, "enable_cuda_graph is refused"),
        ({"session_options": {"intra_op_threads": 2}}, "intra_op_threads"),
        ({"session_options": {"intra_op_num_threads": "two"}}, "'two'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_at_once(tiny_bundle, asked, says):
    with pytest.raises(earmark.DeviceError, match=says):
        earmark.load(tiny_bundle, **asked)


def test_session_options_reach_onnxruntime_and_travel(tiny_bundle, tmp_path):
    options = {"optimized_model_filepath": str(tmp_path / "optimised.onnx"), "session.disable_prepacking": 1}
    explainer = earmark.load(tiny_bundle, providers=[CPU], session_options=options)
    options.clear()
    copy = pickle.loads(pickle.dumps(explainer))
    result = copy.explain(tone(), RATE, methods=[])
    assert (tmp_path / "optimised.onnx").is_file()
    assert (copy.device, result.device) == (CPU, CPU)
    np.testing.assert_allclose(
        result.logits, earmark.load(tiny_bundle, "cpu").explain(tone(), RATE).logits, atol=1e-5
    )
