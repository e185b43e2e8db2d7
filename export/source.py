"""What a source hands to the export: PyTorch modules with named tensors, and their reference.

Every kind of source (a run directory, a SpeechBrain folder, a factory) is one file in `sources/`
that returns a `Source`; the conversion knows nothing of where it came from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import nn

from ..errors import SourceError
from ..runtime.manifest import AnalysisSpec, FeatureMapSpec, WindowSpec


@dataclass(frozen=True)
class Reference:
    """The source's own PyTorch pipeline, against which the exported graphs are measured.

    logits: waveform [B, N] (level already applied) -> [B, K]
    mask: waveform [B, N] -> [B, T, F] over the whole listenable STFT, explicitly padded where the
        source itself cannot run the length; None without a decoder
    kept: waveform [B, N] -> [B, N] listenable audio; None without a decoder
    """

    logits: Callable[[torch.Tensor], torch.Tensor]
    mask: Callable[[torch.Tensor], torch.Tensor] | None = None
    kept: Callable[[torch.Tensor], torch.Tensor] | None = None


@dataclass(frozen=True)
class Source:
    """A classifier, perhaps with a decoder, ready to be exported.

    frontend: waveform [B, N] -> STFT [B, T, F, 2] (rescore "spectrogram") or features
    classifier: that -> (logits [B, K], *taps), taps in the order of `taps`
    decoder: (*the taps named in decoder_taps) -> mask [B, T, F], any T (pads and crops inside)
    head_weight [K, C], head_bias [K]: the linear head after pooling, where there is one
    """

    name: str
    labels: list[str]
    task: Literal["single_label", "multi_label"]
    sample_rate: int
    window: WindowSpec
    analysis: AnalysisSpec
    frontend: nn.Module
    classifier: nn.Module
    # tap name -> symbolic dims of the tap, e.g. ["batch", 256, "frames_8", 10]
    taps: dict[str, list[int | str]]
    reference: Reference
    rescore: Literal["spectrogram", "waveform"] = "spectrogram"
    level: Literal["none", "peak", "signed_peak"] = "none"
    decoder: nn.Module | None = None
    decoder_taps: list[str] = field(default_factory=list)
    mask_targets: Literal["predicted", "any"] | None = None
    feature_map: FeatureMapSpec | None = None
    head_weight: torch.Tensor | None = None
    head_bias: torch.Tensor | None = None
    evaluation: dict[str, object] = field(default_factory=dict)
    description: str = ""
    licence: str = ""
    attribution: str = ""


def without_decoder(source: Source) -> Source:
    """The same source without its decoder: no masks."""
    reference = Reference(logits=source.reference.logits)
    return replace(source, decoder=None, decoder_taps=[], mask_targets=None, reference=reference)


def with_window(source: Source, seconds: float) -> Source:
    """The same source hearing at most `seconds` at once, windows overlapping by half.

    Raises SourceError where that is not positive or less than the shortest sound the model takes.
    """
    least = source.window.minimum_seconds
    if not max(least, 1e-3) <= seconds <= 3600:
        raise SourceError(
            f"{source.name}: a window of {seconds:g} s; give one between {max(least, 1e-3):g} and 3600 s"
        )
    window = WindowSpec(
        seconds=seconds, hop_seconds=seconds / 2, minimum_seconds=least, aggregate=source.window.aggregate
    )
    return replace(source, window=window)
