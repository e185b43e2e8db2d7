"""What came of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...evaluation.data.folder import Unreadable


@dataclass(frozen=True)
class Faults:
    """Clips and folders with a fault, each as (name, reason).

    Attributes:
        unreadable: What could not be read and was left out.
        damaged: Clips that are damaged, and were used as far as they go.

    """

    unreadable: list[tuple[str, str]] = field(default_factory=list)
    damaged: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, clips: Sequence[Unreadable], locked: Sequence[tuple[str, str]] = ()) -> Faults:
        """The faults of clips that were read; `locked` are folders that could not be listed."""
        return cls(
            [*locked, *((one.clip.name, one.reason) for one in clips if not one.used)],
            [(one.clip.name, one.reason) for one in clips if one.used],
        )


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What came of training by epochs.

    Attributes:
        clips: Clips trained on.
        validation_clips: Clips that the figures are measured on.
        left_out: Clips and folders with a fault.
        epochs: Epochs trained.
        parameters: Trained parameters.
        figures: Measured on the validation clips, by name; empty without any.
        warnings: What the user should know before believing what was trained, one line each.

    """

    clips: int
    validation_clips: int
    left_out: Faults
    epochs: int
    parameters: int
    figures: Mapping[str, float]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OverSourceSummary(Summary):
    """What came of training over a classifier.

    Attributes:
        multiply_adds: Of one window, by what was trained.
        classifier_multiply_adds: Of one window, by the classifier.

    """

    multiply_adds: float
    classifier_multiply_adds: float

    @property
    def cost(self) -> float:
        """Multiply-adds by those of the classifier, 0 or more."""
        return self.multiply_adds / self.classifier_multiply_adds


@dataclass(frozen=True, kw_only=True)
class InterpreterSummary(OverSourceSummary):
    """What came of training an interpreter.

    Attributes:
        components: K of the dictionary.
        dictionary_error: |X - W H| / |X| of the dictionary, 0..1.
        silent: Clips that the dictionary left out, since they are silent.

    """

    components: int
    dictionary_error: float
    silent: list[str]
