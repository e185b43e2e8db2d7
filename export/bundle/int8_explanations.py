"""Does an int8 classifier explain as its fp32 does? Asked of clips, before it is accepted. Never torch.

Of the explanations only `segments` asks it: masks, prototypes and components take the feature maps of fp32.
So segments are found by both, and what each of them found is judged by fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...evaluation.statistics import Interval, paired
from ...runtime.bundle.manifest import Task
from ...runtime.bundle.parity import ExplanationsAgreement, IntervalSpec
from ...runtime.methods.segments.search import search
from ...runtime.methods.segments.settings import SegmentSettings
from ...runtime.values.arrays import FloatArray, Values
from ..source.exportable import Exportable

Precision = Literal["fp32", "int8"]
# By precision: waveforms [B, N] -> logits [B, K].
Classifiers = Mapping[Precision, Callable[[FloatArray], FloatArray]]

# What segments ask of each classifier and clip; the share of the segments that is their evidence.
CALLS = 64
_EVIDENCE = 0.2
_SEGMENT_SECONDS = 0.1
_FEWEST_SEGMENTS = 10
# Sounds that go through the classifiers together.
_BATCH = 4
# An int8 classifier is refused whose segments clearly lose more faithfulness than this: the whole interval
# of the change lies beyond it.
LOSS_LIMIT = 0.02


@dataclass
class ExplanationsMeter:
    """Collects, clip by clip, how alike both explain.

    Args:
        source: What is exported.
        classifiers: Both classifiers.
        seed: Of masks and fills.

    """

    source: Exportable
    classifiers: Classifiers
    seed: int
    _ranks: list[float] = field(default_factory=list)
    _overlaps: list[float] = field(default_factory=list)
    _found: dict[Precision, list[tuple[float, float]]] = field(
        default_factory=lambda: {"fp32": [], "int8": []}
    )

    def add(self, sound: FloatArray, target: int) -> None:
        """Explain a clip [N] for a class by both classifiers."""
        from scipy.stats import spearmanr

        importance = {which: self._importance(sound, target, which) for which in self._found}
        exact, quick = importance["fp32"], importance["int8"]
        if np.ptp(exact) > 0 and np.ptp(quick) > 0:
            self._ranks.append(float(spearmanr(exact, quick).statistic))
        evidence = {which: _evidence(one) for which, one in importance.items()}
        shared = (evidence["fp32"] & evidence["int8"]).sum() / evidence["fp32"].sum()
        self._overlaps.append(float(shared))
        for which, chosen in evidence.items():
            self._found[which].append(self._faithfulness(sound, target, chosen))

    def agreement(self) -> ExplanationsAgreement:
        """Over all clips so far, of which there is one at least."""
        fp32, int8 = (np.array(found) for found in self._found.values())
        return ExplanationsAgreement(
            ranks=float(np.mean(self._ranks)) if self._ranks else 1.0,
            overlap=float(np.mean(self._overlaps)),
            ff=float(fp32[:, 0].mean()),
            ad=float(fp32[:, 1].mean()),
            ff_change=_spec(paired(int8[:, 0], fp32[:, 0])),
            ad_change=_spec(paired(int8[:, 1], fp32[:, 1])),
            limit=LOSS_LIMIT,
            clips=len(fp32),
        )

    def _settings(self, samples: int) -> SegmentSettings:
        length = min(_SEGMENT_SECONDS, samples / self.source.sample_rate / _FEWEST_SEGMENTS)
        return SegmentSettings(
            calls=CALLS,
            segment_seconds=max(0.001, length),
            fade_seconds=0.0,
            prior="flat",
            pairs=False,
            early_stop=False,
            batch=_BATCH,
        )

    def _importance(self, sound: FloatArray, target: int, which: Precision) -> Values:
        def evidence_for(sounds: FloatArray) -> Values:
            return log_odds(self.classifiers[which](sounds), target, self.source.task)

        found = search(sound, self.source.sample_rate, evidence_for, self._settings(len(sound)), self.seed)
        return np.asarray(found.fit.importance, np.float64)

    def _faithfulness(
        self, sound: FloatArray, target: int, chosen: npt.NDArray[np.bool_]
    ) -> tuple[float, float]:
        """FF and AD of an explanation, by fp32: what its removal costs, and what its keeping alone costs."""
        edges = np.linspace(0, len(sound), len(chosen) + 1).round().astype(int)
        inside = np.repeat(chosen, np.diff(edges))
        noise = (np.random.default_rng(self.seed).standard_normal(len(sound)) * sound.std()).astype(
            np.float32
        )
        sounds = np.stack([sound, np.where(inside, noise, sound), np.where(inside, sound, noise)])
        odds = log_odds(self.classifiers["fp32"](sounds), target, self.source.task)
        whole, removed, kept = odds if self.source.task == "regression" else 0.5 * (1 + np.tanh(0.5 * odds))
        return float(whole - removed), float(max(0.0, whole - kept))


def loses(agreement: ExplanationsAgreement) -> bool:
    """Whether segments by int8 are clearly less faithful than those by fp32."""
    return agreement.ff_change.high < -agreement.limit or agreement.ad_change.low > agreement.limit


def log_odds(logits: FloatArray, target: int, task: Task) -> Values:
    """The class `target`'s log(p / (1 - p)), [B]; of a regression its value."""
    wide = logits.astype(np.float64)
    if task == "single_label" and logits.shape[1] > 1:
        rest = np.logaddexp.reduce(np.delete(wide, target, axis=1), axis=1)
        return np.asarray(wide[:, target] - rest)
    return np.asarray(wide[:, target])


def _evidence(importance: Values) -> npt.NDArray[np.bool_]:
    """The segments of most importance: a fifth of them, one at least."""
    chosen = np.zeros(len(importance), bool)
    chosen[np.argsort(-importance, kind="stable")[: max(1, round(_EVIDENCE * len(importance)))]] = True
    return chosen


def _spec(interval: Interval) -> IntervalSpec:
    return IntervalSpec(mean=interval.estimate, low=interval.low, high=interval.high)
