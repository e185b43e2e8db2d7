"""earmark explains audio classifiers where they run."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .errors import (
        AudioError,
        BundleError,
        DeviceError,
        EarmarkError,
        LabelError,
        MethodError,
        MissingDependencyError,
        PrototypeIndexError,
        ScoreError,
        TargetError,
    )
    from .runtime.explainer import Explainer, load
    from .runtime.results import Result
    from .runtime.segment_results import SegmentsResult
    from .runtime.segments import SegmentSettings, segments

# Names are imported when first used, so that `import earmark` costs next to nothing.
_PUBLIC = {
    "Explainer": ".runtime.explainer",
    "load": ".runtime.explainer",
    "Result": ".runtime.results",
    "SegmentSettings": ".runtime.segments",
    "SegmentsResult": ".runtime.segment_results",
    "segments": ".runtime.segments",
    **dict.fromkeys(
        (
            "AudioError",
            "BundleError",
            "DeviceError",
            "EarmarkError",
            "LabelError",
            "MethodError",
            "MissingDependencyError",
            "PrototypeIndexError",
            "ScoreError",
            "TargetError",
        ),
        ".errors",
    ),
}

__all__ = [
    "AudioError",
    "BundleError",
    "DeviceError",
    "EarmarkError",
    "Explainer",
    "LabelError",
    "MethodError",
    "MissingDependencyError",
    "PrototypeIndexError",
    "Result",
    "ScoreError",
    "SegmentSettings",
    "SegmentsResult",
    "TargetError",
    "__version__",
    "load",
    "segments",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
