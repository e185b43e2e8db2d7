"""The chain front end -> classifier, over whatever runs a stage by name.

A bundle's sessions run stages, and so do the graphs in a folder while a bundle is made of them: `explain`,
`verify`, parity and quantisation all go through here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from ..arrays import FloatArray
from ..audio.stft import as_pairs, forward
from ..bundle.manifest import AnalysisSpec, StageSpec
from ..lazy import lazy_property
from .session import Arrays, Tensors

Classifier = Literal["classifier", "classifier_int8"]


class RunStage(Protocol):
    """Runs a stage by name: feeds by name -> outputs (all, or those named) by name."""

    def __call__(self, stage: str, feeds: Arrays, outputs: Sequence[str] | None = None) -> Tensors:
        """Run it."""


@dataclass(frozen=True)
class ForwardPass:
    """What front end and classifier give for a batch.

    waveforms: [B, N] at the model's rate and level
    features: what the classifier gets: the listenable STFT [B, T, F, 2], or features of the model's own
    logits: [B, K]
    taps: name -> feature map [B, ...]
    """

    waveforms: FloatArray
    features: FloatArray
    logits: FloatArray
    taps: Tensors
    analysis: AnalysisSpec
    spectral: bool

    @lazy_property
    def stft(self) -> FloatArray:
        """The listenable STFT [B, T, F, 2] of the waveforms."""
        return self.features if self.spectral else as_pairs(forward(self.waveforms, self.analysis))

    @property
    def tensors(self) -> Tensors:
        """What a further stage may be fed with: taps, "logits", "stft", and "target", the predicted class."""
        target = self.logits.argmax(axis=1).astype(np.int64)
        return {**self.taps, "logits": self.logits, "stft": self.stft, "target": target}

    def feeds(self, stage: StageSpec) -> Tensors:
        """What a further stage takes, by name."""
        tensors = self.tensors
        return {tensor.name: tensors[tensor.name] for tensor in stage.inputs}


class Chain:
    """Front end and classifier of one model.

    Args:
        run: Runs a stage by name.
        analysis: The listenable STFT.
        rescore: "spectrogram" where the classifier takes that STFT, "waveform" where it takes other features.

    """

    def __init__(
        self, run: RunStage, analysis: AnalysisSpec, rescore: Literal["spectrogram", "waveform"]
    ) -> None:
        self._run, self._analysis = run, analysis
        self._spectral = rescore == "spectrogram"
        self._entry = "stft" if self._spectral else "features"

    def features(self, waveforms: FloatArray) -> FloatArray:
        """Waveforms [B, N] -> what the classifier gets, by the front end."""
        return self._run("frontend", {"waveform": waveforms})[self._entry]

    def forward(self, waveforms: FloatArray) -> ForwardPass:
        """Waveforms [B, N] -> logits, taps and what they come from."""
        features = self.features(waveforms)
        taps = self._run("classifier", {self._entry: features})
        logits = taps.pop("logits")
        return ForwardPass(waveforms, features, logits, taps, self._analysis, self._spectral)

    def logits(self, features: FloatArray, classifier: Classifier = "classifier") -> FloatArray:
        """What the front end gives, masked or not -> logits [B, K]."""
        return self._run(classifier, {self._entry: features}, ["logits"])["logits"]

    def logits_of(self, waveforms: FloatArray, classifier: Classifier = "classifier") -> FloatArray:
        """Waveforms [B, N] -> logits [B, K]."""
        return self.logits(self.features(waveforms), classifier)
