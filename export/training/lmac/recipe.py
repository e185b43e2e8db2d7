"""The L-MAC recipe (arXiv 2403.13086): a decoder whose mask keeps what a frozen classifier listens to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch
from msgspec import UNSET
from torch import nn

from ...models.compact_decoder import CompactDecoder
from ...models.decoders import Decoder, DecoderForm
from ...source.exportable import Exportable
from ...sources.run.config import DecoderConfig
from ...sources.run.directory import RunDirectory
from ..forms import cost, decoder_form
from ..frozen_classifier import FrozenClassifier
from ..loop import Objective, best_epoch, fit, new_weights
from ..noise import Noise
from ..options import OverSourceOptions
from ..over_source import SplitSounds, opened_run, sounds_over
from ..resuming import begin
from ..settings import LmacSettings, to_record
from ..summary import OverSourceSummary
from .faithful import following, judge, merit
from .loss import MaskingLoss
from .mixtures import MixtureBatches

# Mean areas of masks by which something is explained.
LEAST_AREA, MOST_AREA = 0.005, 0.9
# What the class loses without what they keep, as a score; less is hardly anything.
_LEAST_LOSS = 0.1


def train_lmac(
    source: str | Path | Exportable,
    data: str | Path,
    settings: LmacSettings | None = None,
    options: OverSourceOptions | None = None,
) -> OverSourceSummary:
    """Train a decoder over the finished classifier of `source`, on the sounds of `data`.

    Where the settings name no split, that of the run's classifier is used; `settings.stop_fraction` of the
    training recordings choose the best epoch, validation clips are looked at once, at the end.

    Args:
        source: A run directory, any other PyTorch source of export with feature maps, or a graph that
            `export.sources.onnx.file.load` has read.
        data: A folder of sounds, or of folders of them, whose names are labels where a run's classifier was
            trained on them; or one with a labels.csv.
        settings: How the decoder is trained; None: the defaults.
        options: How the training is run; None: the defaults.

    Returns:
        The summary; its figures are those of the mask (`faithful.judge`) and of the mask thresholded at 0.5
        (`thresholded_...`), in the spectrogram domain.

    Raises:
        DataError: A folder or a clip cannot be used.
        SourceError: The source is incomplete or shows no feature maps.
        RunError: The run or the settings do not fit, or the training was interrupted.
        DeviceError: A GPU is asked for that is not there.

    """
    settings, options = settings or LmacSettings(), options or OverSourceOptions()
    run, opened, device = opened_run(source, "decoder", options, exact=settings.exact)
    form = decoder_form(opened, settings.decoder, settings.width)
    # Before the classifier moves to where it is trained.
    decoder_cost, classifier_cost = cost(opened, form)
    frozen = FrozenClassifier(opened, exact=settings.exact, device=device)
    noise = Noise.read(options.noise, opened.sample_rate)
    parts = sounds_over(data, run.path, opened, settings, options)
    config = DecoderConfig(
        decoder=form,
        mask_targets=settings.explained,
        mask_gain=settings.mask_gain,
        classifier_sha256=opened.fingerprint(),
        noise_sha256=noise.sha256 or UNSET,
        training=to_record(settings),
        clips=parts.counts(),
    )
    begin(run, config, resume=options.resume)
    if not run.weights_path.exists():
        clips = parts.training.waveforms
        mixtures = MixtureBatches(clips, frozen.samples, settings, noise, sharpened=settings.sharpened)
        run.write_weights(_fit(run, form, frozen, parts, settings, mixtures, quiet=options.quiet))
    trained = form.build()
    run.fill(trained)
    trained.to(device=device, dtype=frozen.dtype)
    validation, how = parts.validation.waveforms, config.listened_gain
    figures = judge(frozen, trained, form, validation, how=how)
    for name, value in judge(frozen, trained, form, validation, threshold=0.5, how=how).items():
        figures[f"thresholded_{name}"] = value
    rows = run.read_metrics()
    rounded = {name: round(value, 6) for name, value in figures.items()}
    run.write_config(msgspec.structs.replace(run.read_config(DecoderConfig), validation=rounded))
    return OverSourceSummary(
        clips=len(parts.training.clips),
        validation_clips=len(validation),
        left_out=parts.left_out,
        epochs=len(rows),
        parameters=sum(p.numel() for p in trained.parameters()),
        multiply_adds=decoder_cost,
        classifier_multiply_adds=classifier_cost,
        figures=figures,
        warnings=doubts(figures or rows[best_epoch(rows)]),
    )


def doubts(figures: Mapping[str, float]) -> tuple[str, ...]:
    """Warnings of masks by which nothing is explained, by their mean area and faithfulness, 0..1."""
    area, lost = figures.get("area"), figures.get("faithfulness")
    if area is not None and not LEAST_AREA <= area <= MOST_AREA:
        what = "everything" if area > MOST_AREA else "next to nothing"
        return (
            f"the masks keep {what} (area {area:.3f}), so they explain nothing: train again with a lower "
            f"--lr, another --seed or a {'higher' if area > MOST_AREA else 'lower'} --area-weight",
        )
    if lost is not None and lost < _LEAST_LOSS:
        return (
            f"without what the masks keep the class hardly loses anything (FF {lost:.2f}), so they explain "
            "little: see that the classifier is sure of these sounds, train longer, or with another --seed",
        )
    return ()


def _fit(
    run: RunDirectory,
    form: DecoderForm,
    frozen: FrozenClassifier,
    parts: SplitSounds,
    settings: LmacSettings,
    mixtures: MixtureBatches,
    *,
    quiet: bool,
) -> dict[str, torch.Tensor]:
    """Train from new weights, or from the run's state; returns the best epoch's averaged weights."""
    loss = MaskingLoss(frozen, form, settings)
    with new_weights(settings.seed, exact=settings.exact):
        decoder: Decoder = form.build()
        if settings.explained == "any" and isinstance(decoder, CompactDecoder):
            # Told in a whisper, it learns one mask for all classes first and seldom leaves it again.
            nn.init.normal_(decoder.target.weight)
    decoder.to(device=frozen.device, dtype=frozen.dtype, memory_format=frozen.layout)  # type: ignore[call-overload]
    judged = form.build().to(device=frozen.device, dtype=frozen.dtype)

    def evaluate(weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
        judged.load_state_dict(weights)
        given = (frozen, judged.eval(), form, parts.stopping.waveforms)
        figures = judge(*given, how=settings.mask_gain, listen=settings.listened)
        if settings.explained == "any":
            figures |= following(*given, how=settings.mask_gain, listen=settings.listened)
        return figures

    objective = Objective(
        steps=mixtures.steps,
        batch_of=mixtures,
        loss_of=lambda batch, progress: loss(decoder, batch, progress),
        evaluate=evaluate,
        curves={
            "loss": ["loss"],
            "area, faithfulness, input fidelity": ["area", "faithfulness", "input_fidelity"],
            "average drop and increase (%)": ["average_drop", "average_increase"],
        },
        merit=merit if parts.stopping.clips else None,
        patience=settings.patience if parts.stopping.clips else 0,
    )
    return fit(run, decoder, settings, objective, quiet=quiet)
