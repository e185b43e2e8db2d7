"""Judging explanations: faithfulness, localisation, prototypes, data sets, statistics. Never torch.

`evaluate` is one call for every table; `Question`, `Match` and `soft_mask` are what a method of your own is
given and gives (docs/evaluation.md).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .benchmark import Benchmark, evaluate
    from .presets import PRESETS
    from .questions import Match, Question, soft_mask

__all__ = ["PRESETS", "Benchmark", "Match", "Question", "evaluate", "soft_mask"]

_PLACES = {
    "Benchmark": ".benchmark",
    "evaluate": ".benchmark",
    "PRESETS": ".presets",
    "Match": ".questions",
    "Question": ".questions",
    "soft_mask": ".questions",
}


def __getattr__(name: str) -> Any:
    """Import it when it is asked for: options of the command line lie below, and must be quick."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name], __name__), name)
