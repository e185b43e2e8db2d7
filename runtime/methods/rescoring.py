"""What the classifier says when only a part of a sound is left, or when that part is gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, TypedDict

import numpy as np

from ...bounds import setting
from ..audio.stft import ComplexArray, inverse
from ..inference.chain import Chain
from ..inference.scores import HOLDS, Aggregate, scores_of
from ..inference.window import Window
from ..values.arrays import FloatArray
from .protocol import Context

# A removed part that has so much of the kept part's score contradicts the mask.
_AS_MUCH = 0.9


class Rescored(TypedDict):
    """What the classifier says of the kept and of the removed part in one domain."""

    mask_in: Annotated[float, setting("The target's score of the kept part, 0..1.")]
    mask_out: Annotated[float, setting("The same of the removed part.")]
    mask_in_label: Annotated[str, setting("The label put first for the kept part.")]
    mask_out_label: Annotated[str, setting("The same of the removed part.")]


class Rescoring:
    """Scores of the kept and of the removed part of one sound, in the domains that the bundle can hear.

    Attributes:
        what: What is kept, in a word for warnings.

    """

    def __init__(self, context: Context, target: int, what: str = "kept") -> None:
        self._context, self._target, self._what = context, target, what
        manifest = context.bundle.manifest
        self._chain = Chain(context.run, manifest.analysis, manifest.rescore)
        domains = ["spectrogram", "audio"] if manifest.rescore == "spectrogram" else ["audio"]
        how = context.aggregate
        self._totals = {domain: (Aggregate(how), Aggregate(how)) for domain in domains}

    def add(self, window: Window, spectrum: ComplexArray, kept: FloatArray, removed: FloatArray) -> None:
        """Score one window twice more in each domain: under the gains `kept` and `removed` [T, F], 0..1.

        As audio, what is removed is the window minus what is kept.
        """
        spec = self._context.bundle.manifest.analysis
        with self._context.clock.stage("rescore"):
            if "spectrogram" in self._totals:
                self._see(
                    "spectrogram", self._chain.logits(window.stft * np.stack([kept, removed])[..., None])
                )
            wave = inverse(spectrum * kept, spec, window.waveform.shape[-1])
            waves = np.stack([wave, window.waveform - wave])
            self._see("audio", self._chain.logits_of(waves))

    def _see(self, domain: str, logits: FloatArray) -> None:
        scores = scores_of(logits, self._context.bundle.manifest.task)
        for total, one in zip(self._totals[domain], scores, strict=True):
            total.add([one])

    def scores(self) -> dict[str, Rescored]:
        """Domain -> the target's scores and the first labels."""
        labels = self._context.bundle.manifest.labels
        results: dict[str, Rescored] = {}
        for domain, (kept, removed) in self._totals.items():
            inside, outside = kept.value(), removed.value()
            results[domain] = {
                "mask_in": float(inside[self._target]),
                "mask_out": float(outside[self._target]),
                "mask_in_label": labels[int(inside.argmax())],
                "mask_out_label": labels[int(outside.argmax())],
            }
        return results

    def warnings(self) -> list[str]:
        """Where the mask does not bear out the decision."""
        manifest = self._context.bundle.manifest
        target = manifest.labels[self._target]
        lines = (
            contradiction(scores, target, manifest.task, f"{self._what} {domain}")
            for domain, scores in self.scores().items()
        )
        return [line for line in lines if line is not None]


def contradiction(scores: Rescored, target: str, task: str, part: str) -> str | None:
    """How the scores of what a mask keeps and removes contradict it; None where they do not.

    part: what is kept, for the warning
    """
    several = task == "multi_label"
    if several and scores["mask_in"] < HOLDS:
        return f"unreliable: the {part} has {scores['mask_in']:.1%} of {target!r} left"
    if not several and scores["mask_in_label"] != target:
        return f"unreliable: the {part} is classified as {scores['mask_in_label']!r}, not {target!r}"
    still = scores["mask_out"] >= HOLDS if several else scores["mask_out_label"] == target
    if still and scores["mask_out"] >= _AS_MUCH * scores["mask_in"]:
        return (
            f"unreliable: the {part} has {scores['mask_in']:.1%} of {target!r}, what is left without it "
            f"{scores['mask_out']:.1%}: the decision does not hang on it"
        )
    return None


def rescored_lines(rescored: Mapping[str, Rescored] | None, what: str = "") -> Iterator[tuple[str, str]]:
    """Lines for a person: the target's score of the kept and of the removed part, in each domain."""
    for domain, scores in (rescored or {}).items():
        yield "rescored", f"{what}{domain}: kept {scores['mask_in']:.1%}, removed {scores['mask_out']:.1%}"
