"""Classifiers over an embedding, told by the names in their state dict: embedding [B, E] -> logits [B, K]."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ....errors import SourceError
from ..state_dicts import fill, linear
from .layers import Activation, batch_norm, linear_layer

# Forms in which a linear head is saved: torch's own, SpeechBrain's Linear, its Sequential-like lobes.
_LINEAR_PREFIXES = ("", "w.", "linear.w.", "out.w.")


class CosineHead(nn.Module):
    """ECAPA's: cosines of the embedding with the classes' weights, times the scale of its training."""

    def __init__(self, state: Mapping[str, Tensor], scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.blocks = nn.ModuleList()
        while f"blocks.{len(self.blocks) + 1}.w.weight" in state:
            outputs, inputs = state[f"blocks.{len(self.blocks) + 1}.w.weight"].shape
            self.blocks.extend([batch_norm(int(inputs)), linear_layer(int(inputs), int(outputs))])
        self.weight = nn.Parameter(torch.empty_like(state["weight"], device="meta"))

    def forward(self, x: Tensor) -> Tensor:
        """[B, E] -> [B, K]."""
        for block in self.blocks:
            x = block(x)
        return self.scale * functional.linear(functional.normalize(x), functional.normalize(self.weight))


class _Block(nn.Module):
    """Linear layer, activation, batch norm."""

    def __init__(self, inputs: int, outputs: int, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.linear, self.norm = linear_layer(inputs, outputs), batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C] -> [B, C']."""
        output: Tensor = self.norm(self.activation(self.linear(x)))
        return output


class MlpHead(nn.Module):
    """The x-vector's: activation and batch norm, some layers, a last one; its log-softmax is left out."""

    def __init__(self, state: Mapping[str, Tensor], activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.norm = batch_norm(int(state["norm.norm.weight"].shape[0]))
        self.DNN = nn.ModuleDict()
        while f"DNN.block_{len(self.DNN)}.linear.w.weight" in state:
            outputs, inputs = state[f"DNN.block_{len(self.DNN)}.linear.w.weight"].shape
            self.DNN[f"block_{len(self.DNN)}"] = _Block(int(inputs), int(outputs), activation)
        outputs, inputs = state["out.w.weight"].shape
        self.out = linear_layer(int(inputs), int(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[B, E] -> [B, K]."""
        x = self.norm(self.activation(x))
        for block in self.DNN.values():
            x = block(x)
        logits: Tensor = self.out(x)
        return logits


def linear_of(state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
    """Weight and bias of a linear layer, in any of the forms in which one is saved; None of another state."""
    for prefix in _LINEAR_PREFIXES:
        if set(state) == {f"{prefix}weight", f"{prefix}bias"}:
            return state[f"{prefix}weight"], state[f"{prefix}bias"]
    return None


def head_of(state: Mapping[str, Tensor], path: Path, activation: Activation, scale: float) -> nn.Module:
    """The head that the weights are of, filled. Raises SourceError where they are of none known here."""
    head: nn.Module
    plain = linear_of(state)
    if plain is not None and plain[0].dim() == 2:
        return linear(*plain, path, "classifier")
    try:
        with torch.device("meta"):
            head = CosineHead(state, scale) if "weight" in state else MlpHead(state, activation)
    except (KeyError, ValueError) as error:
        raise SourceError(
            f"{path}: keys {sorted(state)[:6]} are not those of a linear layer, nor of the classifiers of "
            "ECAPA-TDNN and Xvector; write an Adapter around the model (docs/adapters.md)"
        ) from error
    return fill(head, state, path, "classifier")
