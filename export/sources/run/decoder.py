"""The decoder of a run directory, put to work on a source."""

from __future__ import annotations

from dataclasses import replace

from ...source.source import Source, without_decoder
from .config import DecoderConfig
from .directory import RunDirectory
from .over import config_over


def with_decoder(source: Source, run: RunDirectory) -> Source:
    """The source with the run's decoder.

    Args:
        source: Over whose classifier the decoder was trained.
        run: The decoder's part of a run directory.

    Returns:
        The source, whose masks are those of the decoder chained behind its own taps.

    Raises:
        SourceError: It was trained over another classifier, or reads what this one does not show.
        RunError: It is missing, unfinished or damaged.

    """
    config = config_over(source, run, DecoderConfig)
    decoder = config.decoder.build()
    run.fill(decoder)
    return replace(
        without_decoder(source),
        decoder=decoder,
        decoder_taps=config.inputs,
        mask_targets=config.mask_targets,
        mask_gain=config.listened_gain,
        evaluation={**source.evaluation, **config.figures("validation")},
    )
