"""ONNX Runtime sessions: created when first used, on the device that was asked for and no other."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import BundleError, DeviceError, MissingDependencyError
from .manifest import StageSpec

if TYPE_CHECKING:
    from .bundle import Bundle

Tensors = dict[str, npt.NDArray[Any]]

DEVICE_PATTERN = re.compile(r"auto|cpu|cuda(:\d{1,2})?|tensorrt")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


def available_threads() -> int:
    """Cores that this process may use: EARMARK_THREADS, else affinity bounded by the cgroup's quota."""
    named = os.environ.get("EARMARK_THREADS", "")
    if named.isdigit() and int(named) > 0:
        return int(named)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return cores


def import_onnxruntime() -> Any:
    """The module onnxruntime, whichever build is installed. Raises MissingDependencyError."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            'onnxruntime is not installed; pip install "earmark[cpu]" or, with an NVIDIA GPU, "earmark[gpu]"'
        ) from error
    return onnxruntime


def resolve_device(device: str) -> str:
    """What `device` means here: cpu, cuda:N or tensorrt; auto falls back to the CPU.

    Raises DeviceError where the installed onnxruntime lacks the device asked for.
    """
    if not DEVICE_PATTERN.fullmatch(device):
        raise DeviceError(f"device {device!r} is not one of auto, cpu, cuda, cuda:N, tensorrt")
    runtime = import_onnxruntime()
    built = runtime.get_available_providers()
    kind = device.partition(":")[0]
    if kind == "auto":
        return "cuda:0" if _PROVIDERS["cuda"] in built else "cpu"
    if _PROVIDERS[kind] not in built:
        raise DeviceError(
            f"device {device} is not there: this onnxruntime was built with {', '.join(built)}; "
            'for NVIDIA GPUs: pip uninstall onnxruntime, then pip install "earmark[gpu]"'
        )
    return "cuda:0" if device == "cuda" else device


class Sessions:
    """The sessions of one bundle on one device. Shareable between threads, remade after a fork."""

    def __init__(self, bundle: Bundle, device: str) -> None:
        self._bundle = bundle
        self._requested = device
        self._device = resolve_device(device)
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._sessions: dict[Path, Any] = {}

    @property
    def device(self) -> str:
        """The device in use: cpu, cuda:N or tensorrt."""
        return self._device

    def run(self, stage: str, feeds: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str] | None = None) -> Tensors:
        """Run a stage of the bundle; returns its outputs (all, or those named) by name."""
        spec = self._bundle.manifest.stage(stage)
        if spec is None:
            raise BundleError(f"{self._bundle.path}: has no stage {stage}")
        session = self._session(self._bundle.path / spec.file, spec)
        return _run(session, feeds, outputs)

    def run_graph(self, path: Path, feeds: Mapping[str, npt.NDArray[Any]]) -> Tensors:
        """Run a graph of the bundle that is no stage of the chain, such as a generation's embeddings."""
        return _run(self._session(path, None), feeds, None)

    def close(self) -> None:
        """Free the sessions; the next run makes them again."""
        self._reset()

    def _session(self, path: Path, spec: StageSpec | None) -> Any:
        if self._process != os.getpid():
            # The parent's thread pools do not exist in a forked child: its sessions would hang.
            self._reset()
        session = self._sessions.get(path)
        if session is None:
            with self._lock:
                session = self._sessions.get(path)
                if session is None:
                    session = self._create(path, spec)
                    self._sessions[path] = session
        return session

    def _create(self, path: Path, spec: StageSpec | None) -> Any:
        try:
            session = _open(path, self._device)
        except DeviceError:
            if self._requested != "auto" or self._device == "cpu":
                raise
            # Only auto falls back, and all stages together.
            self._device = "cpu"
            self._sessions.clear()
            session = _open(path, "cpu")
        if spec is not None:
            found = {value.name for value in (*session.get_inputs(), *session.get_outputs())}
            expected = {tensor.name for tensor in (*spec.inputs, *spec.outputs)}
            if found != expected:
                raise BundleError(f"{path}: its tensors are {sorted(found)}, the manifest says {sorted(expected)}")
        return session


def _run(session: Any, feeds: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str] | None) -> Tensors:
    names = list(outputs) if outputs is not None else [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def _open(path: Path, device: str) -> Any:
    """A session on exactly that device. Raises DeviceError where it is not active, BundleError else."""
    runtime = import_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = available_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    kind, _, number = device.partition(":")
    if kind != "cpu" and hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()
    try:
        session = runtime.InferenceSession(str(path), sess_options=options, providers=_providers(kind, number))
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        if kind != "cpu":
            raise DeviceError(f"device {device} cannot run {path.name}: {reason}") from error
        raise BundleError(f"{path}: onnxruntime {runtime.__version__} cannot load this graph: {reason}") from error
    if _PROVIDERS[kind] not in session.get_providers():
        raise DeviceError(
            f"device {device} was asked for, but onnxruntime runs on {', '.join(session.get_providers())}; "
            "is the driver there? earmark doctor tells more"
        )
    return session


def _providers(kind: str, number: str) -> list[Any]:
    """The provider asked for, and the CPU for the nodes that it lacks."""
    cuda = (
        _PROVIDERS["cuda"],
        # TF32 would cost three digits; an exhaustive search would be repeated for every new length.
        {"device_id": number or "0", "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
    )
    chains: dict[str, list[Any]] = {"cpu": [], "cuda": [cuda], "tensorrt": [_PROVIDERS["tensorrt"], cuda]}
    return [*chains[kind], _PROVIDERS["cpu"]]
