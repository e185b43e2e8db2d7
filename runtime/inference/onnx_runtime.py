"""The one place that imports onnxruntime, with its telemetry switched off.

From 1.29 its official wheels write a device id and queued events below the home folder and send
them; only ORT_DISABLE_TELEMETRY in the environment, before the first import, prevents that.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import MissingDependencyError

TELEMETRY = "ORT_DISABLE_TELEMETRY"
CPU = "CPUExecutionProvider"


def import_onnxruntime(module: str = "") -> Any:
    """Import the installed onnxruntime, or one of its modules, without its telemetry.

    A value of ORT_DISABLE_TELEMETRY that the user has set stays. Child processes inherit the variable.

    Args:
        module: Name below onnxruntime, such as "quantization"; empty for onnxruntime itself.

    Returns:
        The module.

    Raises:
        MissingDependencyError: No onnxruntime can be imported; names the extras.

    """
    os.environ.setdefault(TELEMETRY, "1")
    try:
        return import_module(f"onnxruntime.{module}" if module else "onnxruntime")
    except ImportError as error:
        raise MissingDependencyError(
            f'onnxruntime cannot be imported ({error}): pip install "earmark[cpu]", or "earmark[gpu]" '
            "for NVIDIA GPUs, not both"
        ) from error


def cpu_session(graph: Path | bytes) -> Any:
    """Open a plain session on the CPU, as references and checks at export use it.

    Args:
        graph: Path of a graph, or a serialised one.

    Returns:
        An `onnxruntime.InferenceSession`; what fails is raised, not logged as well.

    Raises:
        MissingDependencyError: No onnxruntime can be imported.

    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    given = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(given, options, providers=[CPU])
