"""The recipe's own computation, against which the exported graphs are measured: nothing is folded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ...graphs.stft import inverse, magnitude, stft
from ...models.cnn14 import Cnn14, Taps
from ...models.cnn14_decoder import Cnn14Decoder, reference_mask
from ...source.source import Reference, remembering
from .settings import RecipeSettings


def recipe_taps(
    recipe: RecipeSettings, filterbank: torch.Tensor, body: Cnn14
) -> Callable[[torch.Tensor], tuple[Taps, int]]:
    """Waveform [B, N] -> the recipe's own taps, batch norms unfolded, and the number of frames."""

    def taps(waveform: torch.Tensor) -> tuple[Taps, int]:
        amplitude = magnitude(stft(waveform, recipe.analysis))
        return body(torch.log1p(amplitude @ filterbank))[1], amplitude.shape[1]

    return taps


def recipe_reference(
    recipe: RecipeSettings,
    filterbank: torch.Tensor,
    body: Cnn14,
    head: nn.Linear,
    decoder: Cnn14Decoder | None,
) -> Reference:
    """The recipe's own computation: torch.stft, batch norms and all nine layers as they are."""
    analysis, taps_of = recipe.analysis, recipe_taps(recipe, filterbank, body)

    def logits(waveform: torch.Tensor) -> torch.Tensor:
        amplitude = magnitude(stft(waveform, analysis))
        output: torch.Tensor = head(body(torch.log1p(amplitude @ filterbank))[0])
        return output

    if decoder is None:
        return Reference(logits=logits)

    # `kept` is asked about the same sound, and the decoder is heavy.
    mask = remembering(lambda waveform: reference_mask(decoder, *taps_of(waveform)))

    def kept(waveform: torch.Tensor) -> torch.Tensor:
        parts = stft(waveform, analysis)
        loudness = torch.expm1(mask(waveform) * torch.log1p(magnitude(parts)))
        phase = torch.atan2(parts[..., 1], parts[..., 0])
        spectrum = torch.view_as_real(torch.polar(loudness, phase))
        return inverse(spectrum, analysis, waveform.shape[1])

    return Reference(logits=logits, mask=mask, kept=kept)
