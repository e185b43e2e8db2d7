"""ONNX Runtime sessions: one per graph, created when first needed, on the device that was asked for."""

from __future__ import annotations

import gc
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ... import limits
from ...errors import BundleError, EarmarkError
from ...log import logger
from ..bundle.manifest import StageSpec
from .activation import Activated, activate
from .answers import check_borders, check_dims, check_numbers
from .devices import Device, DeviceRequest, Memory
from .failures import failed
from .heap import keep_freed_memory
from .onnx_runtime import CPU, import_onnxruntime
from .tensors import DeviceTensor, Feeds, Tensor, on_host
from .threads import is_small, thread_count
from .watchdog import watchdog

if TYPE_CHECKING:
    from ..bundle.open import Bundle

Tensors = dict[str, npt.NDArray[Any]]

_CLASSIFYING = frozenset({"frontend", "classifier", "classifier_int8"})
# Sessions made before a fork: destroying them would wait for threads that the child does not have.
_INHERITED: list[Any] = []
# The same of sessions that are garbage by then: the child's collector leaves alone what it inherited.
if sys.platform != "win32":
    os.register_at_fork(after_in_child=gc.freeze)


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

    def __init__(self, bundle: Bundle, request: DeviceRequest, threads: int | None = None) -> None:
        """Choose what runs the bundle's graphs. Raises DeviceError where it is not there.

        threads: within an operator; None: as many as there may be, of small graphs behind the classifier one
        """
        self._bundle, self.request, self._threads = bundle, request, threads
        self.warnings: list[str] = []
        keep_freed_memory()
        self._reset()
        self._device = request.choose(bundle.manifest.bundle_id)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._open: dict[Path, Activated] = {}
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

    def on_cpu(self, stage: str) -> bool:
        """Whether onnxruntime's own kernels for the CPU run a stage; its session is made for that."""
        path, spec = self._stage(stage)
        return self._session_of(path, spec).device.providers[0] == CPU

    def close(self) -> None:
        """Let the sessions go; they are made again when needed."""
        self._mine()
        with self._lock:
            self._open = {}

    def run(self, stage: str, feeds: Feeds, outputs: Sequence[str] | None = None) -> Tensors:
        """Run a stage of the bundle: feeds by name -> outputs (all, or those named) by name."""
        return {name: on_host(tensor) for name, tensor in self.keep(stage, feeds, outputs).items()}

    def keep(self, stage: str, feeds: Feeds, outputs: Sequence[str] | None = None) -> dict[str, Tensor]:
        """`run`, whose outputs stay in a device's memory until they are looked at, or fed to a stage.

        On the CPU they are arrays.
        """
        path, spec = self._stage(stage)
        return self._run(path, spec, feeds, outputs)

    def _stage(self, name: str) -> tuple[Path, StageSpec]:
        """The file of a stage and what the manifest says of it."""
        spec = self._bundle.manifest.stage(name)
        if spec is None:
            raise BundleError(f"{self._bundle.path}: has no stage {name}; export the bundle again")
        return self._bundle.path / spec.file, spec

    def run_graph(self, path: Path, feeds: Feeds) -> Tensors:
        """Run a graph of the bundle that is no stage of the chain, such as a generation's embeddings.

        Raises BundleError where a number of its answer is not finite.
        """
        return {name: on_host(tensor) for name, tensor in self._run(path, None, feeds, None).items()}

    def keep_made(self, name: str, make: Callable[[], bytes], feeds: Feeds) -> dict[str, Tensor]:
        """`keep` of a graph that is no file: `make` gives it, once a session."""
        return self._run(self._bundle.path / name, None, feeds, None, make)

    def _run(
        self,
        path: Path,
        spec: StageSpec | None,
        feeds: Feeds,
        outputs: Sequence[str] | None,
        make: Callable[[], bytes] | None = None,
    ) -> dict[str, Tensor]:
        active = self._session_of(path, spec, make)
        session, device = active.session, active.device
        wanted = [output.name for output in session.get_outputs()] if outputs is None else list(outputs)
        seconds = run_seconds()
        options = import_onnxruntime().RunOptions()
        try:
            with watchdog.limiting(options, seconds):
                values = _values(session, wanted, feeds, options, device)
        except Exception as error:
            if options.terminate:
                raise BundleError(
                    f"{path}: did not finish within {seconds:g} s; give it more with EARMARK_TIMEOUT=SECONDS"
                ) from error
            raise failed(error, path, device.name, device.engines) from error

        found: dict[str, Tensor] = {
            name: value
            if isinstance(value, np.ndarray)
            else DeviceTensor(value, _fetching(name, path, spec, device))
            for name, value in zip(wanted, values, strict=True)
        }
        if spec is not None:
            shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
            check_dims(shapes, feeds[spec.inputs[0].name].shape[0], path, spec)
        for name, tensor in found.items():
            if isinstance(tensor, np.ndarray):
                check_numbers(name, tensor, path, spec)
        return found

    def _session_of(
        self, path: Path, spec: StageSpec | None, make: Callable[[], bytes] | None = None
    ) -> Activated:
        self._mine()
        active = self._open.get(path)
        if active is None:
            with self._lock:
                active = self._open.get(path)
                if active is None:
                    if spec is not None:
                        for name in (spec.file, *spec.data):
                            self._bundle.file(name)
                    classifying = spec is not None and spec.name in _CLASSIFYING
                    model = None if make is None else make()
                    several = classifying or make is not None or not is_small(path)
                    threads = self._threads or (thread_count() if several else 1)
                    active = activate(path, self._device, self.request, threads, model)
                    if not active.alone:
                        self._device = active.device
                    logger.info("%s runs on %s", path, active.device.name)
                    for line in active.warnings:
                        logger.warning("%s", line)
                    # A session that is made again gives the same warnings.
                    self.warnings += [one for one in active.warnings if one not in self.warnings]
                    check_borders(active.session, path, spec)
                    self._open[path] = active
        return active


def _fetching(
    name: str, path: Path, spec: StageSpec | None, device: Device
) -> Callable[[Any], npt.NDArray[Any]]:
    """Copies an output to the host and looks at it there; what nobody looks at stays where it is."""

    def fetch(value: Any) -> npt.NDArray[Any]:
        try:
            array: npt.NDArray[Any] = value.numpy()
        except Exception as error:
            raise failed(error, path, device.name, device.engines) from error
        check_numbers(name, array, path, spec)
        return array

    return fetch


def _values(session: Any, outputs: Sequence[str], feeds: Feeds, options: Any, device: Device) -> list[Any]:
    """Run on the CPU, which answers with arrays, or with tensors in a device's memory."""
    if device.providers[0] != CPU:
        return _bound(session, outputs, feeds, options, device.memory)
    # To bind a few tensors takes longer than many a graph.
    values: list[Any] = session.run(
        outputs, {name: on_host(tensor) for name, tensor in feeds.items()}, options
    )
    return values


def _bound(session: Any, outputs: Sequence[str], feeds: Feeds, options: Any, memory: Memory) -> list[Any]:
    """Run with inputs and outputs where they are: arrays from the host, outputs in the device's memory."""
    binding = session.io_binding()
    for name, tensor in feeds.items():
        if isinstance(tensor, DeviceTensor):
            binding.bind_ortvalue_input(name, tensor.value)
        else:
            binding.bind_cpu_input(name, np.ascontiguousarray(tensor))
    for name in outputs:
        binding.bind_output(name, memory.kind, memory.number)
    session.run_with_iobinding(binding, options)
    values: list[Any] = binding.get_outputs()
    return values
