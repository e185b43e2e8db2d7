"""The parts of an adapter as one classifier with taps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

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
        self._seen: dict[str, torch.Tensor] = {}
        for name in self.scales:
            self.feature_map.get_submodule(name).register_forward_hook(self._keeping(name))

    def _keeping(self, name: str) -> Callable[[nn.Module, object, Any], None]:
        def keep(_module: nn.Module, _inputs: object, output: Any) -> None:
            # A transformer's layer gives its tokens, or a tuple that begins with them.
            shown = output[0] if isinstance(output, tuple) else output
            self._seen[name] = (
                self.tokens.feature_map(shown) if self.tokens is not None and shown.dim() == 3 else shown
            )

        return keep

    def forward(self, entry: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See the class."""
        features = self.front_end(entry)
        result = self.feature_map(features)
        logits = self.head(result)
        z = result if self.tokens is None else self.tokens.feature_map(result)
        shown = [z] if self.attention is None else [z, self.attention(z)]
        if self.give_features:
            # A tap may not be the graph's input itself, hence the addition of nothing.
            shown.append(features + 0.0)
        seen = tuple(self._seen.pop(name) for name in self.scales)
        return (logits, *shown, *seen)
