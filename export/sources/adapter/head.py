"""What an adapter says of its head, held against what its head answers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ....errors import SourceError
from ....runtime.bundle.manifest import FeatureMapSpec
from ...graphs.heads import Activation, Head, Layer
from ...models.pooling import max_mean
from .adapter import Adapter

_PROBE_TOLERANCE = 1e-4
_ACTIVATIONS: dict[type[nn.Module], Activation] = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.GELU: "gelu"}


def head_layers(adapter: Adapter, answers: Mapping[str, torch.Tensor], origin: str) -> tuple[Layer, ...]:
    """The layers after pooling that an adapter declares; none where it declares none.

    answers: what the model gives for some sound, "logits" and taps by name
    origin: the adapter, for messages
    Raises SourceError where pooling and layers do not give these logits.
    """
    linear, network, pooling = adapter.linear, adapter.network, adapter.pooling
    z, weights, logits = answers["feature_map"], answers.get("attention"), answers["logits"]
    declared = linear if linear is not None else network
    if declared is None or pooling == "other":
        return ()
    if linear is not None and network is not None:
        raise SourceError(f"{origin}: both `linear` and `network`; the head is one of them")
    if (pooling == "attention") != (weights is not None):
        raise SourceError(f'{origin}: pooling "attention" and the module `attention` belong together')
    layers = _layers(declared, origin)
    with torch.no_grad():
        output = _answer(declared, _pooled(pooling, z, weights, origin), origin)
        if output.shape != logits.shape:
            raise SourceError(
                f"{origin}: {list(output.shape)} from pooling and head, logits {list(logits.shape)}"
            )
        difference = float((output - logits).abs().max())
    if not difference <= _PROBE_TOLERANCE:
        name = "linear" if linear is not None else "network"
        raise SourceError(
            f"{origin}: {name}({pooling} of the feature map) differs from the head by "
            f'{difference:.1e}; correct `{name}` and `pooling`, or leave pooling "other"'
        )
    return layers


def feature_map_of(
    adapter: Adapter, z: torch.Tensor, layers: tuple[Layer, ...], origin: str
) -> FeatureMapSpec | None:
    """Where the cells of Z lie, if the adapter says."""
    if adapter.frame_seconds is None or adapter.bands_hz is None:
        return None
    if len(adapter.bands_hz) != z.shape[3]:
        raise SourceError(
            f"{origin}: {len(adapter.bands_hz)} bands_hz for {z.shape[3]} rows of the feature map"
        )
    return FeatureMapSpec(
        tap="feature_map",
        channels=z.shape[1],
        frame_seconds=adapter.frame_seconds,
        bands_hz=[(float(low), float(high)) for low, high in adapter.bands_hz],
        pooling=adapter.pooling,
        attention="attention" if adapter.attention is not None and layers else None,
        additive=bool(layers) and Head(layers).linear,
        gradient=bool(layers) and not Head(layers).linear,
    )


def _layers(head: nn.Module, origin: str) -> tuple[Layer, ...]:
    """Linear modules, each with the activation that follows it."""
    layers: list[Layer] = []
    for module in [head] if isinstance(head, nn.Linear) else head.children():
        if isinstance(module, nn.Linear):
            layers.append(Layer.of(module))
        elif isinstance(module, nn.Dropout | nn.Identity):
            continue
        elif type(module) in _ACTIVATIONS and layers and layers[-1].activation == "none":
            if isinstance(module, nn.GELU) and module.approximate != "none":
                raise SourceError(f"{origin}: network: an approximate GELU; only the exact one is known")
            layers[-1] = Layer(layers[-1].weight, layers[-1].bias, _ACTIVATIONS[type(module)])
        else:
            raise SourceError(
                f"{origin}: network: {type(module).__name__} is not known here; it may hold Linear, ReLU, "
                "Tanh, GELU, Dropout; without `network`, channels are localisation only"
            )
    if not layers:
        raise SourceError(f"{origin}: network holds no Linear layer")
    return tuple(layers)


def _pooled(pooling: str, z: torch.Tensor, weights: torch.Tensor | None, origin: str) -> torch.Tensor:
    """Z -> v [B, C], with attention of classes [B, K, C]."""
    if weights is not None:
        fits = (
            weights.dim() in (3, 4) and weights.shape[0] == z.shape[0] and weights.shape[-2:] == z.shape[2:]
        )
        if not fits:
            raise SourceError(
                f"{origin}: attention of shape {list(weights.shape)} over a map of {list(z.shape[2:])}; "
                "[B, T', F'] or [B, K, T', F'] is needed"
            )
        total = weights.sum(dim=(-1, -2))
        if bool((weights < 0).any()) or float((total - 1).abs().max()) > _PROBE_TOLERANCE:
            raise SourceError(f"{origin}: attention weights must be 0 or more and sum to 1 over the map")
        return torch.einsum("btf,bctf->bc" if weights.dim() == 3 else "bktf,bctf->bkc", weights, z)
    return max_mean(z) if pooling == "max_mean" else z.mean(dim=(2, 3))


def _answer(head: nn.Module, pooled: torch.Tensor, origin: str) -> torch.Tensor:
    """Logits [B, K]: of what each class attends to, where classes attend each for itself."""
    output: torch.Tensor = head.eval()(pooled)
    if pooled.dim() == 2:
        return output
    if not isinstance(head, nn.Linear) or output.shape[1] != output.shape[2]:
        raise SourceError(f"{origin}: attention of classes needs a linear head, and as many maps as classes")
    return output.diagonal(dim1=1, dim2=2)
