"""What runs the graphs: a device by name, or execution providers as onnxruntime names them."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from ...errors import DeviceError
from ..bundle.cache import cache_folder
from .onnx_runtime import CPU, import_onnxruntime

DEVICE_PATTERN = re.compile(r"auto|cpu|cuda(:\d+)?|tensorrt")

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"

# Held while stdout, which all threads share, leads elsewhere; a fork waits for its end.
_REDIRECTING = threading.RLock()
if sys.platform != "win32":
    os.register_at_fork(
        before=_REDIRECTING.acquire,
        after_in_parent=_REDIRECTING.release,
        after_in_child=_REDIRECTING.release,
    )

# An execution provider: its name, or its name and its options.
Provider = str | tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Device:
    """What runs: its name in results, and the providers in order.

    required: those that must be active in every session
    """

    name: str
    providers: tuple[str, ...]
    required: tuple[str, ...]


@dataclass(frozen=True)
class DeviceRequest:
    """What a user asks to run the graphs on; picklable, and never shared with onnxruntime.

    device: auto, cpu, cuda, cuda:N or tensorrt
    providers: in its place names of execution providers with their options, in order; empty: by `device`
    session_options: attributes of `onnxruntime.SessionOptions`, and config entries (names with a dot)
    """

    device: str = "auto"
    providers: tuple[tuple[str, dict[str, Any]], ...] = ()
    session_options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        device: str = "auto",
        providers: Sequence[Provider] | None = None,
        session_options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Check and copy what was asked for; see `earmark.load` for arguments and errors."""
        if not DEVICE_PATTERN.fullmatch(device):
            raise DeviceError(f"{device!r}: is no device; choose auto, cpu, cuda, cuda:N or tensorrt")
        if providers is not None and device != "auto":
            raise DeviceError(f"{device}: give a device or providers, not both")
        request = cls(device, _copied(providers), dict(session_options or {}))
        if request.session_options:
            request.set_options(import_onnxruntime().SessionOptions())
        return request

    @property
    def falls_back(self) -> bool:
        """Whether the CPU may take over where the device cannot be used."""
        return self.device == "auto" and not self.providers

    def choose(self) -> Device:
        """The device that was asked for. Raises DeviceError where this onnxruntime lacks it."""
        if self.device == "cpu":
            return Device("cpu", (CPU,), (CPU,))
        onnxruntime = import_onnxruntime()
        available = onnxruntime.get_available_providers()
        if self.providers:
            return self._named(available)
        if self.device == "auto":
            if CUDA not in available:
                return Device("cpu", (CPU,), (CPU,))
            _preload(onnxruntime)
            return Device("cuda:0", (CUDA, CPU), (CUDA,))
        wanted = TENSORRT if self.device == "tensorrt" else CUDA
        if wanted not in available:
            raise DeviceError(
                f"{self.device}: this onnxruntime has no {wanted}; install it with "
                'pip install "earmark[gpu]" (without onnxruntime), or choose cpu'
            )
        _preload(onnxruntime)
        if wanted == TENSORRT:
            providers = (TENSORRT, CUDA, CPU) if CUDA in available else (TENSORRT, CPU)
            return Device("tensorrt", providers, (TENSORRT,))
        return Device(self.device if ":" in self.device else "cuda:0", (CUDA, CPU), (CUDA,))

    def _named(self, available: Sequence[str]) -> Device:
        """The providers asked for by name, which are all required."""
        names = tuple(name for name, _ in self.providers)
        for name in names:
            if name not in available:
                raise DeviceError(
                    f"{name}: this onnxruntime has {', '.join(available)}; install the build of onnxruntime "
                    "that comes with it"
                )
        if {CUDA, TENSORRT} & set(names):
            _preload(import_onnxruntime())
        return Device(", ".join(names), names, names)

    def arguments(self, device: Device) -> list[tuple[str, dict[str, Any]]]:
        """The providers of a session as onnxruntime takes them; fresh, since it may change them."""
        asked = dict(self.providers)
        return [(name, _defaults(name, device) | asked.get(name, {})) for name in device.providers]

    def set_options(self, options: Any) -> None:
        """Set what was asked for on an `onnxruntime.SessionOptions`. Raises DeviceError for what it lacks."""
        for name, value in self.session_options.items():
            try:
                if "." in name:
                    options.add_session_config_entry(name, str(value))
                elif isinstance(getattr(type(options), name, None), property):
                    setattr(options, name, value)
                else:
                    raise DeviceError(
                        f"session option {name!r}: onnxruntime.SessionOptions has no such attribute, and "
                        "names of config entries have a dot"
                    )
            except (TypeError, ValueError, RuntimeError) as error:
                if isinstance(error, DeviceError):
                    raise
                raise DeviceError(f"session option {name!r}: onnxruntime does not take {value!r}") from error


def _copied(providers: Sequence[Provider] | None) -> tuple[tuple[str, dict[str, Any]], ...]:
    """The providers as pairs. Raises DeviceError for what is none, for an empty list and repeated names."""
    if providers is None:
        return ()
    pairs: dict[str, dict[str, Any]] = {}
    for one in [providers] if isinstance(providers, str) else providers:
        pair = (one, {}) if isinstance(one, str) else one
        if not (
            isinstance(pair, tuple)
            and len(pair) == 2
            and isinstance(pair[0], str)
            and isinstance(pair[1], Mapping)
        ):
            raise DeviceError(f"providers: {one!r} is neither a name nor a pair of a name and its options")
        if pair[0] in pairs:
            raise DeviceError(f"providers: {pair[0]} stands there twice")
        pairs[pair[0]] = dict(pair[1])
    if not pairs:
        raise DeviceError("providers: is empty; name one, or choose a device")
    return tuple(pairs.items())


def _defaults(provider: str, device: Device) -> dict[str, Any]:
    """The options of a provider that the user does not set."""
    number = device.name.partition(":")[2] or "0"
    if provider == CUDA:
        # TF32 keeps 10 bits of mantissa: the mask would leave its tolerance.
        return {"device_id": number, "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    if provider == TENSORRT:
        engines = cache_folder() / "tensorrt" / import_onnxruntime().__version__
        engines.mkdir(parents=True, exist_ok=True)
        return {
            "device_id": number,
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(engines),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(engines),
        }
    return {}


@cache
def _preload(onnxruntime: Any) -> None:
    """Load CUDA's libraries from the pip packages, where this build knows how; it prints what it lacks."""
    if hasattr(onnxruntime, "preload_dlls"):
        with (
            _REDIRECTING,
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.suppress(Exception),
        ):
            onnxruntime.preload_dlls()
