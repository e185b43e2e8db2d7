"""The classifier's recipe: a compact CNN on log-mel with mixup, SpecAugment, shifts and averaged weights.

One label a sound, or several: softmax with cross-entropy, or sigmoids with binary cross-entropy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from msgspec import UNSET
from torch.nn import functional

from ...errors import DataError, RunError
from ...evaluation.data.folder import list_sounds
from ...evaluation.data.labels import LABEL_TABLE
from ...runtime.audio.lengths import samples_of
from ...runtime.audio.level import level_of
from ...runtime.bundle.manifest import AnalysisSpec, Task
from ...runtime.values.arrays import FloatArray
from ..graphs.stft import stft
from ..models.compact_classifier import ClassifierForm, CompactClassifier
from ..sources.run.config import ClassifierConfig
from ..sources.run.directory import RunDirectory
from .augmentation import background, mask_stretches, mixup, place, random_gain
from .device import chosen_device, mixed_precision
from .loop import Objective, batches, fit, new_weights
from .noise import Noise
from .options import ClassifierOptions
from .resuming import begin
from .scoring import judge, score, task_loss
from .settings import ClassifierSettings, to_record
from .sounds import Sounds, load_split, split_by
from .summary import Faults, Summary

# Training clips by which it is seen whether a classifier has learnt, evenly over all.
_LOOKED_AT = 200


def analysis_of(settings: ClassifierSettings) -> AnalysisSpec:
    """The listenable STFT: periodic Hann of two hops."""
    hop = max(8, samples_of(settings.hop_seconds, settings.sample_rate))
    return AnalysisSpec(n_fft=2 * hop, window_length=2 * hop, hop=hop, window="hann", padding="zeros")


def train_classifier(
    data: str | Path,
    out: str | Path,
    settings: ClassifierSettings | None = None,
    options: ClassifierOptions | None = None,
) -> Summary:
    """Train a classifier on the class folders of `data` and leave a run directory at `out`.

    The same seed, data and number of threads give the same weights on a CPU.

    Args:
        data: A folder of class folders of sound, or one with a labels.csv.
        out: The run directory.
        settings: How it is trained; None: the defaults.
        options: How the training is run; None: the defaults.

    Returns:
        The summary; its figures are accuracy, or with several labels f1, 0..1 on the validation clips.

    Raises:
        DataError: The folder or a clip cannot be used.
        RunError: The run directory or the settings do not fit, or the training was interrupted.
        DeviceError: A GPU is asked for that is not there.

    """
    settings, options = settings or ClassifierSettings(), options or ClassifierOptions()
    device = chosen_device(options.device, exact=settings.exact)
    run = RunDirectory(Path(out), "classifier")
    if run.begun and not options.resume:
        raise RunError(f"{run.path}: holds a run already; go on with --resume or choose another directory")
    folder = list_sounds(data)
    if folder.multi_label and settings.multi_label is False:
        raise DataError(
            f"{folder.path / LABEL_TABLE}: its clips have several labels; leave --single-label out"
        )
    several = folder.multi_label if settings.multi_label is None else settings.multi_label
    task: Task = "multi_label" if several else "single_label"
    locked = folder.left_out(strict=options.strict)
    training, validation, unreadable = load_split(
        folder, split_by(folder, settings), folder.labels, settings.sample_rate, settings.level, options
    )
    left_out = Faults.of(unreadable, locked)
    recorded = Noise.read(options.background_sounds, settings.sample_rate)
    if recorded.recordings and not settings.background:
        raise RunError("background is 0: background sounds are never drawn; leave them out, or give a share")
    config = ClassifierConfig(
        name=options.name or run.path.resolve().name,
        labels=folder.labels,
        task=task,
        sample_rate=settings.sample_rate,
        window_seconds=settings.window,
        level=settings.level,
        analysis=analysis_of(settings),
        classifier=ClassifierForm(mels=settings.mels, width=settings.width),
        training=to_record(settings),
        clips={"training": len(training.clips), "validation": len(validation.clips)},
        unreadable=[name for name, _ in left_out.unreadable],
        licence=options.licence,
        attribution=options.attribution,
        background_sha256=recorded.sha256 or UNSET,
    )
    begin(run, config, resume=options.resume)
    if not run.weights_path.exists():
        nothing = [one * np.float32(1.0 / level_of(one, settings.level)) for one in recorded.recordings]
        weights = _fit(run, config, settings, training, validation, device, nothing, quiet=options.quiet)
        run.write_weights(weights)
    rows = run.read_metrics()
    weights = run.read_weights()
    learnt = config.build()
    learnt.load_state_dict(weights)
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    figure = "f1" if several else "accuracy"
    return Summary(
        clips=len(training.clips),
        validation_clips=len(validation.clips),
        left_out=left_out,
        epochs=settings.epochs,
        parameters=sum(v.numel() for k, v in weights.items() if not k.endswith(buffers)),
        figures={figure: rows[-1][figure]} if rows and figure in rows[-1] else {},
        warnings=_doubts(learnt.eval(), config, training),
    )


def _doubts(learnt: CompactClassifier, config: ClassifierConfig, training: Sounds) -> tuple[str, ...]:
    """A warning of a classifier that gets less of its own clips right than half way from guessing to all."""
    chosen = np.unique(np.linspace(0, len(training.clips) - 1, _LOOKED_AT).round().astype(int))
    targets = torch.from_numpy(training.targets[chosen])
    waveforms = [training.waveforms[index] for index in chosen.tolist()]
    samples = samples_of(config.window_seconds, config.sample_rate)
    scores = score(learnt, config.analysis, waveforms, samples, config.task)
    # Always the most frequent label; where several may hold, all of them.
    guesses = torch.ones_like(targets)
    figure, what = "f1", "F1"
    if config.task == "single_label":
        guesses = functional.one_hot(targets.mean(dim=0).argmax(), targets.shape[1]).expand_as(targets)
        figure, what = "accuracy", "share right"
    right, guessed = (judge(one, targets, config.task)[figure] for one in (scores, guesses.float()))
    if right >= 0.5 * (1.0 + guessed):
        return ()
    return (
        f"the classifier has hardly learnt its own training clips ({what} {right:.2f}, {guessed:.2f} by "
        "guessing): train it longer (--epochs), with another --seed or another --lr, before it is explained",
    )


def _fit(
    run: RunDirectory,
    config: ClassifierConfig,
    settings: ClassifierSettings,
    training: Sounds,
    validation: Sounds,
    device: torch.device,
    recordings: Sequence[FloatArray],
    *,
    quiet: bool,
) -> dict[str, torch.Tensor]:
    """The training itself; returns the averaged weights.

    recordings: [N] at the level of the clips, in which there is nothing
    """
    samples = samples_of(settings.window, settings.sample_rate)
    with new_weights(settings.seed, exact=settings.exact):
        model = config.build()
    if settings.exact:
        model.double()
    else:
        # Twice as fast on CPUs.
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.to(device)
    judged = config.build().to(device)

    # Where one label holds, all are equally likely of nothing; where several may, none holds.
    classes = len(config.labels)
    nothing = np.full((1, classes), 1.0 / classes if config.task == "single_label" else 0.0, np.float32)

    def batch_of(epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Log-mel [B, T, M] as it is trained on, and target probabilities [B, K]."""
        random = np.random.default_rng([settings.seed, epoch])
        for chosen in batches(len(training.clips), settings.batch_size, random):
            mixed = np.stack([place(training.waveforms[i], samples, random, settings.shift) for i in chosen])
            mixed *= random_gain(len(chosen), random)
            mixed, targets = mixup(mixed, training.targets[chosen], settings.mixup, random)
            if settings.background:
                more = math.ceil(settings.background * len(chosen))
                mixed = np.concatenate([mixed, background(more, samples, random, recordings)])
                targets = np.concatenate([targets, np.repeat(nothing, more, axis=0)])
            weight = model.head.weight
            with torch.no_grad():
                logmel = model.mel(stft(torch.from_numpy(mixed).to(weight), config.analysis))
            yield mask_stretches(logmel, random, settings.stretches), torch.from_numpy(targets).to(weight)

    def loss_of(batch: tuple[torch.Tensor, torch.Tensor], _progress: float) -> torch.Tensor:
        with mixed_precision(device, batch[0].dtype):
            logits = model.from_logmel(batch[0])
        return task_loss(logits.to(batch[1].dtype), batch[1], config.task, settings.label_smoothing)

    def evaluate(weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
        if not validation.clips:
            return {}
        judged.load_state_dict(weights)
        scores = score(judged.eval(), config.analysis, validation.waveforms, samples, config.task)
        return judge(scores, torch.from_numpy(validation.targets), config.task)

    objective = Objective(
        steps=len(batches(len(training.clips), settings.batch_size, np.random.default_rng(0))),
        batch_of=batch_of,
        loss_of=loss_of,
        evaluate=evaluate,
        curves={"loss": ["loss", "validation_loss"], "validation": ["accuracy", "f1"]},
    )
    return fit(run, model, settings, objective, quiet=quiet)
