"""The parts of an adapter as one classifier with taps."""

from __future__ import annotations

import torch
from torch import nn

from ..shown import LastAnswers
from .adapter import Adapter


class AdaptedClassifier(nn.Module):
    """features or STFT -> (logits, Z[, attention][, features], further scales)."""

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        self.front_end = adapter.front_end if adapter.rescore == "spectrogram" else nn.Identity()
        self.feature_map = adapter.feature_map
        self.head = adapter.head
        self.attention = adapter.attention
        self.tokens = adapter.tokens
        # With a waveform front end the features are an input already, but the decoder reads taps.
        self.give_features = adapter.decoder is not None
        self.scales = list(adapter.scales)
        self._seen = LastAnswers(self.feature_map, self.scales)

    def _laid_out(self, shown: torch.Tensor) -> torch.Tensor:
        """A map as it is, or a transformer's tokens as one."""
        return shown if self.tokens is None or shown.dim() != 3 else self.tokens.feature_map(shown)

    def forward(self, entry: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See the class."""
        features = self.front_end(entry)
        result = self.feature_map(features)
        logits = self.head(result)
        z = self._laid_out(result)
        shown = [z] if self.attention is None else [z, self.attention(z)]
        if self.give_features:
            # A tap may not be the graph's input itself, hence the addition of nothing.
            shown.append(features + 0.0)
        return (logits, *shown, *(self._laid_out(self._seen.take(name)) for name in self.scales))
