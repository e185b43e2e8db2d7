"""What onnxruntime raises when a device cannot be used, in its own words: one line, and the cure."""

import importlib.metadata
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command_line import invoke
from runtime_sounds import RATE, tone

import earmark
from earmark.runtime.inference import devices, nvidia
from earmark.runtime.inference.failures import DeviceMemoryError, failed, unusable

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
PARSING = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_execution_provider_info.cc:63 static "
    "onnxruntime::CUDAExecutionProviderInfo::FromProviderOptions(const onnxruntime::ProviderOptions&) "
    "[ONNXRuntimeError] : 1 : FAIL : "
)
# Those marked H100 were read off one, onnxruntime-gpu 1.31.1, driver 580.159.
RAISED = {
    # H100
    PARSING + 'provider_options_utils.h:187 Parse Failed to parse provider option "device_id": '
    "cuda_execution_provider_info.cc:71 operator() Invalid device ID: 7, must be between 0 (inclusive) "
    "and 1 (exclusive).": "there is no GPU 7: the driver shows 1, and the first is 0",
    # H100
    PARSING + 'Parse Unknown provider option: "nonsense".': "no option 'nonsense'",
    # H100
    "Please install TensorRT libraries as mentioned in the GPU requirements": "pip install tensorrt-cu13",
    "Failed to load library /site/libonnxruntime_providers_tensorrt.so with error: libnvinfer.so.10: cannot "
    "open shared object file: No such file or directory": "libnvinfer.so.10 cannot be loaded: install Tensor",
    "Failed to load library /site/libonnxruntime_providers_cuda.so with error: libcudnn.so.9: cannot open "
    "shared object file: No such file or directory": "libcudnn.so.9 cannot be loaded: pip install",
    "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version": "driver is too old",
    "CUDA failure 100: no CUDA-capable device is detected ; GPU=-1": "the driver shows no such GPU",
    "CUDA failure 209: no kernel image is available for execution on the device": "no code for this GPU",
    "CUDA failure 700: an illegal memory access was encountered ; GPU=0": "the device was lost",
    "TensorRT EP could not deserialize engine from cache: its plan is of version 100300": "delete",
}


@pytest.mark.parametrize(("raised", "says"), RAISED.items())
def test_the_cure_is_named(raised, says):
    error = failed(RuntimeError(raised), Path("frontend.onnx"), "cuda:0", Path("/engines"))
    assert isinstance(error, earmark.DeviceError)
    assert str(error).startswith("cuda:0: ")
    assert says in str(error)
    assert len(str(error).splitlines()) == 1
    if "delete" in says:
        assert "/engines" in str(error)


def test_what_is_not_about_the_device_is_not_told_so():
    assert unusable(RuntimeError("Non-zero status code returned while running Conv node"), "cuda:0") is None
    error = failed(RuntimeError("Invalid rank for input: stft"), Path("a.onnx"), "cuda:0")
    assert isinstance(error, earmark.BundleError)
    # H100
    error = failed(
        RuntimeError(
            "BFCArena::AllocateRawInternal Available memory of 99840 is smaller than requested bytes of 9"
        ),
        Path("a.onnx"),
        "cuda:0",
    )
    assert isinstance(error, DeviceMemoryError)


@pytest.fixture
def gpu_build(monkeypatch):
    """An onnxruntime with CUDA, whose sessions raise what is in the list given back, if anything."""
    import onnxruntime

    text: list[str] = []
    create = onnxruntime.InferenceSession

    def session(path, options, providers, **rest):
        if text and any(name == CUDA for name, _ in providers):
            raise RuntimeError(text[0])
        return create(path, options, providers=[one for one in providers if one[0] != CUDA], **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(
        nvidia, "graphics_cards", lambda: (nvidia.GraphicsCard("H100", "580.1", 81559, 900, "9.0"),)
    )
    return text


def test_a_device_that_cannot_be_used_ends_the_command_with_3(tiny_bundle, gpu_build, tmp_path):
    gpu_build.append(next(iter(RAISED)))
    for name in ("one.wav", "two.wav"):
        soundfile.write(tmp_path / name, tone(), RATE)
    arguments = ["explain", "-b", str(tiny_bundle), "--device", "cuda:7", "--json", str(tmp_path)]
    result = invoke(*arguments, code=3)
    document = json.loads(result.stdout)
    assert [one["error"]["type"] for one in document["results"]] == ["DeviceError"]
    assert "there is no GPU 7" in result.stderr


def test_auto_falls_back_and_says_why(tiny_bundle, gpu_build):
    gpu_build.append("CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version")
    explainer = earmark.load(tiny_bundle)
    assert explainer.device == "cuda:0"
    result = explainer.explain(tone(), RATE)
    assert result.device == explainer.device == "cpu"
    assert any("on the CPU instead" in line and "driver is too old" in line for line in result.warnings)
    expected = earmark.load(tiny_bundle, "cpu").explain(tone(), RATE)
    np.testing.assert_allclose(result.logits, expected.logits, atol=1e-5)


def test_a_graph_that_a_provider_cannot_open_runs_on_the_cpu_where_that_is_allowed(tiny_bundle, gpu_build):
    gpu_build.append("bias node not found in graph cache")
    result = earmark.load(tiny_bundle, providers=["cuda", "cpu"]).explain(tone(), RATE, methods=[])
    assert any("which cannot open it" in line for line in result.warnings)
    with pytest.raises(earmark.EarmarkError, match="bias node not found"):
        earmark.load(tiny_bundle, providers=["cuda"]).explain(tone(), RATE, methods=[])


def test_doctor_tries_the_devices(gpu_build):
    gpu_build.append("Failed with error: libcudnn.so.9: cannot open shared object file: No such file")
    result = invoke("doctor", "--json")
    found = [one for one in json.loads(result.stdout)["findings"] if one["state"] == "problem"]
    assert result.exit_code == 1
    assert [one["topic"] for one in found] == ["gpu", "devices"]
    assert "900 of 81559 MiB free" in found[0]["text"]
    assert "libcudnn.so.9 cannot be loaded" in found[1]["text"]


def test_doctor_names_two_builds(monkeypatch):
    versions = {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}
    version = importlib.metadata.version
    monkeypatch.setattr("importlib.metadata.version", lambda name: versions.get(name) or version(name))
    result = invoke("doctor", code=1)
    assert "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 overwrite each other" in result.stdout


def test_engines_are_kept_by_model_card_and_versions(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cards = [nvidia.GraphicsCard("NVIDIA H100 80GB HBM3", "580.159.04", 81559, 81000, "9.0")]
    monkeypatch.setattr(devices, "graphics_cards", lambda: tuple(cards))
    monkeypatch.setattr(devices, "tensorrt_version", lambda: "10.14.1")
    folder = devices.engine_folder("bundle-1")
    assert folder.is_relative_to(tmp_path / "earmark" / "tensorrt")
    assert "tensorrt-10.14.1" in str(folder)
    assert "NVIDIA_H100_80GB_HBM3-580.159.04" in str(folder)
    others = {folder, devices.engine_folder("bundle-2"), devices.engine_folder("bundle-1", 1)}
    cards[0] = nvidia.GraphicsCard("NVIDIA H200", "580.159.04", 143771, 143000, "9.0")
    others.add(devices.engine_folder("bundle-1"))
    monkeypatch.setattr(devices, "tensorrt_version", lambda: "10.15.0")
    others.add(devices.engine_folder("bundle-1"))
    assert len(others) == 5


def test_the_driver_is_asked(monkeypatch, tmp_path):
    script = tmp_path / "nvidia-smi"
    script.write_text('#!/bin/sh\necho "NVIDIA H100 80GB HBM3, 580.159.04, 81559, [N/A], 9.0"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert nvidia.graphics_cards() == (
        nvidia.GraphicsCard("NVIDIA H100 80GB HBM3", "580.159.04", 81559, 0, "9.0"),
    )
    script.write_text("#!/bin/sh\nexit 9\n")
    assert nvidia.graphics_cards() == ()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert nvidia.graphics_cards() == ()
