"""What recipes over a finished classifier share: the source they open, where they train, their sounds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from ...errors import DataError, RunError, SourceError
from ...evaluation.data.folder import list_sounds, split_sounds
from ..source.exportable import Exportable
from ..source.source import Source
from ..sources.run.config import ClassifierConfig
from ..sources.run.directory import RunDirectory, holds_classifier
from .device import chosen_device
from .options import OverSourceOptions
from .settings import ClassifierSettings, ExplainerSettings, SplitSettings, from_record
from .sounds import Sounds, load_split, split_by
from .summary import Faults


@dataclass(frozen=True)
class SplitSounds:
    """The sounds in their parts.

    Attributes:
        training: Trained on.
        stopping: The best epoch is chosen by them.
        validation: Reported on.
        left_out: Clips and folders with a fault.
        labelled: The clips' labels are the model's.

    """

    training: Sounds
    stopping: Sounds
    validation: Sounds
    left_out: Faults
    labelled: bool

    def counts(self) -> dict[str, int]:
        """How many clips there are in each part."""
        return {
            "training": len(self.training.clips),
            "stopping": len(self.stopping.clips),
            "validation": len(self.validation.clips),
        }


def opened_run(
    source: str | Path | Exportable,
    part: Literal["decoder", "interpreter"],
    options: OverSourceOptions,
    *,
    exact: bool,
) -> tuple[RunDirectory, Source, torch.device]:
    """What a training over a source begins with.

    Returns:
        The part of the run directory to write; the source without decoder and interpreter; where to train.

    Raises:
        DeviceError: A GPU is asked for and there is none.
        RunError: The part is there already and is not resumed, or there is no run directory to write to.
        SourceError: The source is incomplete.

    """
    device = chosen_device(options.device, exact=exact)
    path, opened = opened_source(source, options.out)
    run = RunDirectory(path, part)
    if run.begun and not options.resume:
        article = "an" if part == "interpreter" else "a"
        raise RunError(
            f"{run.path}: holds {article} {part} already; go on with --resume, or remove its {part} files"
        )
    return run, opened, device


def opened_source(source: str | Path | Exportable, out: str | Path | None) -> tuple[Path, Source]:
    """The run directory to write to, and the source without decoder and interpreter of its own."""
    from ..sources import open_classifier, run_of
    from ..sources.onnx.file import OnnxSource
    from ..sources.onnx.trainable import trainable

    result, out = open_classifier(source), out or run_of(source)
    if result.task == "regression":
        raise SourceError(
            f"{result.name}: gives values of a regression; masks and components say what is enough for a "
            "label. Segments (-m segments) and prototypes explain values"
        )
    if isinstance(result, OnnxSource):
        result = trainable(result)
    if not isinstance(result, Source):
        raise RunError(f"{source}: is no PyTorch model, which a decoder or an interpreter is trained over")
    if out is None:
        raise RunError(f"{result.name}: is no run directory; say where the result goes by -o RUN")
    return Path(out), result


def classifier_split(run: Path) -> SplitSettings | None:
    """The settings that split the sounds of the run's classifier; None where there is no such run."""
    if not holds_classifier(run):
        return None
    config = RunDirectory(run, "classifier").read_config(ClassifierConfig)
    return from_record(ClassifierSettings, config.training)


def sounds_over(
    data: str | Path,
    run: Path,
    source: Source,
    settings: ExplainerSettings,
    options: OverSourceOptions,
    *,
    by_labels: bool = False,
) -> SplitSounds:
    """The sounds in their parts; the classifier's own split where none is named.

    What explains a classifier is trained by its answers. Labels are asked of the sounds where a run's
    classifier was trained on them, or `by_labels` they are trained by; else they only say which sounds
    belong together, and may be names that the model does not have, or none.
    """
    own = classifier_split(run)
    folder = list_sounds(data, fewest_classes=2 if own or by_labels else 0)
    labelled = set(folder.labels) <= set(source.labels)
    if (own or by_labels) and folder.labels != list(source.labels):
        strange = sorted(set(folder.labels) ^ set(source.labels))
        raise DataError(
            f"{folder.path}: its classes are not the run's (differing: {', '.join(strange[:5])}); give the "
            "data that the classifier was trained on"
        )
    split = split_by(folder, settings if settings.names_split else own or settings)
    locked = folder.left_out(strict=options.strict)
    training, validation, unreadable = load_split(
        folder, split, source.labels, source.sample_rate, source.level, options
    )
    left_out = Faults.of(unreadable, locked)
    stopping = training.only([False] * len(training.clips))
    if settings.stop_fraction:
        try:
            held = split_sounds(
                replace(folder, clips=training.clips), val_fraction=settings.stop_fraction, seed=settings.seed
            )
        except DataError:
            # Too few recordings to spare any: the last epoch is taken.
            return SplitSounds(training, stopping, validation, left_out, labelled)
        names = {clip.name for clip in held.validation}
        stopping = training.only([clip.name in names for clip in training.clips])
        training = training.only([clip.name not in names for clip in training.clips])
    return SplitSounds(training, stopping, validation, left_out, labelled)
