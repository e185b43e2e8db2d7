"""The L-MAC recipe (arXiv 2403.13086): a decoder whose mask keeps what a frozen classifier listens to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch

from ...errors import DataError, DeviceError, RunError
from ...evaluation.sound_folders import SUFFIXES, list_sounds, load_sound, split_sounds
from ..decoders import Decoder, DecoderForm, cost, decoder_form
from ..run_directory import RunDirectory
from ..source import Source
from .classifier import require_same
from .faithful import judge, merit
from .listener import Listener, fingerprint
from .loop import OnEpoch, fit, new_weights
from .masking_loss import MaskingLoss, Teacher
from .mixtures import Mixtures
from .settings import ClassifierSettings, LmacSettings, check, from_record, to_record
from .sounds import FloatArray, Sounds, load_split
from .teacher import load_teacher

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class _Parts:
    """What there is to hear: to train on, to choose the best epoch by, to report on."""

    training: Sounds
    stopping: Sounds
    validation: Sounds
    unreadable: list[Any]


def train_lmac(
    source: str | Path | Source,
    data: str | Path,
    settings: LmacSettings | None = None,
    *,
    out: str | Path | None = None,
    teacher: str | Path | None = None,
    noise: str | Path | None = None,
    device: Device = "auto",
    resume: bool = False,
    strict: bool = False,
    quiet: bool = True,
    on_epoch: OnEpoch | None = None,
) -> dict[str, Any]:
    """Train a decoder over the finished classifier of `source`, on the sounds of `data`.

    source: a run directory, or any other PyTorch source of export with feature maps
    out: the run directory that gets the decoder; may be left out where the source is one
    teacher: a run or bundle whose masks the decoder is to follow as well
    noise: a folder of recordings to mix in; None: noise is synthesised
    device: where to train; auto takes a GPU where there is one, and mixed precision on it

    Where the settings name no split, that of the run's classifier is used; `settings.stop_fraction` of
    the training recordings choose the best epoch, validation clips are looked at once, at the end.
    Returns a summary: clips, parameters, multiply_adds, classifier_multiply_adds, epochs, unreadable, and
    the validation metrics of the mask and of the mask thresholded at 0.5 (`thresholded_...`), in the
    spectrogram domain: average_increase, average_drop (%), faithfulness, input_fidelity, area (0..1).

    Raises DataError for folders, SourceError for the source, RunError for the run, the teacher or an
    interruption, DeviceError for a GPU that is not there.
    """
    settings = settings or LmacSettings()
    check(settings)
    where = _device(device, exact=settings.exact)
    run_path, opened = _opened(source, out)
    run = RunDirectory(run_path, "decoder")
    if not resume and (run.config_path.exists() or run.weights_path.exists()):
        raise RunError(
            f"{run.path}: holds a decoder already; go on with --resume, or remove its decoder files"
        )
    form = decoder_form(opened, settings.decoder, settings.width)
    # Before the classifier moves to where it is trained.
    decoder_cost, classifier_cost = cost(opened, form)
    listener = Listener(opened, exact=settings.exact, device=where)
    taught: Teacher | None = None if teacher is None else load_teacher(teacher, listener)
    noises = [] if noise is None else _recordings(Path(noise), opened.sample_rate)
    parts = _sounds(data, run_path, opened, settings, strict=strict, quiet=quiet)
    config: dict[str, Any] = {
        "decoder": msgspec.to_builtins(form),
        "mask_targets": settings.targets,
        "classifier_sha256": fingerprint(opened),
        "training": to_record(settings),
        "teacher": None if teacher is None else Path(teacher).name,
        "clips": {
            "training": len(parts.training.clips),
            "stopping": len(parts.stopping.clips),
            "validation": len(parts.validation.clips),
        },
    }
    if resume and run.config_path.exists():
        require_same(run, config, ("classifier_sha256", "clips", "training", "teacher"))
    else:
        run.write_config(config)
    if not run.weights_path.exists():
        weights = _fit(run, form, listener, parts, settings, taught, noises, quiet=quiet, on_epoch=on_epoch)
        run.write_weights(weights)
    trained = form.build()
    run.fill(trained)
    trained.to(device=where, dtype=listener.dtype)
    validation = parts.validation.waveforms
    figures = judge(listener, trained, form, validation)
    for name, value in judge(listener, trained, form, validation, threshold=0.5).items():
        figures[f"thresholded_{name}"] = value
    run.write_config({**run.read_config(), "validation": {k: round(v, 6) for k, v in figures.items()}})
    return {
        "clips": len(parts.training.clips),
        "validation_clips": len(validation),
        "unreadable": [(bad.clip.name, bad.reason) for bad in parts.unreadable],
        "epochs": len(run.read_metrics()),
        "parameters": sum(p.numel() for p in trained.parameters()),
        "multiply_adds": decoder_cost,
        "classifier_multiply_adds": classifier_cost,
        **figures,
    }


def _opened(source: str | Path | Source, out: str | Path | None) -> tuple[Path, Source]:
    """The run directory to write to, and the source without a decoder of its own."""
    from ..source import without_decoder
    from ..sources import resolve
    from ..sources.run import load

    if isinstance(source, Source):
        found: Any = source
    elif RunDirectory(Path(source), "classifier").config_path.is_file():
        # Without its decoder, which may be unfinished.
        found = load(source, decoder=False)
        out = out or source
    else:
        found = resolve(str(source), allow_missing_decoder=True)
    if not isinstance(found, Source):
        raise RunError(f"{source}: is no PyTorch model, which a decoder is trained over")
    if out is None:
        raise RunError(f"{found.name}: is no run directory; say where the decoder goes by -o RUN")
    return Path(out), without_decoder(found)


def _device(asked: Device, *, exact: bool) -> torch.device:
    """Where to train. Raises DeviceError where a GPU is asked for and not there."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise DeviceError("cuda: torch sees no GPU here; train with --device cpu")
    gpu = asked == "cuda" or (asked == "auto" and torch.cuda.is_available() and not exact)
    return torch.device("cuda" if gpu else "cpu")


def _recordings(folder: Path, sample_rate: int) -> list[FloatArray]:
    """The sounds of a folder of noise. Raises DataError where there is none."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    sounds = [load_sound(path, sample_rate) for path in paths]
    sounds = [sound for sound in sounds if len(sound) and float(np.abs(sound).max()) > 0.0]
    if not sounds:
        raise DataError(f"{folder}: no recordings of noise in it; name a folder of sound files")
    return sounds


def _sounds(
    data: str | Path, run: Path, source: Source, settings: LmacSettings, *, strict: bool, quiet: bool
) -> _Parts:
    """The sounds in their parts; the classifier's own split where none is named."""
    folder = list_sounds(data)
    if folder.labels != list(source.labels):
        strange = sorted(set(folder.labels) ^ set(source.labels))
        raise DataError(
            f"{folder.path}: its classes are not the run's (differing: {', '.join(strange[:5])}); give the "
            "data that the classifier was trained on"
        )
    own: ClassifierSettings | LmacSettings = settings
    named = settings.val_fold is not None or settings.val_fraction is not None or settings.train_folds
    if not named and RunDirectory(run, "classifier").config_path.is_file():
        own = from_record(ClassifierSettings, RunDirectory(run, "classifier").read_config()["training"])
    split = split_sounds(
        folder,
        val_fold=own.val_fold,
        val_fraction=own.val_fraction,
        train_folds=own.train_folds,
        seed=own.seed,
    )
    training, validation, unreadable = load_split(
        folder, split, source.sample_rate, source.level, strict=strict, quiet=quiet
    )
    stopping = training.only([False] * len(training.clips))
    if settings.stop_fraction:
        try:
            held = split_sounds(
                replace(folder, clips=training.clips), val_fraction=settings.stop_fraction, seed=settings.seed
            )
        except DataError:
            # Too few recordings to spare any: the last epoch is taken.
            return _Parts(training, stopping, validation, unreadable)
        names = {clip.name for clip in held.validation}
        stopping = training.only([clip.name in names for clip in training.clips])
        training = training.only([clip.name not in names for clip in training.clips])
    return _Parts(training, stopping, validation, unreadable)


def _fit(
    run: RunDirectory,
    form: DecoderForm,
    listener: Listener,
    parts: _Parts,
    settings: LmacSettings,
    teacher: Teacher | None,
    noises: Sequence[FloatArray],
    *,
    quiet: bool,
    on_epoch: OnEpoch | None,
) -> dict[str, torch.Tensor]:
    """Train from new weights, or from the run's state; returns the best epoch's averaged weights."""
    mixtures = Mixtures(parts.training.waveforms, listener.samples, settings, noises)
    loss = MaskingLoss(listener, form, settings, teacher)
    with new_weights(settings.seed, exact=settings.exact):
        decoder: Decoder = form.build()
    decoder.to(device=listener.device, dtype=listener.dtype, memory_format=listener.layout)  # type: ignore[call-overload]
    judged = form.build().to(device=listener.device, dtype=listener.dtype)

    def evaluate(weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
        judged.load_state_dict(weights)
        return judge(listener, judged.eval(), form, parts.stopping.waveforms)

    return fit(
        run,
        decoder,
        epochs=settings.epochs,
        steps=mixtures.steps,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        ema_decay=settings.ema_decay,
        seed=settings.seed,
        batch_of=mixtures,
        loss_of=lambda batch, progress: loss(decoder, batch, progress),
        evaluate=evaluate,
        curves={
            "loss": ["loss"],
            "area, faithfulness, input fidelity": ["area", "faithfulness", "input_fidelity"],
            "average drop and increase (%)": ["average_drop", "average_increase"],
        },
        exact=settings.exact,
        merit=merit if parts.stopping.clips else None,
        patience=settings.patience if parts.stopping.clips else 0,
        quiet=quiet,
        on_epoch=on_epoch,
    )
