"""Judging nearest prototypes: whether they bear the input's label, and what the place they match is worth.

Shares of labels: of the nearest clips of a view, how many bear the input's own label. Deletion: the place of
the input that the nearest prototype matches is taken out of the sound, and so are regions of equal size and
shape elsewhere, drawn at random; how far the target's logit falls is compared, clip by clip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import MethodError
from ...runtime.audio.lengths import samples_of
from ...runtime.audio.sound import open_sound
from ...runtime.engine import Engine
from ...runtime.explainer import Explainer, engine_of
from ...runtime.inference.window import Window
from ...runtime.methods.prototypes.prototype import Place, Prototype
from ...runtime.results.result import Result
from ...runtime.values.arrays import Values
from ..data.folder import Clip, load_sound
from ..questions import Match, PrototypeFunction, Question, answered, function_at, is_reference
from ..report import Cell, Column, Table
from ..rescoring import classify, domains_of
from ..seeding import generator
from ..settings import Domain, Fill, PrototypeSettings
from ..statistics import by_recording

# Spectra that go through the classifier together.
_BATCH = 8


@dataclass(frozen=True, slots=True)
class PrototypeRecord:
    """One view of one clip.

    target: the label explained, the one predicted; nearest: the label of the nearest prototype
    share: of the prototypes given, those with the clip's label; prototypes: those that are a channel's
    drops, random: by fill, how far the target's logit falls without the place, and on average without
        regions of its size and shape drawn at random; size: the place's share of the spectrogram
    """

    clip: str
    recording: str
    label: str
    target: str
    view: str
    nearest: str
    similarity: float
    share: float
    prototypes: float
    size: float
    drops: dict[str, float]
    random: dict[str, float]


@dataclass
class PrototypeJudgement:
    """Records, one a clip and view; clips: judged; known: of them in the index itself, left out."""

    records: list[PrototypeRecord] = field(default_factory=list)
    clips: int = 0
    right: int = 0
    known: list[str] = field(default_factory=list)

    def table(self, *, seed: int = 0) -> Table:
        """A row a view: shares of labels, and drops of the logit with their paired difference by fill."""
        columns = [
            Column("view", "view"),
            Column("first", "nearest right", 3, "higher"),
            Column("share", "of 5 right", 3, "higher"),
            Column("size", "place's size", 3),
        ]
        fills = list(self.records[0].drops) if self.records else []
        for fill in fills:
            columns += [
                Column(f"{fill}_drop", f"drop ({fill})", 3, "higher"),
                Column(f"{fill}_random", "random", 3),
                Column(f"{fill}_gap", "difference", 3, "higher"),
            ]
        rows: list[dict[str, Cell]] = []
        for view in dict.fromkeys(record.view for record in self.records):
            some = [record for record in self.records if record.view == view]
            row: dict[str, Cell] = {
                "view": view,
                "first": by_recording([one.nearest == one.label for one in some], some, seed),
                "share": by_recording([one.share for one in some], some, seed),
                "size": float(np.mean([one.size for one in some])),
            }
            for fill in fills:
                drops = np.array([one.drops[fill] for one in some])
                random = np.array([one.random[fill] for one in some])
                for name, values in (("drop", drops), ("random", random), ("gap", drops - random)):
                    row[f"{fill}_{name}"] = by_recording(values, some, seed)
            rows.append(row)
        return Table(columns, rows)


def judge_prototypes(
    explainer: Explainer,
    clips: Iterable[Clip],
    settings: PrototypeSettings | None = None,
    *,
    more: Mapping[str, PrototypeFunction] | None = None,
) -> PrototypeJudgement:
    """Explain every clip for the class predicted, and judge its nearest prototypes in every view.

    Clips that are in the index themselves are left out. A clip's figures depend on the seed and its name
    alone.

    Args:
        explainer: The bundle, opened.
        clips: What is judged.
        settings: Rows, and how places are removed; None: the defaults.
        more: Functions by name, which are rows as well.

    Returns:
        A record for each clip and row.

    Raises:
        MethodError: The bundle has no prototypes, or not that view; a function's answer is none.
        DataError: A clip cannot be read.

    """
    how = settings or PrototypeSettings()
    engine = engine_of(explainer)
    domain = how.domain or domains_of(engine)[0]
    judgement = PrototypeJudgement()
    rate = engine.manifest.sample_rate
    functions = dict(more or {})
    for name in how.methods:
        if is_reference(name) and name not in functions:
            functions[name] = function_at(name)
    views = [name for name in how.methods if name not in functions]
    # Functions alone need no prototypes in the bundle.
    asks_bundle = bool(views) or not (how.methods or functions)
    indexed = _indexed(engine) if asks_bundle or "prototypes" in engine.manifest.explainers else set()
    for clip in clips:
        if hashlib.sha256(clip.path.read_bytes()).hexdigest() in indexed:
            judgement.known.append(clip.name)
            continue
        waveform = load_sound(clip.path, rate)
        methods = ["prototypes"] if asks_bundle else []
        result = explainer.explain(waveform, rate, methods=methods, seed=how.seed)
        windows = list(engine.windows(open_sound(waveform, rate, rate)))
        judgement.clips += 1
        judgement.right += result.target in clip.labels
        rows = _chosen_views(result.prototypes or {}, views)
        target = engine.manifest.labels.index(result.target)
        for name, function in functions.items():
            seconds = result.duration_s
            rows[name] = of_function(name, function, engine, windows, target, seconds, how.seed)
        for view, nearest in rows.items():
            random = generator(how.seed, clip.name, view)
            drops = _Deletion(engine, windows, result, nearest[0].place, domain)
            judgement.records.append(_record(clip, result, view, nearest, drops, how, random))
    return judgement


def _chosen_views(
    there: Mapping[str, Sequence[Prototype]], wanted: Sequence[str]
) -> dict[str, Sequence[Nearest | Prototype]]:
    """The views that are asked for; none: all. Raises MethodError."""
    for view in wanted:
        if view not in there:
            raise MethodError(f"this bundle has no view {view!r}; it has {', '.join(there)}")
    return {view: there[view] for view in wanted or there}


def _indexed(engine: Engine) -> set[str]:
    """The sounds that are in the index, by the hash of their file."""
    from ...runtime.methods.prototypes.generation import open_generation

    generation = open_generation(engine.bundle.path, engine.manifest)
    return {clip.sha256 for clip in generation.all_clips()}


def _record(
    clip: Clip,
    result: Result,
    view: str,
    nearest: Sequence[Nearest | Prototype],
    deletion: _Deletion,
    settings: PrototypeSettings,
    random: np.random.Generator,
) -> PrototypeRecord:
    regions = [deletion.region, *(deletion.elsewhere(random) for _ in range(settings.draws))]
    # A whole window has no other place to compare with.
    falls = {fill: deletion.drops(regions, fill) for fill in settings.fills if view != "window"}
    return PrototypeRecord(
        clip=clip.name,
        recording=clip.recording,
        label=clip.label,
        target=result.target,
        view=view,
        # Sounds with several labels agree where they share one.
        nearest=nearest[0].label if set(nearest[0].labels).isdisjoint(clip.labels) else clip.label,
        similarity=nearest[0].similarity,
        share=float(np.mean([not set(one.labels).isdisjoint(clip.labels) for one in nearest])),
        prototypes=float(np.mean([one.kind == "prototype" for one in nearest])),
        size=deletion.size,
        drops={fill: float(fall[0]) for fill, fall in falls.items()},
        random={fill: float(fall[1:].mean()) for fill, fall in falls.items()},
    )


# Frames [first, last) and bins [first, last) of a spectrogram.
_Region = tuple[slice, slice]


class _Deletion:
    """One window of a sound, and a place in it that is to be taken out."""

    def __init__(
        self, engine: Engine, windows: Sequence[Window], result: Result, place: Place, domain: Domain
    ) -> None:
        self._engine, self._domain = engine, domain
        self._target = engine.manifest.labels.index(result.target)
        rate = engine.manifest.sample_rate
        middle = 0.5 * (place.start_s + place.end_s) * rate
        inside = [one for one in windows if one.offset <= middle < one.offset + one.waveform.shape[-1]]
        if not inside:
            raise MethodError(f"{result.input}: a prototype's place lies in no window of the sound")
        # Of overlapping windows the one that says most for the target, as the explanation has it.
        self._window = max(inside, key=lambda one: float(one.logits[self._target]))
        spec = engine.manifest.analysis
        start = self._window.offset / rate
        frames, bins = self._window.stft.shape[:2]
        # The frames that hold sound, not padding.
        self._frames = min(frames, 1 + samples_of(result.duration_s - start, rate) // spec.hop)
        self._bins = bins
        times = start + np.arange(self._frames) * spec.hop / rate
        hertz = np.arange(bins) * rate / spec.n_fft
        self.region: _Region = (
            _within(times, place.start_s, place.end_s),
            _within(hertz, place.fmin_hz, place.fmax_hz),
        )

    @property
    def size(self) -> float:
        """The place's share of the window's spectrogram."""
        time, band = self.region
        cells = (time.stop - time.start) * (band.stop - band.start)
        return float(cells / (self._frames * self._bins))

    def elsewhere(self, random: np.random.Generator) -> _Region:
        """A region of equal size and shape, drawn evenly from all."""
        return _moved(self.region[0], self._frames, random), _moved(self.region[1], self._bins, random)

    def drops(self, regions: Sequence[_Region], fill: Fill) -> Values:
        """How far the target's logit falls without each region."""
        stft = self._window.stft
        level = np.sqrt((stft[: self._frames] ** 2).sum(axis=2).mean(axis=0))
        amplitude = np.maximum(np.hypot(stft[..., 0], stft[..., 1]), 1e-12)
        spectra = np.repeat(stft[None], len(regions), axis=0)
        for spectrum, (time, band) in zip(spectra, regions, strict=True):
            if fill == "silence":
                spectrum[time, band] = 0.0
            else:
                spectrum[time, band] *= (level[band] / amplitude[time, band])[..., None]
        samples = self._window.waveform.shape[-1]
        logits = [
            classify(self._engine, spectra[start : start + _BATCH], self._domain, samples)
            for start in range(0, len(spectra), _BATCH)
        ]
        kept = np.concatenate(logits)[:, self._target].astype(np.float64)
        return float(self._window.logits[self._target]) - kept


def _within(grid: Values, low: float, high: float) -> slice:
    """The steps of an even grid from `low` to `high`, at least the nearest one."""
    first = int(np.searchsorted(grid, low - 1e-9))
    last = int(np.searchsorted(grid, high - 1e-9))
    if last <= first:
        first = min(int(np.abs(grid - 0.5 * (low + high)).argmin()), len(grid) - 1)
        last = first + 1
    return slice(first, last)


def _moved(span: slice, length: int, random: np.random.Generator) -> slice:
    """The span anywhere within `length`."""
    size = span.stop - span.start
    first = int(random.integers(0, length - size + 1))
    return slice(first, first + size)


@dataclass(frozen=True)
class Nearest:
    """A training sound called near.

    Attributes:
        label, labels: Its first label, and all.
        similarity: NaN where none is told.
        place: Of the input, what it matches.
        kind: That of a `Prototype`, beside which it stands.

    """

    label: str
    labels: Sequence[str]
    similarity: float
    place: Place
    kind: str = "function"


def of_function(
    name: str,
    function: PrototypeFunction,
    engine: Engine,
    windows: Sequence[Window],
    target: int,
    duration_s: float,
    seed: int,
) -> list[Nearest]:
    """What a function calls near, asked about the window that says most for the target.

    Raises:
        MethodError: It raised, or gave no matches.

    """
    window = max(windows, key=lambda one: float(one.logits[target]))
    answer: Any = answered(name, function, Question.of(engine, window, target, seed))
    matches = list(answer) if isinstance(answer, Sequence) else []
    if not matches or not all(isinstance(one, Match) for one in matches):
        raise MethodError(f"{name}: give the nearest training sounds as a list of Match, the best first")
    begin = window.offset / engine.manifest.sample_rate
    return [
        Nearest(one.label, (one.label,), one.similarity, _place(one, engine, begin, duration_s))
        for one in matches
    ]


def _place(match: Match, engine: Engine, begin_s: float, duration_s: float) -> Place:
    """The place of the input, in the sound's own time."""
    end = duration_s - begin_s if match.end_s is None else match.end_s
    start, low = match.start_s or 0.0, match.fmin_hz or 0.0
    high = 0.5 * engine.manifest.sample_rate if match.fmax_hz is None else match.fmax_hz
    if not (0.0 <= start < end and 0.0 <= low < high):
        raise MethodError(f"a match lies at {start:g}-{end:g} s and {low:g}-{high:g} Hz, which is no place")
    return Place(begin_s + start, min(begin_s + end, duration_s), low, high)
