"""The components of one sound, window by window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...audio.overlap import OverlapAdd
from ...audio.stft import as_complex, frame_count
from ...inference.scores import HOLDS, Aggregate, scores_of
from ...inference.window import Window
from ...values.arrays import FloatArray
from ..joining import StoredFrames
from ..protocol import Context, Sound
from ..rescoring import Rescored, Rescoring
from .dictionary import ComponentDictionary
from .interpreter import interpret
from .result import ComponentsResult, relevance_of, selected_of
from .tracks import Tracks, soft_mask


class ComponentsExplanation:
    """The activations of one sound, window by window; those of a long sound lie in a file."""

    def __init__(
        self, context: Context, dictionary: ComponentDictionary, threshold: float, sound: Sound, target: int
    ) -> None:
        self._context, self._manifest = context, context.manifest
        self._dictionary, self._threshold = dictionary, threshold
        self._sound, self._target = sound, target
        self._frames = frame_count(sound.samples, self._manifest.analysis)
        self._count, classes = dictionary.spec.count, len(self._manifest.labels)
        self._activations: FloatArray = np.zeros((0, 0), np.float32)
        self._join = OverlapAdd((self._count,))
        # Frames first, as they come: what is full can leave memory.
        self._stored = StoredFrames(self._frames, self._count, context.opened) if sound.windows > 1 else None
        # Pooled activations by class: of all windows alike, or of the one that speaks most for the class.
        self._pooled = np.zeros((classes, self._count), np.float64)
        self._loudest = np.full(classes, -np.inf)
        self._windows = 0
        how = context.aggregate
        self._interpreted, self._scores = Aggregate(how), Aggregate(how)

    def ask(self, window: Window) -> dict[str, FloatArray]:
        """Run the interpreter on the next window."""
        return interpret(self._context, window)

    def add(self, window: Window, answers: dict[str, FloatArray]) -> None:
        """See one more window."""
        with self._context.clock.stage("components"):
            self._interpreted.add([scores_of(answers["logits"], self._manifest.task)])
            self._scores.add([scores_of(window.logits, self._manifest.task)])
            self._windows += 1
            if self._context.aggregate == "mean":
                # The running mean: a partial answer has fewer windows than the sound.
                self._pooled += (answers["pooled"] - self._pooled) / self._windows
            else:
                ahead = window.logits > self._loudest
                self._pooled[ahead], self._loudest[ahead] = answers["pooled"], window.logits[ahead]
            if self._stored is None:
                self._activations = answers["activations"]
            else:
                frame = round(window.offset / self._manifest.analysis.hop)
                self._stored.append(self._join.add(frame, answers["activations"]).T)

    def finish(self) -> ComponentsResult:
        """Which components matter, and how to hear them."""
        manifest, dictionary = self._manifest, self._dictionary
        with self._context.clock.stage("components"):
            if self._stored is not None:
                self._stored.append(self._join.finish().T)
                self._stored.finish()
                self._activations = self._stored.values.T
            contributions = (dictionary.theta * self._pooled).astype(np.float32)
            relevance = relevance_of(contributions[self._target])
            selected = selected_of(relevance, self._threshold)
            scores = self._interpreted.value()
        rescored, warnings = self._rescored(selected)
        result = ComponentsResult(
            label=manifest.labels[self._target],
            labels=tuple(manifest.labels),
            holds=self._holding(),
            contributions=contributions,
            relevance=relevance,
            selected=selected,
            threshold=self._threshold,
            by_design=dictionary.spec.by_design,
            activations=self._activations[:, : self._frames],
            frame_s=manifest.analysis.hop / manifest.sample_rate,
            seconds=self._sound.samples / manifest.sample_rate,
            interpreted={
                manifest.labels[index]: float(scores[index]) for index in np.argsort(-scores, kind="stable")
            },
            rescored=rescored,
            facts=tuple(dictionary.spec.components),
            _tracks=Tracks(
                self._context.opened,
                manifest.analysis,
                dictionary,
                self._activations,
                self._sound.plan,
            ),
        )
        return replace(result, warnings=(*self._warnings(result), *warnings))

    def _holding(self) -> tuple[str, ...]:
        """The labels that hold, where several may, the surest first."""
        if self._manifest.task != "multi_label":
            return ()
        scores = self._scores.value()
        order = np.argsort(-scores, kind="stable")
        return tuple(self._manifest.labels[k] for k in order if scores[k] >= HOLDS)

    def _rescored(self, selected: tuple[int, ...]) -> tuple[dict[str, Rescored] | None, list[str]]:
        """What the classifier says of the selected components, and without them."""
        if not self._context.rescore:
            return None, []
        scores = Rescoring(self._context, self._target, "components'")
        hop = self._manifest.analysis.hop
        last = self._activations.shape[1] - 1
        for number, window in enumerate(self._context.windows()):
            if number and self._context.stopped():
                break
            frames = np.minimum(round(window.offset / hop) + np.arange(len(window.stft)), last)
            active = np.asarray(self._activations[:, frames], np.float32)
            mask = soft_mask(self._dictionary, active, selected)
            scores.add(window, as_complex(window.stft), mask, 1.0 - mask)
        return scores.scores(), scores.warnings()

    def _warnings(self, result: ComponentsResult) -> list[str]:
        """What a reader should know before believing the components."""
        warnings = []
        if not result.selected:
            warnings.append(
                f"components: none supports {result.label!r} by more than {result.threshold:g}; what they "
                "keep is silence"
            )
        first = next(iter(result.interpreted))
        predicted = self._manifest.labels[self._sound.predicted]
        if self._manifest.task == "single_label" and first != predicted:
            warnings.append(
                f"unreliable: the components' own answer is {first!r}, the classifier's {predicted!r}"
            )
        return warnings
