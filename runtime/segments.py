"""`segments`: when a model heard it, from nothing but its scores.

Bolanos, Pepino, Meza, Ferrer, "Benchmarking Time-localized Explanations for Audio Classification
Models", 2025 (arXiv 2506.04391): mask segments, read the log-odds log(p / (1 - p)) of the target, fit
a surrogate from mask to log-odds, read an importance per segment. Masks, fills, the default surrogate
and the choice of masks are this project's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from .arrays import FloatArray
from .segment_results import SegmentsResult
from .segment_settings import Axis, Fill, SegmentSettings, Surrogate

__all__ = ["SegmentSettings", "SegmentsResult", "segments"]

# Waveforms [B, N] -> the target's probabilities [B].
ScoreFunction = Callable[[FloatArray], npt.ArrayLike]


def segments(
    score_fn: ScoreFunction,
    waveform: npt.ArrayLike,
    sample_rate: int,
    *,
    calls: int = 200,
    segment_seconds: float = 0.1,
    axis: Axis = "time",
    surrogate: Surrogate = "smooth",
    fill: Fill = "noise",
    preset: str | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **more: Any,
) -> SegmentsResult:
    """Say which segments of a sound make a model's score, for any callable.

    score_fn: waveforms [B, N] float32 -> probabilities of the target [B], 0..1
    waveform: [N] mono at `sample_rate` Hz, as the model hears it
    calls, segment_seconds, axis, surrogate, fill, preset: see `SegmentSettings`; `more`: its other fields
    seed: same seed, same masks; progress(done, budget): called after every batch
    Raises MethodError for settings, AudioError for a sound that is too short or not finite, ScoreError
    where the scores are not finite probabilities [B]; what score_fn itself raises comes through with a
    note.
    """
    raise NotImplementedError
