"""The configs of a run directory, a class a part: each is decoded and validated in one step.

What is not there yet, as figures before the end of a training, is UNSET and has no key in the file.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from ....runtime.bundle.manifest import AnalysisSpec, ComponentSpec, Level, MaskGain, MaskTargets, Task
from ...graphs.apex_report import RotationReport
from ...models.compact_classifier import ClassifierForm, CompactClassifier
from ...models.decoders import DecoderForm
from ...models.interpreters import InterpreterForm

FORMAT: Literal["earmark-run"] = "earmark-run"
VERSION = 1


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What the configs of all parts hold.

    training: the settings, as `training.settings.to_record` writes them; they belong to the recipe
    clips: how many there were, by what they were for
    """

    # What a run that is resumed must share with what is asked for.
    shared: ClassVar[tuple[str, ...]] = ("training", "clips")

    format: Literal["earmark-run"] = FORMAT
    version: int = VERSION
    training: dict[str, object] = {}
    clips: dict[str, int] = {}


AnyConfig = TypeVar("AnyConfig", bound=Config)


class ClassifierConfig(Config, frozen=True, kw_only=True):
    """config.json: labels in the order of the logits, the sound it takes, the architecture.

    background_sha256: of recordings in which there is nothing; no key where there were none
    """

    shared: ClassVar[tuple[str, ...]] = ("labels", "clips", "training", "background_sha256")

    name: str
    labels: list[str]
    task: Task = "single_label"
    sample_rate: int
    window_seconds: float
    level: Level
    analysis: AnalysisSpec
    classifier: ClassifierForm
    unreadable: list[str] = []
    licence: str = ""
    attribution: str = ""
    background_sha256: str | UnsetType = UNSET

    def build(self) -> CompactClassifier:
        """The untrained classifier. Raises RunError where the config does not fit together."""
        return self.classifier.build(self.analysis.n_fft, self.sample_rate, len(self.labels))


class OverClassifier(Config, frozen=True, kw_only=True):
    """A part that was trained over a classifier, known by its fingerprint.

    noise_sha256: of the recordings that were mixed in; no key where noise was synthesised
    """

    shared: ClassVar[tuple[str, ...]] = ("classifier_sha256", "noise_sha256", "clips", "training")

    classifier_sha256: str
    noise_sha256: str | UnsetType = UNSET
    validation: dict[str, float] | UnsetType = UNSET

    def figures(self, prefix: str) -> dict[str, float]:
        """The figures on the validation clips, named as the bundle has them."""
        measured = {} if self.validation is UNSET else self.validation
        return {f"{prefix}_{name}": value for name, value in measured.items()}


class TappedConfig(OverClassifier, frozen=True, kw_only=True):
    """A part that reads taps of the classifier, by name, and what every source shows besides."""

    always_shown: ClassVar[frozenset[str]] = frozenset({"stft"})

    @property
    def inputs(self) -> list[str]:
        """What it reads, in order."""
        raise NotImplementedError


class DecoderConfig(TappedConfig, frozen=True, kw_only=True):
    """decoder.json: the form of the decoder, and the classes that it makes masks for."""

    shared: ClassVar[tuple[str, ...]] = (*OverClassifier.shared, "mask_targets", "mask_gain")
    always_shown: ClassVar[frozenset[str]] = frozenset({"stft", "target"})

    decoder: DecoderForm
    mask_targets: MaskTargets = "predicted"
    mask_gain: MaskGain = "log"

    @property
    def inputs(self) -> list[str]:
        """What the decoder reads."""
        return self.decoder.inputs

    @property
    def listened_gain(self) -> MaskGain:
        """What the masks multiply in a bundle: trained without the floor, a decoder is listened to with it.

        What that is worth: docs/results.md, "How clean is what is kept?".
        """
        # A run of before has it among the settings alone.
        trained = self.training.get("mask_gain", self.mask_gain)
        return "floored" if trained == "linear" else "log"


class DictionaryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How the dictionary of an interpreter was learnt.

    error: |X - W H| / |X| on the training clips
    silent: clips that were left out
    """

    sample_rate: int
    analysis: AnalysisSpec
    error: float
    silent: list[str] = []


class InterpreterStart(TappedConfig, frozen=True, kw_only=True):
    """What the training of an interpreter is begun with. start: the run it goes on from, by name."""

    shared: ClassVar[tuple[str, ...]] = ("by_design", *OverClassifier.shared, "start")

    by_design: bool = False
    start: str | None = None


class InterpreterConfig(InterpreterStart, frozen=True, kw_only=True):
    """interpreter.json: the form, the dictionary, from which relevance on a component is selected.

    mask_power: p of the soft mask that it was trained with
    """

    interpreter: InterpreterForm
    dictionary: DictionaryRecord
    threshold: float
    mask_power: float = 1.0
    facts: list[ComponentSpec] | UnsetType = UNSET

    @property
    def inputs(self) -> list[str]:
        """What the interpreter reads."""
        return self.interpreter.inputs


class ApexConfig(Config, frozen=True, kw_only=True):
    """apex.json: over which model or classifier U was learnt ("" where it is the other), and its report."""

    shared: ClassVar[tuple[str, ...]] = ("model_sha256", "classifier_sha256", "training", "clips")

    model_sha256: str = ""
    classifier_sha256: str = ""
    report: RotationReport | UnsetType = UNSET
