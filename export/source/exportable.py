"""What can become a bundle: facts for the manifest, stage graphs, and a reference to measure them by.

Never torch: a PyTorch `Source` (`source.py`) and a graph from a file (`sources/onnx/file.py`) both are
`Exportable`, and `bundle/write.py` writes either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

import msgspec

from ...errors import SourceError
from ...runtime.bundle.manifest import (
    Aggregation,
    AnalysisSpec,
    ComponentsSpec,
    FeatureMapSpec,
    Level,
    MaskGain,
    StageSpec,
    Task,
    WindowSpec,
)
from ...runtime.values.arrays import FloatArray
from ..graphs.heads import LearntRotation

# Absolute, for waveforms with peak 1 and logits of order 1: up to the second number. Of larger ones the limit
# is as much larger.
LIMIT, USUAL_LOGIT = 1e-4, 10.0


@dataclass(frozen=True, kw_only=True)
class Exportable(ABC):
    """A model with its labels and what it expects of sound.

    components: what its interpreter's components are, where it has one; dictionary: the arrays of the file
        that it names, `dictionary` [F, K] and `theta` [C, K]
    apex: U, learnt over this classifier, with the report of its training
    parity_limit: by how much an exported output may differ from the source
    """

    # Packages whose versions stand in the manifest.
    tools: ClassVar[tuple[str, ...]]

    name: str
    labels: list[str]
    task: Task
    sample_rate: int
    window: WindowSpec
    analysis: AnalysisSpec
    rescore: Literal["spectrogram", "waveform"] = "spectrogram"
    level: Level = "none"
    mask_targets: Literal["predicted", "any"] | None = None
    mask_gain: MaskGain = "log"
    feature_map: FeatureMapSpec | None = None
    components: ComponentsSpec | None = None
    dictionary: dict[str, FloatArray] = field(default_factory=dict)
    apex: LearntRotation | None = None
    evaluation: dict[str, object] = field(default_factory=dict)
    parity_limit: float = LIMIT
    description: str = ""
    licence: str = ""
    attribution: str = ""
    # What its user should look at before believing the bundle, one line each.
    doubts: tuple[str, ...] = ()

    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 of the classifier: which one something trained belongs to."""

    @property
    @abstractmethod
    def explainers(self) -> list[str]:
        """The methods that a bundle of it runs when none is named ("prototypes" joins by `earmark index`)."""

    @abstractmethod
    def write_stages(self, folder: Path) -> list[StageSpec]:
        """Write every stage's graph into `folder`, in the order of the chain. Raises SourceError."""

    @abstractmethod
    def outputs(self, waveform: FloatArray) -> dict[str, FloatArray]:
        """The source's own answers to a waveform [B, N] (level already applied).

        "logits" [B, K], or "scores" [B, K] where the source gives probabilities alone; with a decoder
        "mask" [B, T, F] and "kept" [B, N]; with an interpreter "activations" [B, K, T], "pooled" [B, K] and
        its own logits "interpreted" [B, C]. Raises RuntimeError, ValueError or IndexError for a length
        that the source cannot take.
        """

    def rest(self) -> None:  # noqa: B027 (most have nothing to give back)
        """Give back memory that is had again when the next answer is asked for: large weights."""


Kind = TypeVar("Kind", bound=Exportable)


def with_window(source: Kind, seconds: float) -> Kind:
    """The same source with windows of at most `seconds`, windows overlapping by half.

    Raises SourceError where that is not positive or less than the shortest sound the model takes.
    """
    least = source.window.minimum_seconds
    if not max(least, 1e-3) <= seconds <= 3600:
        raise SourceError(
            f"{source.name}: a window of {seconds:g} s; give one between {max(least, 1e-3):g} and 3600 s"
        )
    window = msgspec.structs.replace(source.window, seconds=seconds, hop_seconds=seconds / 2)
    return replace(source, window=window)


def with_aggregate(source: Kind, how: Aggregation) -> Kind:
    """The same source with the scores of windows joined by `how`. Raises SourceError for lme of values."""
    if how == "lme" and source.task == "regression":
        raise SourceError(f"{source.name}: gives values, which lme does not join; take mean or max")
    return replace(source, window=msgspec.structs.replace(source.window, aggregate=how))


def with_hop(source: Kind, seconds: float) -> Kind:
    """The same source with windows of long sound so many seconds apart.

    Raises SourceError where that is no time, or more than a window, so that sound would be left out.
    """
    if not 1 / source.sample_rate <= seconds <= source.window.seconds:
        raise SourceError(
            f"{source.name}: a hop of {seconds:g} s; give one up to its window's {source.window.seconds:g} s"
        )
    return replace(source, window=msgspec.structs.replace(source.window, hop_seconds=seconds))
