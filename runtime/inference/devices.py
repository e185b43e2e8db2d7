"""What runs the graphs: a device by name, or execution providers as onnxruntime names them."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

import msgspec

from ...errors import DeviceError
from ..bundle.cache import cache_folder
from .nvidia import graphics_cards
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

# Options by which a provider replays what it did, on the same buffers.
_CAPTURED = frozenset({"enable_cuda_graph", "trt_cuda_graph_enable"})

# Providers by a shorter name.
PROVIDERS = {
    "cpu": CPU,
    "cuda": CUDA,
    "tensorrt": TENSORRT,
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "qnn": "QNNExecutionProvider",
}

# An execution provider: its name, or its name and its options; several in order, or options by name.
Provider = str | tuple[str, Mapping[str, Any]]
Providers = Sequence[Provider] | Mapping[str, Mapping[str, Any]]


class Memory(msgspec.Struct, frozen=True):
    """Where tensors stay between stages, as onnxruntime's IO binding names it: "cuda" or "cpu", and which."""

    kind: str = "cpu"
    number: int = 0


class Device(msgspec.Struct, frozen=True):
    """What runs: its name in results, and the providers in order.

    required: those that must be active in every session
    memory: where tensors stay between stages
    engines: the folder of TensorRT's engines
    """

    name: str
    providers: tuple[str, ...]
    required: tuple[str, ...]
    memory: Memory = Memory()
    engines: Path | None = None


ON_CPU = Device("cpu", (CPU,), (CPU,))


class DeviceRequest(msgspec.Struct, frozen=True):
    """What a user asks to run the graphs on; picklable, and never shared with onnxruntime.

    device: auto, cpu, cuda, cuda:N or tensorrt
    providers: in its place names of execution providers with their options, in order; empty: by `device`
    session_options: attributes of `onnxruntime.SessionOptions`, and config entries (names with a dot)
    """

    device: str = "auto"
    providers: tuple[tuple[str, dict[str, Any]], ...] = ()
    session_options: dict[str, Any] = {}

    @classmethod
    def of(
        cls,
        device: str = "auto",
        providers: Providers | None = None,
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

    def choose(self, model: str = "") -> Device:
        """The device that was asked for. Raises DeviceError where this onnxruntime lacks it.

        model: whose engines TensorRT keeps
        """
        if self.device == "cpu":
            return ON_CPU
        onnxruntime = import_onnxruntime()
        available = onnxruntime.get_available_providers()
        if self.providers:
            return self._named(available, model)
        if self.device == "auto":
            if CUDA not in available:
                return ON_CPU
            _preload(onnxruntime)
            return Device("cuda:0", (CUDA, CPU), (CUDA,), Memory("cuda"))
        wanted = TENSORRT if self.device == "tensorrt" else CUDA
        if wanted not in available:
            raise DeviceError(
                f"{self.device}: this onnxruntime has no {wanted}; install it with "
                'pip install "earmark[gpu]" (without onnxruntime), or choose cpu'
            )
        _preload(onnxruntime)
        if wanted == TENSORRT:
            providers = (TENSORRT, CUDA, CPU) if CUDA in available else (TENSORRT, CPU)
            return Device("tensorrt", providers, (TENSORRT,), Memory("cuda"), engine_folder(model))
        number = int(self.device.partition(":")[2] or 0)
        return Device(f"cuda:{number}", (CUDA, CPU), (CUDA,), Memory("cuda", number))

    def _named(self, available: Sequence[str], model: str) -> Device:
        """The providers asked for by name, which are all required."""
        names = tuple(name for name, _ in self.providers)
        for name in names:
            if name not in available:
                raise DeviceError(
                    f"{name}: this onnxruntime has {', '.join(available)}; install the build of onnxruntime "
                    "that comes with it"
                )
        memory = Memory()
        number = _number(dict(self.providers[0][1]))
        if names[0] in {CUDA, TENSORRT}:
            memory = Memory("cuda", number)
        if {CUDA, TENSORRT} & set(names):
            _preload(import_onnxruntime())
        engines = engine_folder(model, number) if TENSORRT in names else None
        return Device(", ".join(names), names, names, memory, engines)

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


def _copied(providers: Providers | None) -> tuple[tuple[str, dict[str, Any]], ...]:
    """The providers as pairs. Raises DeviceError for what is none, for an empty list and repeated names."""
    if providers is None:
        return ()
    pairs: dict[str, dict[str, Any]] = {}
    listed = list(providers.items()) if isinstance(providers, Mapping) else providers
    for one in [listed] if isinstance(listed, str) else listed:
        pair = (one, {}) if isinstance(one, str) else one
        if not (
            isinstance(pair, tuple)
            and len(pair) == 2
            and isinstance(pair[0], str)
            and isinstance(pair[1], Mapping)
        ):
            raise DeviceError(f"providers: {one!r} is neither a name nor a pair of a name and its options")
        name = PROVIDERS.get(pair[0].lower(), pair[0])
        for option in _CAPTURED & set(pair[1]):
            if str(pair[1][option]).lower() in {"1", "true"}:
                raise DeviceError(
                    f"{name}: {option} is refused: a captured graph reads its first sound's buffers again"
                )
        if name in pairs:
            raise DeviceError(f"providers: {name} stands there twice")
        pairs[name] = dict(pair[1])
    if not pairs:
        raise DeviceError("providers: is empty; name one, or choose a device")
    return tuple(pairs.items())


def _number(options: Mapping[str, Any]) -> int:
    """The GPU that a provider's options name. Raises DeviceError for what is no number."""
    number = str(options.get("device_id", 0))
    if not number.isdecimal():
        raise DeviceError(f"device_id {number!r}: is no number of a GPU; the first is 0")
    return int(number)


def _defaults(provider: str, device: Device) -> dict[str, Any]:
    """The options of a provider that the user does not set."""
    number = str(device.memory.number)
    if provider == CUDA:
        return {
            "device_id": number,
            # TF32 keeps 10 bits of mantissa: the mask would leave its tolerance.
            "use_tf32": "0",
            # The other search tries every algorithm for every new length of a sound.
            "cudnn_conv_algo_search": "HEURISTIC",
            # The arena grows by what is needed, not to the next power of two.
            "arena_extend_strategy": "kSameAsRequested",
        }
    if provider == TENSORRT and device.engines is not None:
        device.engines.mkdir(parents=True, exist_ok=True)
        return {
            "device_id": number,
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(device.engines),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(device.engines),
        }
    return {}


def engine_folder(model: str, number: int = 0) -> Path:
    """Where TensorRT keeps the engines of a model: they serve one GPU, driver and pair of versions alone."""
    cards = graphics_cards()
    card = f"{cards[number].name}-{cards[number].driver}" if number < len(cards) else "unknown"
    versions = f"onnxruntime-{import_onnxruntime().__version__}-tensorrt-{tensorrt_version()}"
    parts = (re.sub(r"[^\w.-]+", "_", part) for part in (versions, card, model or "model"))
    return cache_folder().joinpath("tensorrt", *parts)


def tensorrt_version() -> str:
    """The version of the installed TensorRT, as pip knows it; "unknown" where it came another way."""
    for name in ("tensorrt-cu13", "tensorrt-cu12", "tensorrt"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return "unknown"


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
