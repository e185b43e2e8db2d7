"""Every explanation as a localiser: an importance for each segment of time.

What is no list of segments is summed over frequency, components or places, so that a mask, nearest prototypes
and a perturbation method stand in one table, beside baselines that know nothing of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from scipy import special

from ...errors import DataError, MethodError
from ...runtime.audio.lengths import samples_at_least, samples_of
from ...runtime.audio.sound import open_sound
from ...runtime.engine import Engine
from ...runtime.explainer import Explainer, engine_of
from ...runtime.inference.window import Window
from ...runtime.methods.evidence import over_segments
from ...runtime.methods.loading import all_methods, expectation_of
from ...runtime.methods.protocol import Method, TimeTask
from ...runtime.methods.result import MethodResult
from ...runtime.methods.segments.callable import segments
from ...runtime.methods.segments.expectation import expected_of
from ...runtime.methods.segments.grid import SegmentGrid
from ...runtime.methods.segments.settings import SegmentSettings
from ...runtime.values.arrays import FloatArray, Values
from ..questions import EventFunction, Question, is_reference, numbers_of

# Sounds a call of the model where a localiser asks for many.
_BATCH = 16
_EPSILON = 1e-12


@dataclass(frozen=True)
class LocalisationTask:
    """One clip as the model is given it, and the class to be located.

    waveform: [N] mono at the model's rate and level, without padding; target: class index
    edges: [M + 1] of the segments, seconds; seed: of localisers that draw at random
    """

    explainer: Explainer
    waveform: FloatArray
    target: int
    edges: Values
    seed: int = 0

    @property
    def engine(self) -> Engine:
        """The graphs below the explainer."""
        return engine_of(self.explainer)

    @property
    def rate(self) -> int:
        """Hz."""
        return int(self.engine.manifest.sample_rate)

    def window(self) -> Window:
        """The clip after its forward pass."""
        return next(iter(self.engine.windows(open_sound(self.waveform, self.rate, self.rate))))

    def expected(self, settings: SegmentSettings) -> Values | None:
        """Where in the segments another method of the bundle expects evidence; None: anywhere."""
        if not settings.starts_from_mask:
            return None
        mask = expectation_of(self.engine.graphs, self.window(), self.target)
        if mask is None:
            return None
        grid = SegmentGrid.of(len(self.waveform), self.rate, settings)
        return expected_of(mask, self.engine.manifest.analysis.hop, grid)

    def probabilities(self, waveforms: FloatArray) -> Values:
        """Waveforms [B, N] -> the target's probability [B]; short sound is padded as the model's own is."""
        manifest = self.engine.manifest
        missing = samples_at_least(manifest.window.minimum_seconds, self.rate) - waveforms.shape[1]
        if missing > 0:
            waveforms = np.pad(waveforms, ((0, 0), (0, missing)))
        logits = self.engine.logits_of(np.ascontiguousarray(waveforms, np.float32))
        # In float64: a confident model's log-odds must not end where float32 rounds to 1.
        wide = logits.astype(np.float64)
        scores = special.expit(wide) if manifest.task == "multi_label" else special.softmax(wide, axis=1)
        return np.asarray(scores[:, self.target], np.float64)


@dataclass(frozen=True)
class Importance:
    """A localiser's answer: importance [M], larger where the target is; calls of the model; facts for notes.

    scoring_seconds: what the model took of it; 0 where that is not told apart
    """

    importance: Values
    calls: int = 0
    scoring_seconds: float = 0.0
    facts: Mapping[str, float] = field(default_factory=dict)


# Finds the target in time: an importance for each segment of the task. Raises MethodError where the bundle
# cannot give it.
Localiser = Callable[[LocalisationTask], Importance]


def task_of(
    explainer: Explainer, sound: Any, sample_rate: int | None, target: int, edges: Values, seed: int = 0
) -> tuple[LocalisationTask, int]:
    """A task, and the class that the model puts first, for a sound of one window.

    Of several labels the target counts as first where its score is at least 0.5.
    sound: path, or a waveform with its rate. Raises AudioError; DataError for sound longer than a window.
    """
    engine = engine_of(explainer)
    opened = open_sound(sound, sample_rate, engine.manifest.sample_rate)
    windows = list(engine.windows(opened))
    if len(windows) != 1:
        raise DataError(
            f"{opened.name}: is longer than the model's window; cut it into clips of "
            f"{engine.manifest.window.seconds:g} s for this table"
        )
    waveform = windows[0].waveform[: opened.samples]
    logits = windows[0].logits
    present = engine.manifest.task == "multi_label" and logits[target] >= 0.0
    return LocalisationTask(explainer, waveform, target, edges, seed), target if present else int(
        np.argmax(logits)
    )


def by_function(task: LocalisationTask, *, name: str, function: EventFunction) -> Importance:
    """A user's function as a row, and how often it asked the model."""
    question = Question.of(task.engine, task.window(), task.target, task.seed, task.edges)
    values = numbers_of(name, function, question, (len(task.edges) - 1,))
    return Importance(values, question.calls)


def available(explainer: Explainer, settings: SegmentSettings | None = None) -> dict[str, Localiser]:
    """The localisers that this bundle can run, by name; `settings` go to the method segments."""
    manifest = engine_of(explainer).manifest
    own = [method for method in all_methods() if method.available(manifest)]
    return _localisers(own, settings or SegmentSettings())


def check_methods(names: Sequence[str]) -> None:
    """Raise MethodError for a name that no localiser of any bundle has, and that names no function."""
    known = _localisers(all_methods(), SegmentSettings())
    for name in names:
        if name not in known and not is_reference(name):
            raise MethodError(f"methods: {name!r} is not one of {', '.join(known)}")


def _localisers(methods: Sequence[Method], settings: SegmentSettings) -> dict[str, Localiser]:
    return {
        "segments": partial(_segments, settings=settings),
        "segments_signed": partial(_segments, settings=settings, signed=True),
        "segments_flat": partial(_segments, settings=replace(settings, prior="flat")),
        **{row: partial(_method, row=row, method=one) for one in methods for row in one.time_rows},
        "occlusion_500ms": partial(_occlusion, seconds=0.5),
        "occlusion_100ms": partial(_occlusion, seconds=0.1),
        "energy": _energy,
        "random": _random,
    }


def _segments(task: LocalisationTask, *, settings: SegmentSettings, signed: bool = False) -> Importance:
    """The method `segments`, from the bundle's mask on as the settings say.

    Its magnitudes rank, or with `signed` its importances, as they are.
    """
    settings = replace(settings, segment_seconds=float(task.edges[1] - task.edges[0]))
    expected, options = task.expected(settings), vars(settings)
    result = segments(
        task.probabilities, task.waveform, task.rate, seed=task.seed, expected=expected, **options
    )
    values = result.importance if signed else result.magnitude
    if len(values) != len(task.edges) - 1:
        raise MethodError(f"segments: answers for {len(values)} segments, not {len(task.edges) - 1}")
    facts = {"r2": float(result.r2)}
    return Importance(np.asarray(values, np.float64), result.calls, result.scoring_seconds, facts)


def _method(task: LocalisationTask, *, row: str, method: Method) -> Importance:
    """A row that an explanation method offers: it says what its answer is worth in each segment."""

    def part() -> MethodResult:
        label = task.engine.manifest.labels[task.target]
        result = task.explainer.explain(
            task.waveform, task.rate, target=label, methods=[method.name], seed=task.seed
        )
        return result.parts[method.name]

    asked = TimeTask(task.engine.graphs, task.window(), task.target, task.edges, part)
    return Importance(np.asarray(method.importance(row, asked), np.float64), 1)


def _occlusion(task: LocalisationTask, *, seconds: float) -> Importance:
    """Silence one stretch at a time and see how far the log-odds log(p / (1 - p)) fall.

    The stretch moves by half of itself, at least a segment; drops are averaged over the stretches that cover
    a segment's centre.
    """
    rate, samples = task.rate, len(task.waveform)
    step = max(float(task.edges[1] - task.edges[0]), 0.5 * seconds)
    starts = np.arange(0.0, max(float(task.edges[-1]) - step, 0.0) + 1e-9, step)
    sounds = np.repeat(task.waveform[None], len(starts) + 1, axis=0)
    for row, start in zip(sounds[1:], starts, strict=True):
        row[samples_of(start, rate) : min(samples, samples_of(start + seconds, rate))] = 0.0
    scores = [task.probabilities(sounds[i : i + _BATCH]) for i in range(0, len(sounds), _BATCH)]
    odds = special.logit(np.clip(np.concatenate(scores), _EPSILON, 1.0 - _EPSILON))
    drops = odds[0] - odds[1:]
    centres = 0.5 * (task.edges[1:] + task.edges[:-1])
    covers = (centres[:, None] >= starts) & (centres[:, None] < starts + seconds)
    return Importance((covers * drops).sum(axis=1) / np.maximum(covers.sum(axis=1), 1), len(sounds))


def _energy(task: LocalisationTask) -> Importance:
    """The sound's own power in each segment: what an explanation must be better than."""
    return Importance(over_segments(task.waveform.astype(np.float64) ** 2, 1.0 / task.rate, task.edges))


def _random(task: LocalisationTask) -> Importance:
    """Uniform noise, seeded by the task and the clip's samples, or clips of one length would be alike."""
    mark = int(np.abs(task.waveform[:: max(1, len(task.waveform) // 64)]).sum() * 1e6) & 0xFFFFFFFF
    return Importance(np.random.default_rng([task.seed, mark]).random(len(task.edges) - 1))
