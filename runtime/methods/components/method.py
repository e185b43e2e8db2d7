"""The method `components`: of which sounds, learnt from the training set, the evidence consists (L2I).

Parekh et al., "Listen to Interpret", NeurIPS 2022, section 3: the interpreter draws activations H of a
dictionary W from the classifier's feature maps and says with them what the classifier says, theta z. The
relevance of component k for class c is r_k = theta_{c,k} z_k / max_j |theta_{c,j} z_j|.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from ....errors import EarmarkError, MethodError
from ...arrays import FloatArray
from ...audio.overlap import OverlapAdd
from ...audio.sound import releaser, scratch
from ...audio.stft import as_complex, frame_count
from ...bundle.manifest import Manifest
from ...bundle.open import Bundle
from ...inference.scores import HOLDS, Aggregate, scores_of
from ...inference.session import Tensors
from ...inference.window import Window
from ..protocol import Answer, Context, Sound, refuse_unknown
from ..rescoring import MaskedScores
from .dictionary import Dictionary, open_dictionary
from .result import ComponentsResult, relevance_of, selected_of
from .tracks import Tracks, WindowPlan, soft_mask


class Components:
    """The method over a bundle with an interpreter."""

    name: ClassVar[str] = "components"
    # The interpreter, what is made of it and rescoring are counted apart.
    stage: ClassVar[str | None] = None

    def __init__(self, context: Context, dictionary: Dictionary) -> None:
        self.context, self.dictionary = context, dictionary
        self.threshold = _threshold(context.options, dictionary.spec.threshold)

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> None:
        """Raises MethodError for an option that does not exist, or a threshold that is none."""
        _threshold(options, 0.0)

    @classmethod
    def of(cls, context: Context) -> Self:
        """The method over the context's bundle.

        Raises MethodError where it has no interpreter or an option does not fit, BundleError where its
        dictionary is not what the manifest says.
        """
        return cls(context, cached_dictionary(context.cache, context.bundle))

    def begin(self, sound: Sound, target: int) -> ComponentsAccount:
        """Open an account for `sound` and the class index `target`, any of them."""
        return ComponentsAccount(self, sound, target)


class ComponentsAccount:
    """The activations of one sound, window by window; those of a long sound lie in a file."""

    def __init__(self, method: Components, sound: Sound, target: int) -> None:
        self._method, self._sound, self._target = method, sound, target
        context = method.context
        self._context, self._manifest = context, context.bundle.manifest
        self._frames = frame_count(sound.samples, self._manifest.analysis)
        self._count, classes = method.dictionary.spec.count, len(self._manifest.labels)
        self._activations: FloatArray = np.zeros((0, 0), np.float32)
        self._join = OverlapAdd((self._count,))
        self._filled = 0
        self._single = sound.windows == 1
        if not self._single:
            # Frames first, as they come: what is full can leave memory.
            self._stored = scratch((self._frames, self._count), np.float16, opened=context.opened)
            self._release = releaser(self._stored)
        self._offsets: list[int] = []
        self._plan = WindowPlan(0, 1, 0)
        # Pooled activations by class: of all windows alike, or of the one that speaks most for the class.
        self._pooled = np.zeros((classes, self._count), np.float64)
        self._loudest = np.full(classes, -np.inf)
        how = self._manifest.window.aggregate
        self._interpreted, self._scores = Aggregate(how), Aggregate(how)

    def add(self, heard: Window) -> None:
        """See one more window."""
        said = interpret(self._manifest, self._context.run, heard)
        with self._context.clock.stage("components"):
            self._plan_for(heard)
            self._interpreted.add([scores_of(said["logits"], self._manifest.task)])
            self._scores.add([scores_of(heard.logits, self._manifest.task)])
            if self._manifest.window.aggregate == "mean":
                self._pooled += said["pooled"] / self._sound.windows
            else:
                ahead = heard.logits > self._loudest
                self._pooled[ahead], self._loudest[ahead] = said["pooled"], heard.logits[ahead]
            if self._single:
                self._activations = said["activations"]
            else:
                frame = round(heard.offset / self._manifest.analysis.hop)
                self._store(self._join.add(frame, said["activations"]))

    def finish(self) -> Answer:
        """Which components matter, and how to hear them."""
        manifest, dictionary = self._manifest, self._method.dictionary
        with self._context.clock.stage("components"):
            if not self._single:
                self._store(self._join.finish())
                self._stored[self._filled :] = self._stored[self._filled - 1]
                self._activations = self._stored.T
            contributions = (dictionary.theta * self._pooled).astype(np.float32)
            relevance = relevance_of(contributions[self._target])
            selected = selected_of(relevance, self._method.threshold)
            scores = self._interpreted.value()
        rescored, warnings = self._rescored(selected)
        result = ComponentsResult(
            label=manifest.labels[self._target],
            labels=tuple(manifest.labels),
            holds=self._holding(),
            contributions=contributions,
            relevance=relevance,
            selected=selected,
            threshold=self._method.threshold,
            by_design=dictionary.spec.by_design,
            activations=self._activations[:, : self._frames],
            frame_s=manifest.analysis.hop / manifest.sample_rate,
            seconds=self._sound.samples / manifest.sample_rate,
            interpreted={
                manifest.labels[index]: float(scores[index]) for index in np.argsort(-scores, kind="stable")
            },
            rescored=rescored,
            _facts=tuple(dictionary.spec.components),
            _tracks=Tracks(
                self._context.opened, manifest.analysis, dictionary.columns, self._activations, self._plan
            ),
        )
        return Answer({"components": result}, tuple(self._warnings(result) + warnings))

    def _holding(self) -> tuple[str, ...]:
        """The labels that hold, where several may, the surest first."""
        if self._manifest.task != "multi_label":
            return ()
        scores = self._scores.value()
        order = np.argsort(-scores, kind="stable")
        return tuple(self._manifest.labels[k] for k in order if scores[k] >= HOLDS)

    def _plan_for(self, heard: Window) -> None:
        """Keep how the sound was cut into windows, so that it can be cut again."""
        if len(self._offsets) < 2:
            self._offsets.append(heard.offset)
            hop = self._offsets[-1] - self._offsets[0] or 1
            length = self._plan.length or heard.channels.shape[-1]
            self._plan = WindowPlan(length, hop, heard.waveform.shape[-1])

    def _store(self, finished: FloatArray) -> None:
        """Append finished activations [K, m] to those of the whole sound."""
        block = finished.T[: self._frames - self._filled]
        self._stored[self._filled : self._filled + len(block)] = block
        self._filled += len(block)
        self._release(block.nbytes)

    def _rescored(self, selected: tuple[int, ...]) -> tuple[dict[str, dict[str, Any]] | None, list[str]]:
        """What the classifier says of the selected components, and without them."""
        if not self._context.rescore:
            return None, []
        scores = MaskedScores(self._context, self._target, "components'")
        hop = self._manifest.analysis.hop
        last = self._activations.shape[1] - 1
        for heard in self._context.windows():
            frames = np.minimum(round(heard.offset / hop) + np.arange(len(heard.stft)), last)
            active = np.asarray(self._activations[:, frames], np.float32)
            mask = soft_mask(self._method.dictionary.columns, active, selected)
            scores.add(heard, as_complex(heard.stft), mask, 1.0 - mask)
        return scores.scores(), scores.warnings()

    def _warnings(self, result: ComponentsResult) -> list[str]:
        """What a reader should know before believing the components."""
        said = []
        if not result.selected:
            said.append(
                f"components: none speaks for {result.label!r} by more than {result.threshold:g}; what they "
                "keep is silence"
            )
        first = next(iter(result.interpreted))
        predicted = self._manifest.labels[self._sound.predicted]
        if self._manifest.task == "single_label" and first != predicted:
            said.append(
                f"unreliable: the components' own answer is {first!r}, the classifier's {predicted!r}"
            )
        return said


def cached_dictionary(cache: dict[str, Any], bundle: Bundle) -> Dictionary:
    """The bundle's dictionary, read once an explainer. Raises as `open_dictionary`."""
    if Components.name not in cache:
        cache[Components.name] = open_dictionary(bundle.path, bundle.manifest)
    found: Dictionary = cache[Components.name]
    return found


def interpret(manifest: Manifest, run: Callable[..., Tensors], heard: Window) -> dict[str, FloatArray]:
    """The interpreter's `activations` [K, T], `pooled` [K] and `logits` [C] of one window.

    run(stage, feeds) -> outputs by name, checked. Raises MethodError without an interpreter, EarmarkError
    where its answers do not fit the spectrogram.
    """
    stage = manifest.stage("interpreter")
    if stage is None:
        raise MethodError(
            f"{manifest.name}: this bundle has no interpreter, hence no components; train one with "
            "earmark train l2i and export again"
        )
    given = {**heard.taps, "stft": heard.stft[None]}
    made = run("interpreter", {one.name: given[one.name] for one in stage.inputs})
    said: dict[str, FloatArray] = {name: made[name][0] for name in ("activations", "pooled", "logits")}
    frames = len(heard.stft)
    if said["activations"].shape[-1] != frames:
        raise EarmarkError(
            f"{manifest.name}: the interpreter's activations have {said['activations'].shape[-1]} frames, "
            f"the spectrogram {frames}; export the bundle again"
        )
    return said


def _threshold(options: Mapping[str, Any], default: float) -> float:
    """The threshold of relevance asked for. Raises MethodError for what does not fit."""
    refuse_unknown("components", options, ("threshold",))
    value = options.get("threshold", default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value < 1.0:
        raise MethodError(f"components: the threshold {value!r} is no number from 0 to below 1")
    return float(value)
