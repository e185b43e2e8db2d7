"""The one place that imports onnxruntime; `earmark/__init__.py` has switched its telemetry off before."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import MissingDependencyError

TELEMETRY = "ORT_DISABLE_TELEMETRY"
CPU = "CPUExecutionProvider"


def import_onnxruntime(module: str = "") -> Any:
    """Import the installed onnxruntime, or one of its modules, such as "quantization".

    Raises MissingDependencyError, which names the extras, where none can be imported.
    """
    try:
        return import_module(f"onnxruntime.{module}" if module else "onnxruntime")
    except ImportError as error:
        raise MissingDependencyError(
            f'onnxruntime cannot be imported ({error}): pip install "earmark[cpu]", or "earmark[gpu]" '
            "for NVIDIA GPUs, not both"
        ) from error


# Weights of more bytes than this stay in their file, from which they are read as they are needed.
_MAPPED_BYTES = 1 << 29


def cpu_session(graph: Path | bytes, weights: Path | None = None) -> Any:
    """Open a plain session on the CPU, as references and checks at export use it; what fails is raised alone.

    graph: a path, or a serialised graph, which keeps weights in files in the folder `weights`
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if weights is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights))
    beside = None if isinstance(graph, bytes) else graph.with_name(f"{graph.name}.data")
    if weights is not None or (
        beside is not None and beside.is_file() and beside.stat().st_size > _MAPPED_BYTES
    ):
        # Packed for the processor they would be copies in memory.
        options.add_session_config_entry("session.disable_prepacking", "1")
    given = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(given, options, providers=[CPU])
