"""The recipe's own computation, against which the exported graphs are measured: nothing is folded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ...graphs.stft import analysis_window, stft
from ...models.cnn14 import Cnn14, Taps
from ...models.cnn14_decoder import Cnn14Decoder, reference_mask
from ...source.source import Reference
from .settings import RecipeSettings


def recipe_taps(
    recipe: RecipeSettings, filterbank: torch.Tensor, body: Cnn14
) -> Callable[[torch.Tensor], tuple[Taps, int]]:
    """Waveform [B, N] -> the recipe's own taps, batch norms unfolded, and the number of frames."""

    def taps(waveform: torch.Tensor) -> tuple[Taps, int]:
        parts = stft(waveform, recipe.analysis)
        logmel = torch.log1p(torch.sqrt(parts.pow(2).sum(-1) + 1e-14) @ filterbank)
        return body(logmel)[1], logmel.shape[1]

    return taps


def recipe_reference(
    recipe: RecipeSettings,
    filterbank: torch.Tensor,
    body: Cnn14,
    head: nn.Linear,
    decoder: Cnn14Decoder | None,
) -> Reference:
    """The recipe's own computation: torch.stft, batch norms and all nine layers as they are."""
    analysis = recipe.analysis
    window = analysis_window(analysis).float()

    def spectrum_of(waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spectrum = torch.stft(
            waveform,
            analysis.n_fft,
            analysis.hop,
            analysis.window_length,
            window,
            pad_mode="constant",
            return_complex=True,
        )
        parts = torch.view_as_real(spectrum.transpose(1, 2))
        return parts, torch.sqrt(parts.pow(2).sum(-1) + 1e-14)

    def logits(waveform: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = head(body(torch.log1p(spectrum_of(waveform)[1] @ filterbank))[0])
        return output

    if decoder is None:
        return Reference(logits=logits)

    # The last waveform and its mask: `kept` is asked about the same sound, and the decoder is heavy.
    last: list[tuple[torch.Tensor, torch.Tensor]] = []

    def mask(waveform: torch.Tensor) -> torch.Tensor:
        if last and last[0][0] is waveform:
            return last[0][1]
        amplitude = spectrum_of(waveform)[1]
        taps = body(torch.log1p(amplitude @ filterbank))[1]
        output = reference_mask(decoder, taps, amplitude.shape[1])
        last[:] = [(waveform, output)]
        return output

    def kept(waveform: torch.Tensor) -> torch.Tensor:
        parts, amplitude = spectrum_of(waveform)
        loudness = torch.expm1(mask(waveform) * torch.log1p(amplitude))
        phase = torch.atan2(parts[..., 1], parts[..., 0])
        return torch.istft(
            torch.polar(loudness, phase).transpose(1, 2),
            analysis.n_fft,
            analysis.hop,
            analysis.window_length,
            window,
            length=waveform.shape[1],
        )

    return Reference(logits=logits, mask=mask, kept=kept)
