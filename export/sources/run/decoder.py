"""The trained decoder of a run directory, put to work on a source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from ....errors import SourceError
from ....runtime.bundle.manifest import MaskGain
from ...graphs.stft import masked
from ...models.decoders import Decoder, DecoderForm
from ...source.source import Reference, Source, fingerprint
from .config import DecoderConfig
from .directory import RunDirectory


def read_trained(run: RunDirectory) -> tuple[DecoderForm, Decoder]:
    """The run's decoder, filled and frozen. Raises RunError where it is missing, unfinished or damaged."""
    form = run.read_config(DecoderConfig).decoder
    decoder = form.build()
    run.fill(decoder)
    return form, decoder


def with_decoder(source: Source, run: RunDirectory) -> Source:
    """The source with the run's decoder. Raises SourceError where it was trained over another classifier."""
    form, decoder = read_trained(run)
    config = run.read_config(DecoderConfig)
    if config.classifier_sha256 != fingerprint(source):
        raise SourceError(
            f"{run.weights_path}: was trained over another classifier than {source.name}; train the "
            "decoder again"
        )
    strange = [name for name in form.inputs if name not in source.taps and name not in {"stft", "target"}]
    if strange:
        raise SourceError(f"{run.config_path}: reads {', '.join(strange)}, which {source.name} does not show")
    return replace(
        source,
        decoder=decoder,
        decoder_taps=form.inputs,
        mask_targets=config.mask_targets,
        mask_gain=config.mask_gain,
        reference=_reference(source, form, decoder, config.mask_gain),
        evaluation={**source.evaluation, **config.figures("validation")},
    )


def _reference(source: Source, form: DecoderForm, decoder: Decoder, how: MaskGain) -> Reference:
    """The modules as trained, chained with torch.stft and torch.istft; the predicted class is explained."""

    def mask(waveform: torch.Tensor) -> torch.Tensor:
        given = source.forward_pass(waveform)
        output: torch.Tensor = decoder(*(given[name] for name in form.inputs))
        return output

    def kept(waveform: torch.Tensor) -> torch.Tensor:
        return masked(waveform, mask(waveform), source.analysis, how)

    logits: Callable[[torch.Tensor], torch.Tensor] = source.reference.logits
    return Reference(logits=logits, mask=mask, kept=kept, interpreted=source.reference.interpreted)
