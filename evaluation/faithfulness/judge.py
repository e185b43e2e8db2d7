"""Judging explanations by asking the classifier again: any maskers, over labelled clips, side by side.

Every window of every clip is judged for the class that the classifier itself puts first there. What is
kept is a record a window, masker and domain, so that differences can be paired and intervals drawn over
source recordings; memory holds one window and the records.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from ...errors import MethodError
from ...runtime.audio.sound import open_sound
from ...runtime.bundle.manifest import MaskGain
from ...runtime.engine import Engine
from ...runtime.inference.pipeline import BATCH
from ...runtime.inference.scores import scores_of
from ...runtime.inference.window import Window
from ...runtime.values.arrays import FloatArray
from ..data.folder import Clip, load_sound
from ..rescoring import gains_of, rescore
from ..seeding import generator
from ..settings import Domain
from .conditions import Condition
from .maskers import COMPONENTS, DECODED, Masker, masker_of, top_share
from .metrics import OF_MASK, MaskedScores, entropy, gini, metrics

# From this score on, the classifier is sure of a class in silence.
_SURE = 0.5
# Areas of the curves.
AREAS = tuple(round(0.05 * step, 2) for step in range(1, 13))


@dataclass(frozen=True, slots=True)
class MaskRecord:
    """One masker on one window in one domain.

    clip, recording, label: of the clip; window: its number in the clip; condition: what was mixed in
    target: the label explained; p, q, o: its score for the sound, mask-in and mask-out (0..1)
    agrees: whether the mask-in keeps the decision (Fid-In)
    values: the metrics by key, `area` among them
    milliseconds: what the masker took for this window; 0 on curves
    """

    clip: str
    recording: str
    label: str
    window: int
    condition: str
    domain: Domain
    masker: str
    target: str
    p: float
    q: float
    o: float
    agrees: bool
    values: dict[str, float]
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Silence:
    """What a bundle's classifier says of silence: the label it puts first, and that label's score."""

    label: str
    score: float


@dataclass
class Faithfulness:
    """What came of a judgement.

    records: one a window, masker and domain, in order; curve: the same for top-share masks at `AREAS`,
        whose wanted area is `values["wanted_area"]`
    clips, windows: how many were judged; right: windows whose predicted class is the clip's label
    classify_ms: milliseconds of a window's forward pass (front end and classifier), for each window
    silence: domain -> the classifier's answer to silence; silent_class: windows predicted as that label
    warnings: one line each
    """

    records: list[MaskRecord] = field(default_factory=list)
    curve: list[MaskRecord] = field(default_factory=list)
    clips: int = 0
    windows: int = 0
    right: int = 0
    silent_class: int = 0
    classify_ms: list[float] = field(default_factory=list)
    silence: dict[Domain, Silence] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """How maskers are judged.

    maskers: the rows; domains: where the classifier is asked again
    area: 0..1, cells that rankings are cut to; None: as many as the window's own mask has: the decoder's, or
        where there is none the selected components'
    areas: of the curves, none by default; reference: the recipe's AD; seed: of all that draws
    Raises MethodError where an area is missing or out of range, or two maskers have one name.
    """

    maskers: Sequence[Masker]
    domains: Sequence[Domain]
    area: float | None = None
    areas: Sequence[float] = ()
    reference: bool = False
    seed: int = 0

    def check(self, engine: Engine) -> None:
        """Raise MethodError where the bundle lacks what the maskers need."""
        manifest = engine.manifest
        names = [masker.name for masker in self.maskers]
        if len(set(names)) < len(names):
            raise MethodError(f"two of the methods have one name: {', '.join(names)}")
        for stage, needing, recipe in (("decoder", DECODED, "lmac"), ("interpreter", COMPONENTS, "l2i")):
            lacking = [name for name in names if name in needing]
            if lacking and manifest.stage(stage) is None:
                raise MethodError(
                    f"{manifest.name}: has no {stage}, hence no {' and no '.join(lacking)}; train one with "
                    f"earmark train {recipe} and export again, or choose other methods and an area"
                )
        ranked = any(masker.binary for masker in self.maskers)
        if ranked and self.area is None and _own_masker(engine) is None:
            raise MethodError(
                f"{manifest.name}: has no decoder whose masks give the area that the others are cut to; "
                "give an area (--area 0.2)"
            )
        if self.reference and manifest.task == "multi_label":
            raise MethodError("the recipe's AD is one of models with a single label; leave the reference out")


def judge(
    engine: Engine,
    clips: Iterable[Clip],
    condition: Condition,
    plan: Plan,
) -> Faithfulness:
    """Judge the plan's maskers on every window of `clips` under `condition`.

    The target is the class that the classifier puts first for the window under the
    condition. Deterministic: a clip's result depends on the seed and its name, not on its neighbours.
    Raises MethodError (plan), DataError (clips).
    """
    plan.check(engine)
    result = Faithfulness()
    manifest = engine.manifest
    for clip in clips:
        waveform = condition(clip, load_sound(clip.path, manifest.sample_rate))
        for number, (window, milliseconds) in enumerate(_windows(engine, waveform)):
            result.classify_ms.append(milliseconds)
            judging = _WindowUnderMaskers(engine, plan, clip, number, condition.name, window)
            for domain in plan.domains:
                if domain not in result.silence:
                    nothing = np.zeros((1, *window.stft.shape[:2]), np.float32)
                    scores = scores_of(rescore(engine, window, nothing, domain)[0], manifest.task)
                    first = int(scores.argmax())
                    result.silence[domain] = Silence(manifest.labels[first], float(scores[first]))
            result.windows += 1
            result.right += manifest.labels[judging.target] in clip.labels
            first_domain = result.silence[plan.domains[0]]
            result.silent_class += manifest.labels[judging.target] == first_domain.label
            for records, curve in judging.judged():
                result.records += records
                result.curve += curve
        result.clips += 1
    result.warnings = _warnings(result)
    return result


def _windows(engine: Engine, waveform: FloatArray) -> Iterator[tuple[Window, float]]:
    """The windows of a clip after their forward pass, and the milliseconds that each took.

    A few windows go through the model together: their time is shared out evenly.
    """
    rate = engine.manifest.sample_rate
    windows = engine.windows(open_sound((waveform, rate), None, rate))
    while True:
        start = time.perf_counter()
        batch = list(islice(windows, BATCH))
        if not batch:
            return
        taken = 1e3 * (time.perf_counter() - start) / len(batch)
        yield from ((one, taken) for one in batch)


class _WindowUnderMaskers:
    """One window under all maskers."""

    def __init__(
        self, engine: Engine, plan: Plan, clip: Clip, number: int, condition: str, window: Window
    ) -> None:
        self.engine, self.plan, self.clip, self.number = engine, plan, clip, number
        self.condition, self.window = condition, window
        self.target = int(window.logits.argmax())
        self.task = engine.manifest.task

    def judged(self) -> Iterator[tuple[list[MaskRecord], list[MaskRecord]]]:
        """Records of the table and of the curves, masker by masker."""
        share = self._share()
        for masker in self.plan.maskers:
            random = self._random(masker)
            start = time.perf_counter()
            values = masker.compute(self.engine, self.window, self.target, random)
            taken = 1e3 * (time.perf_counter() - start)
            if values.shape != self.window.stft.shape[:2]:
                raise MethodError(
                    f"{masker.name}: gave {list(values.shape)} for a spectrogram of "
                    f"{list(self.window.stft.shape[:2])}"
                )
            mask = top_share(values, share, random) if masker.binary else values
            curve = self._curve(masker, values)
            masks = np.stack([mask, *curve])
            # Figures of the masks alone, which are the same in every domain.
            own = [{"sparseness": gini(mask), "complexity": entropy(mask), "area": _area(mask)}]
            own += [
                {"area": _area(one), "wanted_area": wanted}
                for one, wanted in zip(curve, self.plan.areas, strict=False)
            ]
            for domain in self.plan.domains:
                answers = self._asked(masks, domain, masker.gain_of(self.engine.manifest))
                records = self._records(masker.name, domain, answers, own, taken)
                yield records[:1], records[1:]

    def _share(self) -> float:
        """The area that rankings of this window are cut to."""
        if self.plan.area is not None:
            return self.plan.area
        own = _own_masker(self.engine)
        if own is None or not any(masker.binary for masker in self.plan.maskers):
            return 0.0
        return float(
            own.compute(self.engine, self.window, self.target, self._random(own)).mean(dtype=np.float64)
        )

    def _random(self, masker: Masker, *more: str) -> np.random.Generator:
        clip = self.clip.name
        return generator(self.plan.seed, self.condition, clip, self.number, masker.name, *more)

    def _curve(self, masker: Masker, values: FloatArray) -> list[FloatArray]:
        """Top-share masks at the areas of the curves; none where zeros and ones rank nothing."""
        if not self.plan.areas or (not masker.binary and ((values == 0.0) | (values == 1.0)).all()):
            return []
        return [top_share(values, area, self._random(masker, "curve")) for area in self.plan.areas]

    def _asked(self, masks: FloatArray, domain: Domain, how: MaskGain) -> MaskedScores:
        """What the classifier says of the window under `masks` [m, T, F] and under their complements."""
        kept, removed = (
            rescore(self.engine, self.window, gains, domain)
            for gains in gains_of(self.window, masks, how, domain)
        )
        return MaskedScores(
            full=np.repeat(scores_of(self.window.logits[None], self.task), len(masks), axis=0),
            kept=scores_of(kept, self.task),
            removed=scores_of(removed, self.task),
            target=np.full(len(masks), self.target),
            masks=masks,
            task=self.task,
        )

    def _records(
        self,
        name: str,
        domain: Domain,
        judged: MaskedScores,
        own: Sequence[dict[str, float]],
        milliseconds: float,
    ) -> list[MaskRecord]:
        """A record for each mask; `own` are its figures that depend on the mask alone."""
        figures = {
            key: metric.compute(judged)
            for key, metric in metrics(reference=self.plan.reference).items()
            if key not in OF_MASK
        }
        p, q, o = judged.p.tolist(), judged.q.tolist(), judged.o.tolist()
        return [
            MaskRecord(
                clip=self.clip.name,
                recording=self.clip.recording,
                label=self.clip.label,
                window=self.number,
                condition=self.condition,
                domain=domain,
                masker=name,
                target=self.engine.manifest.labels[self.target],
                p=p[at],
                q=q[at],
                o=o[at],
                agrees=bool(figures["input_fidelity"][at]),
                values={**{key: float(some[at]) for key, some in figures.items()}, **alone},
                milliseconds=0.0 if at else milliseconds,
            )
            for at, alone in enumerate(own)
        ]


def _area(mask: FloatArray) -> float:
    return float(mask.mean(dtype=np.float64))


def _own_masker(engine: Engine) -> Masker | None:
    """The bundle's own mask, whose area rankings are cut to."""
    for stage, name in (("decoder", "mask"), ("interpreter", "components")):
        if engine.manifest.stage(stage) is not None:
            return masker_of(name)
    return None


def _warnings(result: Faithfulness) -> list[str]:
    """What a reader of the table has to know."""
    lines: list[str] = []
    silence = next(iter(result.silence.values()), None)
    if silence is not None and silence.score >= _SURE and result.silent_class:
        lines.append(
            f"silence is classified as {silence.label!r} ({silence.score:.0%}), and so are "
            f"{result.silent_class} of {result.windows} windows: removing their evidence "
            "leaves that class, so their FF says little"
        )
    empty = Counter((one.masker, one.domain) for one in result.records if one.values["area"] == 0.0)
    counts = {masker: count for (masker, _), count in empty.items()}
    lines += [
        f"{masker}: {count} masks are empty; their mask-in is silence" for masker, count in counts.items()
    ]
    return lines
