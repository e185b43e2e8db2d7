"""ONNX Runtime sessions: one a graph, made when first needed, on the device that was asked for."""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ... import limits
from ...errors import BundleError, DeviceError, EarmarkError
from ..bundle.manifest import StageSpec
from .devices import Device, DeviceRequest
from .onnx_runtime import CPU, import_onnxruntime

if TYPE_CHECKING:
    from ..bundle.open import Bundle

Arrays = Mapping[str, npt.NDArray[Any]]
Tensors = dict[str, npt.NDArray[Any]]

_MOST_THREADS = 1024

# What an explanation is made of, by stage: none of it may be a number that is not finite.
_FINITE: dict[str, frozenset[str]] = {
    "frontend": frozenset({"stft"}),
    "classifier": frozenset({"logits"}),
    "classifier_int8": frozenset({"logits"}),
    "decoder": frozenset({"mask"}),
    "interpreter": frozenset({"activations", "pooled", "logits"}),
}
# A mask may leave 0..1 by what float32 rounds.
MASK_ROUNDING = 1e-4

# Sessions made before a fork: destroying them would wait for threads that the child does not have.
_INHERITED: list[Any] = []


def thread_count() -> int:
    """Threads within one operator: EARMARK_THREADS, else CPU affinity bounded by the cgroup's quota."""
    wanted = os.environ.get("EARMARK_THREADS", "").strip()
    if wanted:
        if not re.fullmatch(r"[0-9]{1,4}", wanted) or not 1 <= int(wanted) <= _MOST_THREADS:
            raise EarmarkError(
                f"EARMARK_THREADS={wanted}: is no number of threads; give 1 to {_MOST_THREADS}"
            )
        return int(wanted)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, math.ceil(quota)) if quota else cores)


def _cgroup_quota() -> float | None:
    """CPUs that the container may use, or None."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        limit = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        return limit / int((folder / "cpu.cfs_period_us").read_text(encoding="ascii")) if limit > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def run_seconds() -> float | None:
    """Seconds that one run of a graph may take: EARMARK_TIMEOUT (0: no limit), else the table of limits'."""
    wanted = os.environ.get("EARMARK_TIMEOUT", "").strip()
    if not wanted:
        return limits.RUN_SECONDS
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", wanted):
        raise EarmarkError(f"EARMARK_TIMEOUT={wanted}: is no number of seconds; give 0 (no limit) or more")
    return float(wanted) or None


class Sessions:
    """The sessions of one bundle. Threads may share it; after a fork it starts afresh."""

    def __init__(self, bundle: Bundle, request: DeviceRequest) -> None:
        """Choose what runs the bundle's graphs. Raises DeviceError where it is not there."""
        self._bundle, self.request = bundle, request
        self.warnings: list[str] = []
        self._reset()
        self._device = request.choose()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._open: dict[Path, Any] = {}
        # Last, so that no thread of a forked child takes the parent's lock or sessions for its own.
        self._pid = os.getpid()

    def _mine(self) -> None:
        """Drop what was made before a fork."""
        if self._pid != os.getpid():
            _INHERITED.append(self._open)
            self._reset()

    @property
    def device(self) -> str:
        """What runs: cpu, cuda:N, tensorrt or names of providers. Before the first session: what will run."""
        return self._device.name

    def close(self) -> None:
        """Let the sessions go; they are made again when needed."""
        self._mine()
        with self._lock:
            self._open = {}

    def run(self, stage: str, feeds: Arrays, outputs: Sequence[str] | None = None) -> Tensors:
        """Run a stage of the bundle: feeds by name -> outputs (all, or those named) by name."""
        spec = self._bundle.manifest.stage(stage)
        if spec is None:
            raise BundleError(f"{self._bundle.path}: has no stage {stage}; export the bundle again")
        return self._run(self._bundle.path / spec.file, spec, feeds, outputs)

    def run_graph(self, path: Path, feeds: Arrays) -> Tensors:
        """Run a graph of the bundle that is no stage of the chain, such as a generation's embeddings.

        Raises BundleError where a number of its answer is not finite.
        """
        return self._run(path, None, feeds, None)

    def _run(
        self, path: Path, spec: StageSpec | None, feeds: Arrays, outputs: Sequence[str] | None
    ) -> Tensors:
        session = self._session_of(path, spec)
        wanted = [output.name for output in session.get_outputs()] if outputs is None else list(outputs)
        seconds = run_seconds()
        options = import_onnxruntime().RunOptions()
        try:
            with _terminating(options, seconds):
                found = session.run(wanted, dict(feeds), options)
        except Exception as error:
            if options.terminate:
                raise BundleError(
                    f"{path}: did not finish within {seconds:g} s; give it more with EARMARK_TIMEOUT=SECONDS"
                ) from error
            raise _failed(error, path, self.device) from error
        answers = dict(zip(wanted, found, strict=True))
        _check_answers(answers, feeds, path, spec)
        return answers

    def _session_of(self, path: Path, spec: StageSpec | None) -> Any:
        self._mine()
        session = self._open.get(path)
        if session is None:
            with self._lock:
                session = self._open.get(path)
                if session is None:
                    if spec is not None:
                        for name in (spec.file, *spec.data):
                            self._bundle.file(name)
                    session = self._create(path)
                    _check_borders(session, path, spec)
                    self._open[path] = session
        return session

    def _create(self, path: Path) -> Any:
        device = self._device
        session = self._session(path, device)
        absent = [name for name in device.required if name not in session.get_providers()]
        if not absent:
            self._note_fallen(session, path, device)
            return session
        if not self.request.falls_back:
            raise DeviceError(
                f"{device.name}: onnxruntime did not activate {', '.join(absent)} (missing libraries or "
                "driver); see earmark doctor, or choose --device cpu"
            )
        self._warn(f"{device.name} is not usable here: onnxruntime runs on the CPU instead")
        self._device = Device("cpu", (CPU,), (CPU,))
        return self._session(path, self._device)

    def _session(self, path: Path, device: Device) -> Any:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4 if self.request.falls_back else 3
        options.intra_op_num_threads = thread_count()
        options.inter_op_num_threads = 1
        # The next stage's threads would otherwise wait for this one's to stop spinning.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if device.providers[0] != CPU:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        self.request.set_options(options)
        try:
            return onnxruntime.InferenceSession(str(path), options, providers=self.request.arguments(device))
        except Exception as error:
            if self.request.providers and device.providers[0] != CPU:
                raise DeviceError(f"{device.name}: {path.name}: {_line(error)}") from error
            if device.providers[0] == CPU or not self.request.falls_back:
                raise _failed(error, path, device.name) from error
        try:
            return onnxruntime.InferenceSession(str(path), options, providers=[CPU])
        except Exception as error:
            raise _failed(error, path, "cpu") from error

    def _note_fallen(self, session: Any, path: Path, device: Device) -> None:
        """Warn of operators that run on the CPU although a GPU was asked for."""
        if device.providers[0] == CPU or not hasattr(session, "get_provider_graph_assignment_info"):
            return
        fallen = {
            node.op_type
            for part in session.get_provider_graph_assignment_info()
            if part.ep_name == CPU
            for node in part.get_nodes()
        }
        if fallen:
            self._warn(f"{path.name}: on the CPU instead of {device.name}: {', '.join(sorted(fallen))}")

    def _warn(self, line: str) -> None:
        """Keep a warning; a session that is made again gives the same ones."""
        if line not in self.warnings:
            self.warnings.append(line)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _failed(error: Exception, path: Path, device: str) -> EarmarkError:
    """One line for what onnxruntime raised."""
    if isinstance(error, EarmarkError):
        return error
    reason = _line(error)
    if device != "cpu" and re.search(r"cuda|cudnn|cublas|tensorrt|out of memory|device", reason, re.I):
        return DeviceError(f"{device}: {reason}; free the device or choose cpu")
    return BundleError(f"{path}: onnxruntime cannot run it ({reason}); export the bundle again")


def _check_borders(session: Any, path: Path, spec: StageSpec | None) -> None:
    """The graph's inputs and outputs are the manifest's."""
    found = {value.name for value in (*session.get_inputs(), *session.get_outputs())}
    if spec is not None and found != (named := {tensor.name for tensor in (*spec.inputs, *spec.outputs)}):
        raise BundleError(f"{path}: its tensors are {sorted(found)}, the manifest says {sorted(named)}")


def _check_answers(answers: Tensors, feeds: Arrays, path: Path, spec: StageSpec | None) -> None:
    """What a graph gave has the dims that the manifest says, one answer a sound, and is finite."""
    if spec is not None:
        batch = spec.inputs[0].dims[:1]
        sounds = len(feeds[spec.inputs[0].name])
        for tensor in spec.outputs:
            found = answers.get(tensor.name)
            if found is None:
                continue
            if len(found.shape) != len(tensor.dims) or any(
                isinstance(want, int) and have != want
                for want, have in zip(tensor.dims, found.shape, strict=True)
            ):
                raise BundleError(
                    f"{path}: gives {tensor.name} {list(found.shape)}, the manifest says {tensor.dims}"
                )
            if tensor.dims[:1] == batch and isinstance(batch[0], str) and len(found) != sounds:
                raise BundleError(f"{path}: gives {tensor.name} of {len(found)} sounds for {sounds}")
    for name, array in answers.items():
        if not (spec is None or name in _FINITE.get(spec.name, (name,))):
            continue
        if not _finite(array):
            raise BundleError(
                f"{path}: answers with numbers that are not finite ({name}): this sound is more than the "
                "model can take, or the bundle is damaged; run earmark verify"
            )
        stage = None if spec is None else spec.name
        low, high = float(array.min(initial=0.0)), float(array.max(initial=0.0))
        if (stage, name) == ("decoder", "mask") and (low < -MASK_ROUNDING or high > 1.0 + MASK_ROUNDING):
            raise BundleError(
                f"{path}: answers with a mask from {low:.3g} to {high:.3g} instead of 0 to 1; export the "
                "bundle again"
            )
        # Pooled ones may be: the recipe's attention has weights of either sign.
        if (stage, name) == ("interpreter", "activations") and low < 0.0:
            raise BundleError(f"{path}: answers with negative activations; export the bundle again")


def _finite(array: npt.NDArray[Any]) -> bool:
    """Whether every number is finite; the sum tells it without taking memory, unless it overflows."""
    if array.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())


@contextmanager
def _terminating(options: Any, seconds: float | None) -> Iterator[None]:
    """Ask a run to end after so many seconds; it does so between two operators."""
    if seconds is None:
        yield
        return

    def terminate() -> None:
        options.terminate = True

    timer = threading.Timer(seconds, terminate)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
