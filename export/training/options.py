"""How a training is run, and what it begins with; how it learns is in the settings. Never torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of every training.

    Attributes:
        resume: Go on with the run that is there, exactly as if it had never stopped.
        strict: Fail at the first clip or folder that cannot be read, instead of leaving it out.
        quiet: No progress bar.

    """

    resume: bool = False
    strict: bool = False
    quiet: bool = True


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions(TrainingOptions):
    """Options of the training of a classifier.

    Attributes:
        name: Name of the model, for the bundle's manifest; None: that of the run directory.
        licence: Licence of the weights, for the bundle's manifest.
        attribution: Whom to credit, for the bundle's manifest.
        device: Where to train; "auto" takes a GPU where there is one, and mixed precision on it.
        background_sounds: A folder of recordings in which there is none of the labels; they join silence and
            faint noise as evidence for nothing. None: no recordings.

    """

    device: Device = "auto"
    background_sounds: str | Path | None = None
    name: str | None = None
    licence: str = ""
    attribution: str = ""


@dataclass(frozen=True, kw_only=True)
class OverSourceOptions(TrainingOptions):
    """Options of a training over the finished classifier of a source.

    Attributes:
        out: The run directory that gets the result; None: the source's own, where it is a run directory.
        noise: A folder of recordings to mix in; None: noise is synthesised.
        device: Where to train; "auto" takes a GPU where there is one, and mixed precision on it.

    """

    out: str | Path | None = None
    noise: str | Path | None = None
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class InterpreterOptions(OverSourceOptions):
    """Options of the training of an interpreter.

    Attributes:
        dictionary: A run whose dictionary is taken; None: one is learnt.
        start: A run whose interpreter, one after the fact, and whose dictionary are begun with; by design
            that saves most of the epochs.

    """

    dictionary: str | Path | None = None
    start: str | Path | None = None


@dataclass(frozen=True, kw_only=True)
class ApexOptions(TrainingOptions):
    """Options of learning U.

    Attributes:
        out: Where U, its report and what a resumed training needs go; None: RUN/apex, or BUNDLE.apex beside a
            bundle.
        cache: Where the feature maps are kept, and found again by another training over the same model and
            sounds; None: below `out`, until U is learnt.
        device: What computes the feature maps; see `earmark.load`.
        audio: For a bundle: whether its new index keeps the sounds; None: as before.

    """

    out: str | Path | None = None
    cache: str | Path | None = None
    device: str = "cpu"
    audio: bool | None = None
