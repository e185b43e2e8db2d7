"""What onnxruntime raises, as one line: what was wrong, on which device or with which file, and the cure."""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import BundleError, DeviceError, EarmarkError

# Texts of onnxruntime, CUDA, cuDNN, cuBLAS and DirectML; numbers are those of cudaError_t.
_NO_MEMORY = re.compile(
    r"out of memory|failed to allocate memory|available memory of \d+ is smaller|bad allocation|bad_alloc"
    r"|_STATUS_ALLOC_FAILED|CUDA (failure|error) 2\b",
    re.I,
)
# What makes a device unusable, and the cure; {1}, {2} are what the pattern caught.
_CAUSES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.I), text)
    for pattern, text in (
        (
            r"Invalid device ID: (\d+), must be between 0 \(inclusive\) and (\d+)",
            "there is no GPU {1}: the driver shows {2}, and the first is 0",
        ),
        (
            r'Unknown provider option: "([^"]*)"|has no option \W?([\w.]+)',
            "the provider has no option {1!r}; docs/devices.md names where they are listed",
        ),
        (
            r"(libnvinfer[\w.+-]*|nvinfer[\w.+-]*\.dll)",
            "{1} cannot be loaded: install TensorRT 10 for the CUDA of onnxruntime-gpu, such as "
            "pip install tensorrt-cu13",
        ),
        (r"install TensorRT libraries", "TensorRT's libraries cannot be loaded: pip install tensorrt-cu13"),
        (
            r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object|\W([\w.+-]+\.dll)\W{1,3}which is missing",
            '{1} cannot be loaded: pip install "onnxruntime-gpu[cuda,cudnn]" brings CUDA\'s libraries; '
            "earmark doctor shows more",
        ),
        (
            r"driver version is insufficient|CUDA (?:failure|error) (?:35|803|804)\b|forward compatib",
            "the NVIDIA driver is too old for the CUDA of this onnxruntime-gpu: update it (CUDA 13 wants 580 "
            "or newer), or install onnxruntime-gpu below 1.27, which uses CUDA 12",
        ),
        (
            r"no kernel image|CUDA (?:failure|error) 209\b",
            "this onnxruntime has no code for this GPU's architecture: install another onnxruntime-gpu",
        ),
        (
            r"no CUDA-capable device|CUDA (?:failure|error) 10[01]\b|invalid device ordinal",
            "the driver shows no such GPU; see nvidia-smi and CUDA_VISIBLE_DEVICES",
        ),
        (
            r"CUDA (?:failure|error) (?:46|70[029]|71\d|721|999)\b|illegal memory access|launch timed out"
            r"|unspecified launch failure|uncorrectable ECC|GPU (?:is lost|has fallen off)"
            r"|DEVICE_(?:REMOVED|HUNG|RESET)|device (?:was )?(?:lost|removed)",
            "the device was lost, and nothing in this process can use it any more: start again, and look at "
            "nvidia-smi and the kernel's log",
        ),
        (
            r"(?:engine|plan)\b.{0,160}(?:version|tag|magic|incompatible)|deserializ",
            "TensorRT's engines in {engines} are of another version or GPU: delete that folder",
        ),
    )
)
_OF_A_DEVICE = re.compile(r"cuda|cudnn|cublas|tensorrt|\bDML|DirectML|openvino|coreml|device", re.I)


class DeviceMemoryError(DeviceError, MemoryError):
    """The device had no memory left for this batch; half of it may do."""


def unusable(error: Exception, device: str, engines: Path | None = None) -> str | None:
    """Why a device cannot be used, and the cure; None where onnxruntime's error is not about the device.

    engines: the folder of TensorRT's engines
    """
    text = " ".join(str(error).split())
    for pattern, cause in _CAUSES:
        if match := pattern.search(text):
            caught = [one for one in match.groups() if one is not None]
            return (
                f"{device}: {cause.format('', *caught, engines=engines or 'its cache')} ({reason_of(error)})"
            )
    return None


def reason_of(error: Exception) -> str:
    """What went wrong, in one line: onnxruntime says it behind source files and signatures, at the end."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 180 else f"...{text[-180:]}"


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: of the device, or of the arena that `gpu_mem_limit` bounds."""
    return _NO_MEMORY.search(str(error)) is not None


def failed(error: Exception, path: Path, device: str, engines: Path | None = None) -> EarmarkError:
    """The error that says in one line what onnxruntime raised over the graph at `path`."""
    if isinstance(error, EarmarkError):
        return error
    if device != "cpu":
        if is_out_of_memory(error):
            return DeviceMemoryError(
                f"{device}: no memory is left for {path.name} ({reason_of(error)}); free the device, raise "
                "gpu_mem_limit where it is set, or choose cpu"
            )
        if reason := unusable(error, device, engines):
            return DeviceError(reason)
        if _OF_A_DEVICE.search(str(error)):
            return DeviceError(f"{device}: {path.name}: {reason_of(error)}; or choose cpu")
    return BundleError(f"{path}: onnxruntime cannot run it ({reason_of(error)}); export the bundle again")
