"""The method `segments` over a bundle: any target of any model that says scores.

A sound of one window is explained as it is. Of a longer one every window has a share of the sound's
score, known from the windows' own scores without asking again; the windows with the largest shares are
looked into, and their share is divided among their segments in proportion to |importance|, under its
sign. The windows' shares add up to the sound's score:

- scores joined by mean: p_w / W;
- scores joined by maximum: the Shapley values of the game max(p), in closed form: with the windows in
  rising order, each step p_(k) - p_(k-1) is shared equally by the windows that reach it.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from .arrays import FloatArray
from .method import Answer, Context, Heard, Sound
from .perturbation.search import Found, Progress, search
from .perturbation.settings import SegmentSettings
from .segment_results import COLUMNS, SegmentsResult
from .segments import result_of, surrogate_of, warnings_of

Values = npt.NDArray[np.float64]


class Segments:
    """The method over a bundle's classifier."""

    name: ClassVar[str] = "segments"
    stage: ClassVar[str | None] = "segments"

    def __init__(self, context: Context) -> None:
        options = dict(context.options)
        self.context = context
        # What shows progress is no setting.
        self.progress: Progress | None = options.pop("progress", None)
        self.settings = SegmentSettings.of(options)

    @classmethod
    def of(cls, context: Context) -> Self:
        """The method over the context's bundle. Raises MethodError for options that do not exist."""
        return cls(context)

    def begin(self, sound: Sound, target: int) -> SegmentsAccount:
        """Open an account for `sound` and the class index `target`."""
        return SegmentsAccount(self, sound, target)


@dataclass(frozen=True, slots=True, order=True)
class _Window:
    """A window that may be looked into; the least likely one goes first."""

    score: float
    number: int
    waveform: FloatArray = field(compare=False)
    real: int = field(compare=False)


class SegmentsAccount:
    """The windows' scores, and the sound of those few that matter most; memory grows by a number a window."""

    def __init__(self, method: Segments, sound: Sound, target: int) -> None:
        self._method, self._sound, self._target = method, sound, target
        self._held: list[_Window] = []
        self._scores: list[float] = []
        self._offsets: list[int] = []
        self._ends: list[int] = []

    def add(self, heard: Heard) -> None:
        """See one more window."""
        number, real = len(self._scores), heard.channels.shape[-1]
        score = 0.5 * (1.0 + math.tanh(0.5 * float(self._log_odds_of(heard.logits[None])[0])))
        self._scores.append(score)
        self._offsets.append(heard.offset)
        self._ends.append(heard.offset + real)
        # The earlier of two equal windows stays.
        heapq.heappush(self._held, _Window(score, -number, heard.waveform, real))
        if len(self._held) > self._method.settings.fine_windows:
            heapq.heappop(self._held)

    def finish(self) -> Answer:
        """Look into the windows that matter."""
        method, seed = self._method, self._method.context.seed
        found = {-one.number: self._search(one, index) for index, one in enumerate(self._in_order())}
        if self._sound.windows == 1:
            result = result_of(found[0], method.settings, seed)
        else:
            result = self._joined(found)
        return Answer({"segments": result}, result.warnings)

    def _in_order(self) -> list[_Window]:
        return sorted(self._held, key=lambda one: -one.number)

    def _search(self, window: _Window, index: int) -> Found:
        method = self._method
        settings, progress = method.settings, method.progress
        padding = window.waveform.shape[-1] - window.real
        one: Progress | None = None
        if progress is not None:
            budget = len(self._held) * settings.budget

            def one(done: int, _: int) -> None:
                progress(index * settings.budget + done, budget)

        def log_odds(sounds: FloatArray) -> Values:
            # Padding is no part of the sound: it stays as the model's pipeline makes it.
            whole = np.pad(sounds, ((0, 0), (0, padding))) if padding else sounds
            return self._log_odds_of(method.context.logits_of(whole, settings.precision))

        waveform = np.ascontiguousarray(window.waveform[: window.real])
        rate = method.context.bundle.manifest.sample_rate
        return search(waveform, rate, log_odds, settings, seed_of(method.context.seed, -window.number), one)

    def _log_odds_of(self, logits: FloatArray) -> Values:
        """The target's log-odds [B] from logits [B, K], without passing through rounded probabilities."""
        wide = logits.astype(np.float64)
        chosen = wide[:, self._target]
        if self._method.context.bundle.manifest.task == "multi_label":
            return chosen
        others = np.delete(wide, self._target, axis=1)
        if not others.shape[1]:
            return np.full(len(wide), np.inf)
        highest = others.max(axis=1)
        return np.asarray(chosen - highest - np.log(np.exp(others - highest[:, None]).sum(axis=1)))

    def _joined(self, found: dict[int, Found]) -> SegmentsResult:
        """Rows over the entire sound: segments in the windows looked into, one row for each other window."""
        settings, manifest = self._method.settings, self._method.context.bundle.manifest
        scores = np.array(self._scores)
        shares = shares_of(scores, manifest.window.aggregate)
        borders = stretches_of(np.array(self._offsets), np.array(self._ends))
        rate = manifest.sample_rate
        parts: list[Values] = []
        for number, share in enumerate(shares.tolist()):
            stretch = borders[number] / rate, borders[number + 1] / rate
            if number in found:
                parts.append(_divided(found[number], self._offsets[number] / rate, stretch, share, settings))
            else:
                parts.append(_whole(stretch, share, 0.5 * rate, settings))
        rows = np.concatenate(parts)
        looked = list(found.values())
        warnings = list(dict.fromkeys(text for one in looked for text in warnings_of(one)))
        if len(found) < len(scores):
            warnings.append(
                f"segments: {len(found)} of {len(scores)} windows were looked into, those with the largest "
                "share of the score; the others have one row each"
            )
        total = float(scores.mean() if manifest.window.aggregate == "mean" else scores.max())
        return SegmentsResult(
            **{name: np.ascontiguousarray(rows[:, column]) for column, name in enumerate(COLUMNS)},
            r2=float(np.mean([one.fit.r2 for one in looked])),
            score=total,
            calls=sum(one.calls for one in looked),
            seconds=sum(one.own_seconds for one in looked),
            scoring_seconds=sum(one.scoring_seconds for one in looked),
            surrogate=surrogate_of(settings),
            fill=settings.fill,
            axis=settings.axis,
            seed=self._method.context.seed,
            unit="score",
            signed=all(one.fit.signed for one in looked),
            warnings=tuple(warnings),
        )


def seed_of(seed: int, window: int) -> int:
    """The seed of a window: the first has the sound's own."""
    return seed if window == 0 else int(np.random.SeedSequence([seed, window]).generate_state(1)[0])


def shares_of(scores: Values, aggregate: str) -> Values:
    """What each window [W] contributes to the joined score; the shares add up to it."""
    if aggregate == "mean":
        return np.asarray(scores / len(scores))
    order = np.argsort(scores, kind="stable")
    steps = np.diff(scores[order], prepend=0.0) / np.arange(len(scores), 0, -1)
    shares = np.empty_like(scores)
    shares[order] = np.cumsum(steps)
    return shares


def stretches_of(offsets: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Values:
    """Borders [W + 1] in samples between windows: what lies nearest to a window's centre is its own."""
    centres = 0.5 * (offsets + ends)
    between = 0.5 * (centres[1:] + centres[:-1])
    # Windows that only just meet part where they meet.
    return np.concatenate([[offsets[0]], np.clip(between, offsets[1:], ends[:-1]), [ends[-1]]])


def _divided(
    found: Found, offset_s: float, stretch: tuple[float, float], share: float, settings: SegmentSettings
) -> Values:
    """Rows [m, 7] of the segments of a window's own stretch; their |importance| makes up its share."""
    start, end, low, high = found.grid.spans()
    start, end = start + offset_s, end + offset_s
    kept = np.minimum(end, stretch[1]) - np.maximum(start, stretch[0]) > 1e-9
    fit = found.fit
    total = float(np.abs(fit.importance[kept]).sum())
    scale = share / total if total > 0.0 else 0.0
    rows = np.stack(
        [
            np.maximum(start, stretch[0]),
            np.minimum(end, stretch[1]),
            low,
            high,
            fit.importance * scale,
            fit.magnitude * scale,
            fit.uncertainty * scale,
        ],
        axis=1,
    )[kept]
    if total <= 0.0:
        return _whole(stretch, share, float(found.grid.bands_hz[-1]), settings)
    return np.asarray(rows)


def _whole(
    stretch: tuple[float, float], share: float, highest_hz: float, settings: SegmentSettings
) -> Values:
    """A window that was not looked into, as one row [1, 7]; what it may hold is uncertain by its share."""
    segments = max(1.0, (stretch[1] - stretch[0]) / settings.segment_seconds)
    return np.array([[*stretch, 0.0, highest_hz, share, share / segments, share]])
