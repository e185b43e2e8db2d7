"""The L-MAC recipe (arXiv 2403.13086): a decoder whose mask keeps what a frozen classifier listens to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from ....errors import RunError
from ...models.compact_decoder import CompactDecoder
from ...models.decoders import Decoder, DecoderForm
from ...source.source import Source, fingerprint
from ...sources.run.config import DecoderConfig
from ...sources.run.directory import RunDirectory
from ..classifier import require_same
from ..device import Device, chosen_device
from ..forms import cost, decoder_form
from ..frozen_classifier import FrozenClassifier
from ..loop import fit, new_weights
from ..over_source import Parts, opened_source, recordings, sounds_over
from ..settings import LmacSettings, check, to_record
from ..sounds import FloatArray, faults
from .faithful import following, judge, merit
from .loss import MaskingLoss
from .mixtures import MixtureBatches


def train_lmac(
    source: str | Path | Source,
    data: str | Path,
    settings: LmacSettings | None = None,
    *,
    out: str | Path | None = None,
    noise: str | Path | None = None,
    device: Device = "auto",
    resume: bool = False,
    strict: bool = False,
    quiet: bool = True,
) -> dict[str, Any]:
    """Train a decoder over the finished classifier of `source`, on the sounds of `data`.

    source: a run directory, or any other PyTorch source of export with feature maps
    out: the run directory that gets the decoder; may be left out where the source is one
    noise: a folder of recordings to mix in; None: noise is synthesised
    device: where to train; auto takes a GPU where there is one, and mixed precision on it

    Where the settings name no split, that of the run's classifier is used; `settings.stop_fraction` of
    the training recordings choose the best epoch, validation clips are looked at once, at the end.
    Returns a summary: clips, parameters, multiply_adds, classifier_multiply_adds, epochs, unreadable, and
    the validation metrics of the mask and of the mask thresholded at 0.5 (`thresholded_...`), in the
    spectrogram domain: average_increase, average_drop (%), faithfulness, input_fidelity, area (0..1).

    Raises DataError for folders, SourceError for the source, RunError for the run or an interruption,
    DeviceError for a GPU that is not there.
    """
    settings = settings or LmacSettings()
    check(settings)
    where = chosen_device(device, exact=settings.exact)
    run_path, opened = opened_source(source, out)
    run = RunDirectory(run_path, "decoder")
    if not resume and (run.config_path.exists() or run.weights_path.exists()):
        raise RunError(
            f"{run.path}: holds a decoder already; go on with --resume, or remove its decoder files"
        )
    form = decoder_form(opened, settings.decoder, settings.width)
    # Before the classifier moves to where it is trained.
    decoder_cost, classifier_cost = cost(opened, form)
    frozen = FrozenClassifier(opened, exact=settings.exact, device=where)
    noises = [] if noise is None else recordings(Path(noise), opened.sample_rate)
    parts = sounds_over(data, run_path, opened, settings, strict=strict, quiet=quiet)
    config = DecoderConfig(
        decoder=form,
        mask_targets=settings.targets,
        mask_gain=settings.mask_gain,
        classifier_sha256=fingerprint(opened),
        training=to_record(settings),
        clips=parts.counts(),
    )
    if resume and run.config_path.exists():
        require_same(run, config, ("classifier_sha256", "clips", "training"))
    else:
        run.write_config(config)
    if not run.weights_path.exists():
        weights = _fit(run, form, frozen, parts, settings, noises, quiet=quiet)
        run.write_weights(weights)
    trained = form.build()
    run.fill(trained)
    trained.to(device=where, dtype=frozen.dtype)
    validation = parts.validation.waveforms
    figures = judge(frozen, trained, form, validation)
    for name, value in judge(frozen, trained, form, validation, threshold=0.5).items():
        figures[f"thresholded_{name}"] = value
    rounded = {name: round(value, 6) for name, value in figures.items()}
    run.write_config(msgspec.structs.replace(run.read_config(DecoderConfig), validation=rounded))
    return {
        "clips": len(parts.training.clips),
        "validation_clips": len(validation),
        **faults(parts.unreadable, parts.locked),
        "epochs": len(run.read_metrics()),
        "parameters": sum(p.numel() for p in trained.parameters()),
        "multiply_adds": decoder_cost,
        "classifier_multiply_adds": classifier_cost,
        **figures,
    }


def _fit(
    run: RunDirectory,
    form: DecoderForm,
    frozen: FrozenClassifier,
    parts: Parts,
    settings: LmacSettings,
    noises: Sequence[FloatArray],
    *,
    quiet: bool,
) -> dict[str, torch.Tensor]:
    """Train from new weights, or from the run's state; returns the best epoch's averaged weights."""
    mixtures = MixtureBatches(
        parts.training.waveforms, frozen.samples, settings, noises, sharpened=settings.sharpened
    )
    loss = MaskingLoss(frozen, form, settings)
    with new_weights(settings.seed, exact=settings.exact):
        decoder: Decoder = form.build()
        if settings.targets == "any" and isinstance(decoder, CompactDecoder):
            # Told in a whisper, it learns one mask for all classes first and seldom leaves it again.
            nn.init.normal_(decoder.target.weight)
    decoder.to(device=frozen.device, dtype=frozen.dtype, memory_format=frozen.layout)  # type: ignore[call-overload]
    judged = form.build().to(device=frozen.device, dtype=frozen.dtype)

    def evaluate(weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
        judged.load_state_dict(weights)
        given = (frozen, judged.eval(), form, parts.stopping.waveforms)
        figures = judge(*given, how=settings.mask_gain, listen=settings.listened)
        if settings.targets == "any":
            figures |= following(*given, how=settings.mask_gain, listen=settings.listened)
        return figures

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
    )
