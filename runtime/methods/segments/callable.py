"""`segments`: when in a sound the evidence lies, from nothing but the scores of a model.

Bolanos, Pepino, Meza, Ferrer, "Benchmarking Time-localized Explanations for Audio Classification
Models", 2025 (arXiv 2506.04391): mask segments, read the log-odds log(p / (1 - p)) of the target, fit
a surrogate from mask to log-odds, read an importance per segment. Masks, fills, the default surrogate
and the choice of masks are this project's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import AudioError, MethodError, ScoreError
from ...audio.source import checked_rate
from ...values.arrays import FloatArray, Values
from ..options import whole_number
from .grid import SegmentGrid
from .pairs import Stretch
from .result import LOWEST_R2, SegmentPair, SegmentsResult
from .search import SearchResult, search
from .settings import Axis, Fill, Prior, Progress, SegmentSettings, Surrogate

__all__ = ["SegmentSettings", "SegmentsResult", "segments"]

# Waveforms [B, N] -> the target's probabilities [B].
ScoreFunction = Callable[[FloatArray], npt.ArrayLike]

# Float arithmetic may leave 0..1 by this much.
_SLACK = 1e-5
_NEAREST = 1e-7


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
    progress: Progress | None = None,
    expected: npt.ArrayLike | None = None,
    **more: Any,
) -> SegmentsResult:
    """Say which segments of a sound make the score of any callable.

    Args:
        score_fn: Waveforms [B, N] float32 -> probabilities [B] of the target, 0..1.
        waveform: [N] mono, as the model takes it, at `sample_rate`.
        sample_rate: Of the waveform, in Hz.
        calls: Most sounds that the model is asked about, 16 or more.
        segment_seconds: Length of a segment in seconds; the last may be shorter.
        axis: What is masked: "time", "frequency" or "both".
        surrogate: What is fitted to the answers; see `SegmentSettings`.
        fill: What replaces a masked segment; see `SegmentSettings`.
        preset: "bolanos2025" for the published method; None: this project's own.
        seed: Same seed, same masks; 0 or more.
        progress: Called after every batch: calls made, and how many there will be at most.
        expected: Where evidence is expected, a number of 0 or more for each segment, as the mean of a mask in
            it; the surrogate smooth starts from it. None: anywhere.
        **more: Further fields of `SegmentSettings`.

    Returns:
        The importance of every segment, with its uncertainty.

    Raises:
        MethodError: A setting does not exist or does not fit the sound.
        MissingDependencyError: A forest is asked for, and scikit-learn is not installed.
        AudioError: The waveform is too short, not mono or not finite.
        ScoreError: What `score_fn` returns are no finite probabilities [B].
        Exception: What `score_fn` itself raises comes through, with a note.

    Examples:
        >>> import numpy as np
        >>> sound = np.zeros(16_000, np.float32)
        >>> sound[8_000:9_600] = np.sin(np.arange(1_600))
        >>> loud = lambda waves: 1 / (1 + np.exp(3 - 40 * np.abs(waves).mean(axis=1)))
        >>> found = earmark.segments(loud, sound, 16_000, fill="zeros")
        >>> float(found.start_s[found.top(1)[0]])
        0.5

    """
    settings = SegmentSettings.of(
        {
            "calls": calls,
            "segment_seconds": segment_seconds,
            "axis": axis,
            "surrogate": surrogate,
            "fill": fill,
            "preset": preset,
            **more,
        }
    )
    if settings.precision != "fp32":
        raise MethodError("segments: a score function has no precision: leave precision away")
    settings.require()
    seed = whole_number("seed", seed, 0)
    sound = _checked_waveform(waveform)
    rate = checked_rate(sample_rate, "the waveform")
    known = None if expected is None else _checked_expected(expected, sound.size, rate, settings)
    score = _Probabilities(score_fn)
    return result_of(search(sound, rate, score, settings, seed, progress, expected=known), settings, seed)


class _Probabilities:
    """A user's score function as log-odds, with its answers checked."""

    def __init__(self, score_fn: ScoreFunction) -> None:
        if not callable(score_fn):
            raise MethodError(
                f"segments: score_fn is {type(score_fn).__name__}: give a function of waveforms [B, N] "
                "that returns the target's probabilities [B]"
            )
        self._score_fn, self._calls = score_fn, 0

    def __call__(self, sounds: FloatArray) -> Values:
        """Log-odds [B] of sounds [B, N]. Raises ScoreError."""
        try:
            answer = self._score_fn(sounds)
        except Exception as error:
            error.add_note(
                f"raised by the score function given to earmark.segments, for sounds {self._calls + 1} to "
                f"{self._calls + len(sounds)}, an array {sounds.shape} of {sounds.dtype}"
            )
            raise
        scores = _checked_scores(answer, len(sounds))
        self._calls += len(sounds)
        near = np.clip(scores, _NEAREST, 1.0 - _NEAREST)
        return np.asarray(np.log(near) - np.log1p(-near))


def _checked_scores(answer: object, count: int) -> Values:
    """The answer of a score function as [count] float64. Raises ScoreError."""
    try:
        # Tensors on a device say by themselves how they become arrays.
        scores = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ScoreError(
            f"the score function returned {type(answer).__name__}, which is no array of numbers: return "
            f"the target's probabilities [{count}] as NumPy array"
        ) from error
    if scores.shape != (count,):
        raise ScoreError(
            f"the score function returned the shape {scores.shape} for {count} sounds: return one "
            f"probability of the target a sound, shape ({count},)"
        )
    if not np.isfinite(scores).all():
        raise ScoreError(
            f"the score function returned NaN or an infinite value for {int((~np.isfinite(scores)).sum())} "
            f"of {count} sounds: scores must be finite probabilities"
        )
    low, high = float(scores.min()), float(scores.max())
    if low < -_SLACK or high > 1.0 + _SLACK:
        raise ScoreError(
            f"the score function returned {low if low < -_SLACK else high:.6g}, which is no probability: "
            "scores must lie in 0..1; apply softmax or sigmoid to logits"
        )
    return scores


def _checked_waveform(waveform: npt.ArrayLike) -> FloatArray:
    """`waveform` as [N] float32. Raises AudioError."""
    sound = np.asarray(waveform)
    if sound.ndim == 2 and sound.shape[0] == 1:
        sound = sound[0]
    if sound.ndim != 1 or not np.issubdtype(sound.dtype, np.number) or np.iscomplexobj(sound):
        raise AudioError(
            f"segments: the waveform is an array {sound.shape} of {sound.dtype}: give mono sound [N] in -1..1"
        )
    if np.issubdtype(sound.dtype, np.integer):
        raise AudioError(
            f"segments: the waveform holds integers ({sound.dtype}): scale it to -1..1 as float32 first"
        )
    if not sound.size:
        raise AudioError("segments: the waveform has no samples: give a sound that is not empty")
    if not np.isfinite(sound).all():
        raise AudioError("segments: the waveform holds NaN or an infinite value: sound must be finite")
    return np.ascontiguousarray(sound, dtype=np.float32)


def _checked_expected(
    expected: npt.ArrayLike, samples: int, rate: int, settings: SegmentSettings
) -> Values | None:
    """`expected` as [M] float64, None where it says nothing. Raises MethodError, AudioError."""
    values = np.asarray(expected, np.float64)
    segments = SegmentGrid.of(samples, rate, settings).size
    if values.shape != (segments,) or not np.isfinite(values).all() or (values < 0.0).any():
        raise MethodError(
            f"segments: expected is an array {values.shape}: give a finite number of 0 or more for each of "
            f"the {segments} segments"
        )
    return values if values.any() else None


def result_of(
    result: SearchResult, settings: SegmentSettings, seed: int, *, value: bool = False
) -> SegmentsResult:
    """The search of one clip as the answer of the method, with its warnings; value: of a regression."""
    start_s, end_s, fmin_hz, fmax_hz = result.grid.spans()
    fit = result.fit
    return SegmentsResult(
        start_s=start_s,
        end_s=end_s,
        fmin_hz=fmin_hz,
        fmax_hz=fmax_hz,
        importance=fit.importance,
        magnitude=fit.magnitude,
        uncertainty=fit.uncertainty,
        windows=np.ones_like(fit.importance),
        r2=fit.r2,
        score=result.full if value else float(0.5 * (1.0 + np.tanh(0.5 * result.full))),
        calls=result.calls,
        seconds=result.own_seconds,
        scoring_seconds=result.scoring_seconds,
        surrogate="forest" if settings.forest else settings.surrogate,
        fill=settings.fill,
        axis=settings.axis,
        seed=seed,
        unit="impurity" if not fit.signed else "value" if value else "log_odds",
        signed=fit.signed,
        prior=prior_of([result]),
        pairs=pairs_of(result),
        warnings=warnings_of(result),
    )


def prior_of(results: Sequence[SearchResult]) -> Prior:
    """What searches started from: "mask" where any of them had one."""
    return "mask" if any(one.from_mask for one in results) else "flat"


def pairs_of(result: SearchResult, offset_s: float = 0.0) -> tuple[SegmentPair, ...]:
    """The pairs of a search in seconds, in a sound in which its clip begins at `offset_s`."""
    times = offset_s + result.grid.edges / result.grid.sample_rate

    def span(stretch: Stretch) -> tuple[float, float]:
        return float(times[stretch[0]]), float(times[stretch[1]])

    return tuple(
        SegmentPair(**{**vars(one), "first": span(one.first), "second": span(one.second)})
        for one in result.pairs
    )


def warnings_of(result: SearchResult) -> tuple[str, ...]:
    """What a user should know before believing it."""
    if result.constant:
        return ("unreliable: no mask changed the score, so no segment can be said to matter",)
    if result.fit.r2 < LOWEST_R2:
        return (
            f"unreliable: the surrogate predicts only {max(0.0, result.fit.r2):.0%} of what the score does "
            "on masks it has not seen; ask more calls, take longer segments, or another fill or surrogate",
        )
    return ()
