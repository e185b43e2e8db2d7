"""The segments of one sound: which of its windows are looked into, and what the whole sound is made of.

A sound of one window is explained as it is. Of a longer one every window has a share of the sound's
score, known from the windows' own scores without asking again. The windows with a noticeable share are
looked into, with fewer calls each the more they are; a window's share is divided among its segments in
proportion to |importance| as far as that exceeds its uncertainty, under its sign, and what overlapping
windows give to a stretch is added up. How many they are is no merit of the stretch: ranks and pictures
divide by it.
The windows' shares add up to the sound's score:

- scores joined by mean: p_w / W;
- scores joined by maximum: the Shapley values of the game max(p), in closed form: with the windows in
  rising order, each step p_(k) - p_(k-1) is shared equally by the windows that reach it;
- scores joined by log-mean-exp with sharpness a: the Aumann-Shapley values, p_w times the mean over t in
  0..1 of exp(a t p_w) / sum_v exp(a t p_v).

Of a regression p is the value less that of silence, which may be negative: shares tell how the sound moves
the value away from where silence leaves it.
"""

from __future__ import annotations

import heapq
import math
import re
from dataclasses import dataclass, field, replace

import numpy as np

from ....forks import fork_waits
from ....times import span_text
from ...bundle.manifest import Aggregation
from ...inference.scores import SHARPNESS
from ...inference.window import Window
from ...values.arrays import FloatArray, Values
from ..protocol import Context, Sound
from .answers import LOG_ODDS, VALUES
from .callable import pairs_of, prior_of, result_of, warnings_of
from .expectation import expected_of
from .grid import SegmentGrid, fits
from .result import COLUMNS, SegmentsResult
from .rows import Rows, rows_of
from .search import SearchResult, search
from .settings import FEWEST_CALLS, Progress, SegmentOptions, SegmentSettings

# Windows with less than this of the largest share are left as they are.
NOTICEABLE = 0.1
# Samples of windows that wait to be looked into: 64 MB.
_HELD_VALUES = 16_000_000
# Windows that a warning names.
_NAMED = 4
_PREDICTED = re.compile(r"only \d+%")


@dataclass(frozen=True, slots=True, order=True)
class _HeldWindow:
    """A window that may be looked into; the least likely one goes first."""

    score: float
    number: int
    waveform: FloatArray = field(compare=False)
    real: int = field(compare=False)
    expected: Values | None = field(compare=False)
    state: FloatArray | None = field(compare=False)


class SegmentsExplanation:
    """The windows' scores, and the sound of those few that matter most; memory grows by a number a window."""

    def __init__(self, context: Context, sound: Sound, target: int) -> None:
        self._context, self._sound, self._target = context, sound, target
        options: SegmentOptions = context.options
        self._settings, self._progress = options, options.progress
        self._held: list[_HeldWindow] = []
        self._values = context.bundle.manifest.task == "regression"
        # The value of silence, of a regression; what shares are counted from.
        self._base: float | None = None
        self._scores: list[float] = []
        self._offsets: list[int] = []
        self._ends: list[int] = []

    def add(self, window: Window) -> None:
        """See one more window."""
        number, real = len(self._scores), window.channels.shape[-1]
        score = self._score(window)
        self._scores.append(score)
        self._offsets.append(window.offset)
        self._ends.append(window.offset + real)
        # The earlier of two equal windows stays.
        rank = (abs(score), -number)
        if len(self._held) < self._most(window.waveform.shape[-1]):
            heapq.heappush(self._held, self._hold(window, *rank, real))
        elif rank > (self._held[0].score, self._held[0].number):
            heapq.heapreplace(self._held, self._hold(window, *rank, real))

    def finish(self) -> SegmentsResult:
        """Look into the windows that matter."""
        settings, seed = self._settings, self._context.seed
        if self._sound.windows == 1:
            result = self._search(self._held[0], settings, 0, 1)
            return result_of(result, settings, seed, value=self._values)
        shares = shares_of(np.array(self._scores), self._context.aggregate)
        sizes = np.abs(shares)
        noticeable = sizes >= NOTICEABLE * float(sizes.max())
        chosen = sorted((one for one in self._held if noticeable[-one.number]), key=lambda one: -one.number)
        shared = self._settings_of_each(len(chosen))
        results: dict[int, SearchResult] = {}
        for index, one in enumerate(chosen):
            if index and self._context.stopped():
                break
            results[-one.number] = self._search(one, shared, index, len(chosen))
        return self._joined(results, shares, int(noticeable.sum()))

    def _score(self, window: Window) -> float:
        """The target's score of a window; of a regression its value less that of silence."""
        answer = float(self._answers(window.logits[None])[0])
        if not self._values:
            return 0.5 * (1.0 + math.tanh(0.5 * answer))
        if self._base is None:
            silence = self._answers(
                self._context.logits_of(np.zeros_like(window.waveform[None]), state=window.state)
            )
            self._base = float(silence[0]) if np.isfinite(silence).all() else 0.0
        return answer - self._base

    def _hold(self, window: Window, score: float, number: int, real: int) -> _HeldWindow:
        """A window with what its search needs: the mask costs a pass, so others have none."""
        return _HeldWindow(score, number, window.waveform, real, self._expected(window, real), window.state)

    def _expected(self, window: Window, real: int) -> Values | None:
        """Where in the segments of a window, `real` samples long, evidence is expected; None: anywhere."""
        settings, manifest = self._settings, self._context.manifest
        if not settings.starts_from_mask:
            return None
        mask = self._context.expectation(window, self._target)
        if mask is None or not fits(real, manifest.sample_rate, settings):
            return None
        grid = SegmentGrid.of(real, manifest.sample_rate, settings)
        return expected_of(mask, manifest.analysis.hop, grid)

    def _most(self, samples: int) -> int:
        """How many windows of `samples` samples can be looked into."""
        settings = self._settings
        if settings.preset:
            return settings.fine_windows
        most = settings.fine_windows * settings.calls // FEWEST_CALLS
        return max(settings.fine_windows, min(most, _HELD_VALUES // samples))

    def _settings_of_each(self, windows: int) -> SegmentSettings:
        """The calls for `fine_windows` windows, shared by those looked into."""
        settings = self._settings
        calls = settings.fine_windows * settings.calls // max(1, windows)
        return replace(settings, calls=min(settings.calls, max(FEWEST_CALLS, calls)))

    def _search(
        self, window: _HeldWindow, settings: SegmentSettings, index: int, windows: int
    ) -> SearchResult:
        """Look into one window, the number `index` of `windows`."""
        progress = self._progress
        padding = window.waveform.shape[-1] - window.real
        one: Progress | None = None
        if progress is not None:
            budget = windows * settings.budget

            def one(done: int, _: int) -> None:
                progress(index * settings.budget + done, budget)

        def answers(sounds: FloatArray) -> Values:
            # Padding is no part of the sound: it stays as the model's pipeline makes it.
            whole = np.pad(sounds, ((0, 0), (0, padding))) if padding else sounds
            return self._answers(self._context.logits_of(whole, settings.precision, window.state))

        waveform = np.ascontiguousarray(window.waveform[: window.real])
        rate = self._context.bundle.manifest.sample_rate
        seed = seed_of(self._context.seed, -window.number)
        kind, stopped = VALUES if self._values else LOG_ODDS, self._context.stopped
        return search(waveform, rate, answers, settings, seed, one, stopped, kind, window.expected)

    def _answers(self, logits: FloatArray) -> Values:
        """The target's log-odds [B] from logits [B, K], without passing through rounded probabilities.

        Of a regression its values.
        """
        wide = logits.astype(np.float64)
        chosen = wide[:, self._target]
        if self._context.bundle.manifest.task != "single_label":
            return chosen
        others = np.delete(wide, self._target, axis=1)
        if not others.shape[1]:
            return np.full(len(wide), np.inf)
        highest = others.max(axis=1)
        return np.asarray(chosen - highest - np.log(np.exp(others - highest[:, None]).sum(axis=1)))

    def _joined(self, results: dict[int, SearchResult], shares: Values, noticeable: int) -> SegmentsResult:
        """Rows over the entire sound: short ones where windows were looked into, else one a window."""
        settings, manifest = self._settings, self._context.bundle.manifest
        rate = manifest.sample_rate
        spans = np.stack([self._offsets, self._ends], axis=1)
        looked = list(results.values())
        bands = looked[0].grid.bands_hz
        rows = Rows(rows_of(spans, sorted(results), settings, rate), len(bands) - 1)
        for number, (span, share) in enumerate(zip(spans, shares.tolist(), strict=True)):
            rows.add(span, share, results.get(number), settings.segment_seconds * rate)
        columns = rows.columns(bands, float(np.abs(shares).sum()), rate)
        return SegmentsResult(
            **dict(zip(COLUMNS, columns, strict=True)),
            windows=rows.windows(),
            r2=float(np.mean([one.fit.r2 for one in looked])),
            score=float(shares.sum()) + (self._base or 0.0),
            calls=sum(one.calls for one in looked),
            seconds=sum(one.own_seconds for one in looked),
            scoring_seconds=sum(one.scoring_seconds for one in looked),
            surrogate="forest" if settings.forest else settings.surrogate,
            fill=settings.fill,
            axis=settings.axis,
            seed=self._context.seed,
            unit="value" if self._values else "score",
            signed=all(one.fit.signed for one in looked),
            prior=prior_of(looked),
            pairs=tuple(
                pair
                for number, one in sorted(results.items())
                for pair in pairs_of(one, self._offsets[number] / rate)
            ),
            warnings=tuple(self._warnings(results, noticeable)),
        )

    def _warnings(self, results: dict[int, SearchResult], noticeable: int) -> list[str]:
        """What is unreliable, and in which windows; what was not looked into."""
        rate = self._context.bundle.manifest.sample_rate
        named: dict[str, list[str]] = {}
        for number, one in results.items():
            for text in warnings_of(one):
                where = span_text(self._offsets[number] / rate, self._ends[number] / rate)
                # What share was predicted differs from window to window.
                named.setdefault(_PREDICTED.sub("too little", text), []).append(where)
        warnings = []
        for text, spans in named.items():
            # Windows that begin a few samples apart have one text.
            places = list(dict.fromkeys(spans))
            more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
            windows = "window" if len(places) == 1 else "windows"
            warnings.append(f"{text} (in the {windows} {', '.join(places[:_NAMED])}{more})")
        if len(results) < len(self._scores):
            left = noticeable - len(results)
            others = (
                f"of the others {left} have a noticeable share, too: ask more calls"
                if left > 0
                else f"the others have each less than {NOTICEABLE:.0%} of the largest share"
            )
            warnings.append(
                f"segments: {len(results)} of {len(self._scores)} windows were looked into, those with the "
                f"largest share of the score; {others}"
            )
        return warnings


def seed_of(seed: int, window: int) -> int:
    """The seed of a window: the first has the sound's own."""
    return seed if window == 0 else int(np.random.SeedSequence([seed, window]).generate_state(1)[0])


@fork_waits
def shares_of(scores: Values, aggregate: Aggregation) -> Values:
    """What each window [W] contributes to the joined score; the shares sum to it."""
    if aggregate == "mean":
        return np.asarray(scores / len(scores))
    if aggregate == "lme":
        # Gauss-Legendre with 16 nodes: exact to float64 for a smooth path as short as this.
        nodes, weights = np.polynomial.legendre.leggauss(16)
        path = np.exp(SHARPNESS * 0.5 * (nodes[:, None] + 1.0) * scores)
        return np.asarray(scores * (0.5 * weights @ (path / path.sum(axis=1, keepdims=True))))
    order = np.argsort(scores, kind="stable")
    steps = np.diff(scores[order], prepend=0.0) / np.arange(len(scores), 0, -1)
    shares = np.empty_like(scores)
    shares[order] = np.cumsum(steps)
    return shares
