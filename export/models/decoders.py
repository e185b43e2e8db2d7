"""What a decoder is built from: its architecture, width and feature maps; written down in a run."""

from __future__ import annotations

from typing import Literal

import msgspec

from ...errors import RunError
from .compact_decoder import CompactDecoder
from .reference_decoder import ReferenceDecoder
from .scales import Scale

Architecture = Literal["compact", "reference"]
Decoder = CompactDecoder | ReferenceDecoder


class DecoderForm(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decoder is built from, but its weights.

    scales: the maps it reads, coarsest first; spectrum: the tap with the log-mel of `bands` bands, or
    "stft" where the decoder makes its own
    coarse: of a compact decoder, the steps with twice the channels, the coarsest; None, as in older runs:
    one less than there are maps
    on_features: of a compact decoder, whether its classifier takes features, see `CompactDecoder`
    """

    architecture: Architecture
    width: int
    scales: list[Scale]
    spectrum: str
    bands: int
    n_fft: int
    sample_rate: int
    classes: int
    coarse: int | None = None
    on_features: bool = False

    def build(self) -> Decoder:
        """The untrained decoder. Raises RunError where the form is damaged."""
        try:
            if self.architecture == "reference":
                return ReferenceDecoder(self.scales, self.n_fft // 2 + 1, width=self.width)
            return CompactDecoder(
                self.scales,
                self.n_fft,
                self.sample_rate,
                self.classes,
                bands=self.bands,
                width=self.width,
                coarse=len(self.scales) - 1 if self.coarse is None else self.coarse,
                from_stft=self.spectrum == "stft",
                on_features=self.on_features,
            )
        except (ValueError, IndexError, RuntimeError) as error:
            raise RunError(f"the run's decoder.json is damaged ({error})") from error

    @property
    def inputs(self) -> list[str]:
        """The decoder's inputs in order: the spectrum, the maps, and the target where it takes one."""
        taps = [self.spectrum, *(scale.tap for scale in self.scales)]
        return [*taps, "target"] if self.architecture == "compact" else taps
