"""Creates a session on a device, and sees that what was asked for is what runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DeviceError
from .devices import ON_CPU, Device, DeviceRequest
from .failures import failed, is_out_of_memory, reason_of, unusable
from .onnx_runtime import CPU, import_onnxruntime
from .threads import thread_count
from .weights import hold_weights

# What onnxruntime logs unless it is told otherwise: warnings.
_LOGGED = 2


@dataclass(frozen=True)
class Activated:
    """A session, what it runs on, and what a user should know of it.

    device: the one asked for; the CPU where it took over
    alone: whether it is so for this graph alone
    """

    session: Any
    device: Device
    warnings: tuple[str, ...] = ()
    alone: bool = False


def activate(
    path: Path,
    device: Device,
    request: DeviceRequest,
    threads: int | None = None,
    model: bytes | None = None,
) -> Activated:
    """Create the session of the graph at `path` on a device; of requests only `auto` falls back to the CPU.

    threads: within an operator; None: as many as there may be
    model: the graph itself, where it was made here; `path` is its name alone
    Raises DeviceError where the device cannot be used or a provider is not active, BundleError where
    onnxruntime cannot open the graph.
    """
    reason: str | None = None
    threads = threads or thread_count()
    try:
        session = _session(path, device, request, threads, model)
    except Exception as error:
        reason = unusable(error, device.name, device.engines)
        if device.providers[0] == CPU or (reason is not None and not request.falls_back):
            raise failed(error, path, device.name, device.engines) from error
        if reason is None and CPU in device.providers and not is_out_of_memory(error):
            # The provider cannot take this graph; others it can.
            line = (
                f"{path.name}: on the CPU instead of {device.name}, which cannot open it: {reason_of(error)}"
            )
            return Activated(_on_cpu(path, request, threads, model), ON_CPU, (line,), alone=True)
        if not request.falls_back:
            raise failed(error, path, device.name, device.engines) from error
        reason = reason or f"{device.name}: {reason_of(error)}"
    else:
        absent = [name for name in device.required if name not in session.get_providers()]
        if not absent:
            return Activated(session, device, _fallen(session, path, device, model))
        reason = (
            f"{device.name}: onnxruntime did not activate {', '.join(absent)} (missing libraries or driver)"
        )
        if not request.falls_back:
            raise DeviceError(f"{reason}; see earmark doctor, or choose --device cpu")
    return Activated(
        _on_cpu(path, request, threads, model), ON_CPU, (f"onnxruntime runs on the CPU instead: {reason}",)
    )


def _on_cpu(path: Path, request: DeviceRequest, threads: int, model: bytes | None) -> Any:
    try:
        return _session(path, ON_CPU, request, threads, model)
    except Exception as error:
        raise failed(error, path, ON_CPU.name) from error


def _session(path: Path, device: Device, request: DeviceRequest, threads: int, model: bytes | None) -> Any:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    # What fails is raised; onnxruntime would log it as well.
    options.log_severity_level = 4 if request.falls_back or device.providers[0] != CPU else 3
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The next stage's threads would otherwise wait for this one's to stop spinning.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if device.providers[0] == CPU:
        hold_weights(options, path)
    else:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    request.set_options(options)
    quiet = device.providers[0] != CPU
    if quiet:
        # Of a provider it logs what it then raises, and that it is not one of a newer kind.
        onnxruntime.set_default_logger_severity(4)
    try:
        # Falling back by itself, onnxruntime would print that to stdout and keep its reason.
        return onnxruntime.InferenceSession(
            str(path) if model is None else model,
            options,
            providers=request.arguments(device),
            enable_fallback=0,
        )
    finally:
        if quiet:
            onnxruntime.set_default_logger_severity(_LOGGED)


def _fallen(session: Any, path: Path, device: Device, model: bytes | None) -> tuple[str, ...]:
    """A warning of operators that run on the CPU although another device was asked for.

    What only computes shapes belongs there: those numbers are on the CPU already.
    """
    if device.providers[0] == CPU or not hasattr(session, "get_provider_graph_assignment_info"):
        return ()
    nodes = [
        (node.name, node.op_type)
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name == CPU
        for node in part.get_nodes()
    ]
    shapes = _shape_nodes(path, model) if nodes else frozenset()
    fallen = sorted({kind for name, kind in nodes if name not in shapes})
    return (f"{path.name}: on the CPU instead of {device.name}: {', '.join(fallen)}",) if fallen else ()


def _shape_nodes(path: Path, model: bytes | None) -> frozenset[str]:
    """The names of the graph's nodes that whole numbers alone go into: lengths, indices, shapes."""
    import onnx

    read = onnx.load(str(path), load_external_data=False) if model is None else onnx.load_from_string(model)
    graph = read.graph
    whole = {
        constant.name for constant in graph.initializer if constant.data_type == onnx.TensorProto.INT64
    } | {""}
    names = set()
    for node in graph.node:
        constant = next((one.t for one in node.attribute if one.name == "value"), None)
        if (
            node.op_type in {"Shape", "Size"}
            or (
                node.op_type == "Constant"
                and constant is not None
                and constant.data_type == onnx.TensorProto.INT64
            )
            or (node.input and whole.issuperset(node.input) and node.op_type != "Cast")
        ):
            whole.update(node.output)
            names.add(node.name)
    return frozenset(names - {""})
