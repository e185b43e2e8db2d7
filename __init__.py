"""earmark explains audio classifiers where they run."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

# Before anyone imports onnxruntime: from 1.29 on its official wheels write a device id below the home folder
# and send events, and nothing but this variable, in time, prevents that. What the user has set stays, and
# child processes inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from .errors import (
        AudioError,
        BundleError,
        BusyError,
        DataError,
        DeviceError,
        EarmarkError,
        LabelError,
        MethodError,
        MissingDependencyError,
        OutOfMemoryError,
        ParityError,
        PrototypeIndexError,
        RunError,
        ScoreError,
        SettingsError,
        SourceError,
        TargetError,
        UnexpectedError,
        WriteError,
    )
    from .runtime.detections.detection import Detection, ScoredWindow
    from .runtime.detections.detections import Detections
    from .runtime.detections.stream import Stream
    from .runtime.detections.thresholds import read_labels, read_thresholds
    from .runtime.explainer import Explainer, load
    from .runtime.explaining.batch import Failure
    from .runtime.methods.segments.callable import SegmentSettings, segments
    from .runtime.methods.segments.result import SegmentsResult
    from .runtime.observing import Observation, observe
    from .runtime.results.result import Result
    from .runtime.scores.windows import WindowScores
    from .version import __version__

__all__ = [
    "AudioError",
    "BundleError",
    "BusyError",
    "DataError",
    "Detection",
    "Detections",
    "DeviceError",
    "EarmarkError",
    "Explainer",
    "Failure",
    "LabelError",
    "MethodError",
    "MissingDependencyError",
    "Observation",
    "OutOfMemoryError",
    "ParityError",
    "PrototypeIndexError",
    "Result",
    "RunError",
    "ScoreError",
    "ScoredWindow",
    "SegmentSettings",
    "SegmentsResult",
    "SettingsError",
    "SourceError",
    "Stream",
    "TargetError",
    "UnexpectedError",
    "WindowScores",
    "WriteError",
    "__version__",
    "load",
    "observe",
    "read_labels",
    "read_thresholds",
    "segments",
]

# Names are imported when first used, so that `import earmark` costs next to nothing, and pytest can read
# this file on its own. What is not listed here is an error class.
_MODULES = {
    "__version__": ".version",
    "Detection": ".runtime.detections.detection",
    "Detections": ".runtime.detections.detections",
    "Explainer": ".runtime.explainer",
    "Failure": ".runtime.explaining.batch",
    "load": ".runtime.explainer",
    "Observation": ".runtime.observing",
    "Result": ".runtime.results.result",
    "ScoredWindow": ".runtime.detections.detection",
    "Stream": ".runtime.detections.stream",
    "observe": ".runtime.observing",
    "read_labels": ".runtime.detections.thresholds",
    "read_thresholds": ".runtime.detections.thresholds",
    "SegmentSettings": ".runtime.methods.segments.callable",
    "SegmentsResult": ".runtime.methods.segments.result",
    "WindowScores": ".runtime.scores.windows",
    "segments": ".runtime.methods.segments.callable",
}

# Type checkers take the imports above: a name that does not exist is an error to them.
if not TYPE_CHECKING:

    def __getattr__(name):  # noqa: ANN001, ANN202
        """Import a public name when it is first asked for."""
        if name in __all__:
            return getattr(import_module(_MODULES.get(name, ".errors"), __name__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
