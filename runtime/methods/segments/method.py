"""The method `segments` over a bundle: any target of any model that says scores.

A sound of one window is explained as it is. Of a longer one every window has a share of the sound's
score, known from the windows' own scores without asking again. The windows with a noticeable share are
looked into, with fewer calls each the more they are; a window's share is divided among its segments in
proportion to |importance| as far as that exceeds its uncertainty, under its sign, and what overlapping
windows give to a stretch is added up. How many they are is no merit of the stretch: ranks and pictures
divide by it.
The windows' shares add up to the sound's score:

- scores joined by mean: p_w / W;
- scores joined by maximum: the Shapley values of the game max(p), in closed form: with the windows in
  rising order, each step p_(k) - p_(k-1) is shared equally by the windows that reach it.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ...arrays import FloatArray
from ...audio.lengths import samples_of
from ...inference.window import Window
from ..protocol import Answer, Context, Sound
from .callable import result_of, surrogate_of, warnings_of
from .grid import SegmentGrid
from .result import COLUMNS, LOWEST_R2, SegmentsResult
from .search import Found, Progress, search
from .settings import FEWEST_CALLS, SegmentSettings, require

Values = npt.NDArray[np.float64]


# Windows with less than this of the largest share are left as they are.
NOTICEABLE = 0.1
# Samples of windows that wait to be looked into: 64 MB.
_HELD_VALUES = 16_000_000
# Windows that a warning names.
_NAMED = 4
_PREDICTED = re.compile(r"only \d+%")


class Segments:
    """The method over a bundle's classifier."""

    name: ClassVar[str] = "segments"
    stage: ClassVar[str | None] = "segments"

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> None:
        """Raises MethodError for settings that do not fit, MissingDependencyError without scikit-learn."""
        require(SegmentSettings.of({name: value for name, value in options.items() if name != "progress"}))

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

    def add(self, heard: Window) -> None:
        """See one more window."""
        number, real = len(self._scores), heard.channels.shape[-1]
        score = 0.5 * (1.0 + math.tanh(0.5 * float(self._log_odds_of(heard.logits[None])[0])))
        self._scores.append(score)
        self._offsets.append(heard.offset)
        self._ends.append(heard.offset + real)
        # The earlier of two equal windows stays.
        heapq.heappush(self._held, _Window(score, -number, heard.waveform, real))
        if len(self._held) > self._most(heard.waveform.shape[-1]):
            heapq.heappop(self._held)

    def finish(self) -> Answer:
        """Look into the windows that matter."""
        method, seed = self._method, self._method.context.seed
        if self._sound.windows == 1:
            result = result_of(self._search(self._held[0], method.settings, 0, 1), method.settings, seed)
            return Answer({"segments": result}, result.warnings)
        shares = self._shares()
        noticeable = shares >= NOTICEABLE * float(shares.max())
        chosen = sorted((one for one in self._held if noticeable[-one.number]), key=lambda one: -one.number)
        settings = self._settings_of_each(len(chosen))
        found = {
            -one.number: self._search(one, settings, index, len(chosen)) for index, one in enumerate(chosen)
        }
        result = self._joined(found, shares, int(noticeable.sum()))
        return Answer({"segments": result}, result.warnings)

    def _shares(self) -> Values:
        aggregate = self._method.context.bundle.manifest.window.aggregate
        return shares_of(np.array(self._scores), aggregate)

    def _most(self, samples: int) -> int:
        """How many windows of `samples` samples can be looked into."""
        settings = self._method.settings
        if settings.preset:
            return settings.fine_windows
        most = settings.fine_windows * settings.calls // FEWEST_CALLS
        return max(settings.fine_windows, min(most, _HELD_VALUES // samples))

    def _settings_of_each(self, windows: int) -> SegmentSettings:
        """The calls for `fine_windows` windows, shared by those looked into."""
        settings = self._method.settings
        calls = settings.fine_windows * settings.calls // max(1, windows)
        return replace(settings, calls=min(settings.calls, max(FEWEST_CALLS, calls)))

    def _search(self, window: _Window, settings: SegmentSettings, index: int, windows: int) -> Found:
        """Look into one window, the number `index` of `windows`."""
        method = self._method
        progress = method.progress
        padding = window.waveform.shape[-1] - window.real
        one: Progress | None = None
        if progress is not None:
            budget = windows * settings.budget

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

    def _joined(self, found: dict[int, Found], shares: Values, noticeable: int) -> SegmentsResult:
        """Rows over the entire sound: short ones where windows were looked into, else one a window."""
        settings, manifest = self._method.settings, self._method.context.bundle.manifest
        scores, rate = np.array(self._scores), manifest.sample_rate
        spans = np.stack([self._offsets, self._ends], axis=1)
        looked = list(found.values())
        bands = looked[0].grid.bands_hz
        rows = Rows(rows_of(spans, sorted(found), settings, rate), len(bands) - 1)
        for number, (span, share) in enumerate(zip(spans, shares.tolist(), strict=True)):
            rows.add(span, share, found.get(number), settings.segment_seconds * rate)
        total = float(scores.mean() if manifest.window.aggregate == "mean" else scores.max())
        columns = rows.columns(bands, total, rate)
        return SegmentsResult(
            **dict(zip(COLUMNS, columns, strict=True)),
            windows=rows.windows(),
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
            warnings=tuple(self._warnings(found, noticeable)),
        )

    def _warnings(self, found: dict[int, Found], noticeable: int) -> list[str]:
        """What is unreliable, and in which windows; what was not looked into."""
        rate = self._method.context.bundle.manifest.sample_rate
        named: dict[str, list[str]] = {}
        for number, one in found.items():
            for text in warnings_of(one):
                where = f"{self._offsets[number] / rate:.2f}-{self._ends[number] / rate:.2f} s"
                # What share was predicted differs from window to window.
                named.setdefault(_PREDICTED.sub("too little", text), []).append(where)
        warnings = []
        for text, places in named.items():
            more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
            windows = "window" if len(places) == 1 else "windows"
            warnings.append(f"{text} (in the {windows} {', '.join(places[:_NAMED])}{more})")
        if len(found) < len(self._scores):
            left = noticeable - len(found)
            others = (
                f"of the others {left} have a noticeable share, too: ask more calls"
                if left > 0
                else f"the others have each less than {NOTICEABLE:.0%} of the largest share"
            )
            warnings.append(
                f"segments: {len(found)} of {len(self._scores)} windows were looked into, those with the "
                f"largest share of the score; {others}"
            )
        return warnings


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


def rows_of(
    spans: npt.NDArray[np.int64], looked: Sequence[int], settings: SegmentSettings, rate: int
) -> npt.NDArray[np.int64]:
    """Borders in samples of rows over the sound, for windows with these spans [W, 2].

    Where windows `looked` into lie, rows as long as a segment (axis frequency: between the windows' ends);
    elsewhere each window has one, the stretch nearest to its centre.
    """
    length = max(1, samples_of(settings.segment_seconds, rate))
    runs: list[list[int]] = []
    for number in looked:
        start, end = spans[number].tolist()
        if runs and start <= runs[-1][1]:
            runs[-1][1] = end
        else:
            runs.append([start, end])
    edges = np.unique(np.rint(stretches_of(spans[:, 0], spans[:, 1])).astype(np.int64))
    for start, end in runs:
        inside = (
            np.unique(spans[list(looked)])
            if settings.axis == "frequency"
            else np.append(np.arange(start, end, length), end)
        )
        outside = edges[(edges <= start) | (edges >= end)]
        edges = np.unique(np.concatenate([outside, inside[(inside >= start) & (inside <= end)]]))
    return np.asarray(edges)


class Rows:
    """Rows over a sound, to which every window adds what it has: T stretches by F bands."""

    def __init__(self, edges: npt.NDArray[np.int64], bands: int) -> None:
        self._edges = edges
        shape = (len(edges) - 1, bands)
        self._importance, self._magnitude, self._variance = (np.zeros(shape) for _ in range(3))
        self._windows = np.zeros((len(edges) - 1, 1))

    def add(self, span: npt.NDArray[np.int64], share: float, found: Found | None, segment: float) -> None:
        """Divide a window's share by what was found in it; evenly where that is nothing, or unreliable.

        span: its first and last sample; segment: samples of a segment
        """
        bands = self._importance.shape[1]
        sure = np.zeros(0) if found is None else _beyond_doubt(found)
        total = float(np.abs(sure).sum())
        if found is None or total <= 0.0:
            # What it may hold is uncertain by all of it.
            edges, even = np.asarray(span), np.full((1, bands), share / bands)
            parts = (even, np.abs(even) * segment / (span[1] - span[0]), np.abs(even))
        else:
            edges, fit = found.grid.edges + span[0], found.fit
            scale = share / float(np.abs(fit.importance).sum())
            parts = (
                sure.reshape(-1, bands) * (share / total),
                fit.magnitude.reshape(-1, bands) * scale,
                fit.uncertainty.reshape(-1, bands) * scale,
            )
        first, last = (
            np.searchsorted(self._edges, span[0], "right") - 1,
            np.searchsorted(self._edges, span[1]),
        )
        here, cuts = slice(first, last), self._edges[first : last + 1]
        seen = np.full((1, 1), float(span[1] - span[0]))
        self._windows[here] += _shared_out(seen, np.asarray(span), cuts) / np.diff(cuts)[:, None]
        self._importance[here] += _shared_out(parts[0], edges, cuts)
        # A magnitude is one of a segment's length already: what counts is how long it lasts.
        lasting = parts[1] * np.diff(edges)[:, None]
        self._magnitude[here] += _shared_out(lasting, edges, cuts) / np.diff(cuts)[:, None]
        self._variance[here] += np.square(_shared_out(parts[2], edges, cuts))

    def columns(self, bands_hz: Values, total: float, rate: int) -> tuple[Values, ...]:
        """What `COLUMNS` names, [T F] each; |importance| sums to `total`, also where windows disagreed."""
        grid = SegmentGrid(self._edges, bands_hz, rate)
        summed = float(np.abs(self._importance).sum())
        scale = total / summed if summed > 0.0 else 0.0
        magnitude = self._magnitude / np.maximum(self._windows, 1.0)
        values = (self._importance, magnitude, np.sqrt(self._variance))
        return (*grid.spans(), *(np.ascontiguousarray(one.reshape(-1) * scale) for one in values))

    def windows(self) -> Values:
        """How many windows look at each [T F]; 1 where a gap between windows leaves less."""
        return np.repeat(np.maximum(self._windows[:, 0], 1.0), self._importance.shape[1])


def _beyond_doubt(found: Found) -> Values:
    """The importances, each less its uncertainty: noise of many segments would outweigh a few that count.

    Zeros where the surrogate is unreliable: it does not know where the score comes from.
    """
    fit = found.fit
    if found.constant or fit.r2 < LOWEST_R2:
        return np.zeros_like(fit.importance)
    beyond = np.abs(fit.importance) - np.nan_to_num(fit.uncertainty)
    return np.asarray(np.sign(fit.importance) * np.maximum(beyond, 0.0))


def _shared_out(values: Values, edges: npt.NDArray[np.int64], cuts: npt.NDArray[np.int64]) -> Values:
    """Amounts [P, F] over the pieces between `edges` as amounts over the pieces between `cuts`."""
    summed = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    return np.stack([np.diff(np.interp(cuts, edges, column)) for column in summed.T], axis=1)
