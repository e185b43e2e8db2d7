"""What follows pooling, as numbers: the head, and what channels contribute to its logits. Never torch.

Pooling of the feature map Z [B, C, T', F'] to v [B, C]: "mean", "max_mean" (max_t + mean_t of the mean over
F'), or "attention" (sum_p a(p) Z(p), the weights a >= 0 of each sound and, perhaps, class summing to 1; they
are a tap of the classifier). Then

- a linear head, logit_k = W_k v + b_k: additive. With Zhat = U Z and W' = W U^-1 the channels' contributions
  W'_kc (U v)_c and b_k sum to the logit; the max part of "max_mean" takes each raw channel from the frame at
  which it is largest, attention each cell with its weight, and both are linear in what they take.
- a small network, logit_k = g_k(v): gradient x activation, (dg_k/dv U^-1)_c (U v)_c, which does not add up.
- anything else: the places of channels, and no contributions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from onnx import numpy_helper

from ...errors import SourceError
from ...runtime.values.arrays import FloatArray, Values
from .apex_report import RotationReport

if TYPE_CHECKING:
    from torch import nn

Activation = Literal["none", "relu", "tanh", "gelu"]

_LAYER = "layer_"
# The name of U^T in a graph.
ROTATION = "rotation_square"


@dataclass(frozen=True)
class Layer:
    """One layer of a head: x -> activation(weight x + bias); weight [outputs, inputs], bias [outputs]."""

    weight: FloatArray
    bias: FloatArray
    activation: Activation = "none"

    @classmethod
    def of(cls, linear: nn.Linear) -> Layer:
        """The numbers of a module in PyTorch; a bias that it does not have is zero."""
        weight = linear.weight.detach().numpy().astype(np.float32)
        bias = linear.bias
        zeros = np.zeros(len(weight), np.float32)
        return cls(weight, zeros if bias is None else bias.detach().numpy().astype(np.float32))


@dataclass(frozen=True)
class Head:
    """The layers between v and the logits; one without activation is the linear head."""

    layers: tuple[Layer, ...]

    @property
    def linear(self) -> bool:
        """Whether contributions add up to the logit."""
        return len(self.layers) == 1 and self.layers[0].activation == "none"

    def logits(self, pooled: Values) -> Values:
        """Pooled v [B, 1, C] (a linear head's also per class, [B, K, C]) -> logits [B, K], in float64."""
        if self.linear:
            last = self.layers[0]
            linear: Values = (pooled * last.weight.astype(np.float64)).sum(axis=-1) + last.bias
            return linear
        x = pooled[:, 0]
        for layer in self.layers:
            x = _applied(x @ layer.weight.astype(np.float64).T + layer.bias, layer.activation)
        return x

    def slopes(self, pooled: Values, label: int) -> Values:
        """dlogit_k / dv [C] of the logit k = `label` at pooled v [1, C], in float64."""
        if self.linear:
            row: Values = self.layers[0].weight[label].astype(np.float64)
            return row
        x, derivatives = pooled, []
        for layer in self.layers:
            before = x @ layer.weight.astype(np.float64).T + layer.bias
            derivatives.append(_derivative(before, layer.activation))
            x = _applied(before, layer.activation)
        slope = np.zeros_like(x)
        slope[0, label] = 1.0
        for layer, derivative in zip(reversed(self.layers), reversed(derivatives), strict=True):
            slope = (slope * derivative) @ layer.weight.astype(np.float64)
        own: Values = slope[0]
        return own


@dataclass(frozen=True)
class LearntRotation:
    """U [C, C] and the report of its training, which travels with it."""

    rotation: FloatArray
    report: RotationReport


def inverse_of(rotation: FloatArray) -> Values:
    """U^-1, of U as it is stored, in float64 (the transpose would be off by the rounding of U)."""
    inverse: Values = np.linalg.inv(rotation.astype(np.float64))
    return inverse


def facts_in(model: onnx.ModelProto) -> tuple[Head | None, FloatArray | None]:
    """The head, before any U, and the U in an embeddings graph. Raises SourceError for another graph."""
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    names = {output.name for output in model.graph.output}
    if not {"square", "time", "frequency"} <= names:
        raise SourceError("not an embeddings graph of earmark's; export the bundle again")
    # Stored transposed.
    rotation = np.ascontiguousarray(_array(held, ROTATION).T) if ROTATION in held else None
    if "head_weight" in held:
        weight = _array(held, "head_weight").astype(np.float64)
        if rotation is not None:
            weight = weight @ rotation.astype(np.float64)
        return Head((Layer(weight.astype(np.float32), _array(held, "head_bias")),)), rotation
    layers: list[Layer] = []
    while f"{_LAYER}{len(layers)}_weight" in held:
        name = f"{_LAYER}{len(layers)}"
        kinds = [prop.value for prop in model.metadata_props if prop.key == f"{name}_activation"]
        activation = next((kind for kind in ("relu", "tanh", "gelu") if kind in kinds), "none")
        # Stored transposed, as it is multiplied with.
        weight = np.ascontiguousarray(_array(held, f"{name}_weight").T)
        layers.append(Layer(weight, _array(held, f"{name}_bias"), activation))  # type: ignore[arg-type]
    return (Head(tuple(layers)) if layers else None), rotation


def _array(held: Mapping[str, onnx.TensorProto], name: str) -> FloatArray:
    return numpy_helper.to_array(held[name]).astype(np.float32)


def _applied(x: Values, activation: Activation) -> Values:
    if activation == "relu":
        return np.maximum(x, 0.0)
    if activation == "tanh":
        return np.tanh(x)
    if activation == "gelu":
        from scipy.special import erf

        gelu: Values = 0.5 * x * (1.0 + erf(x / np.sqrt(2.0)))
        return gelu
    return x


def _derivative(x: Values, activation: Activation) -> Values:
    """Of the activation, at x."""
    if activation == "relu":
        return (x > 0.0).astype(np.float64)
    if activation == "tanh":
        steep: Values = 1.0 - np.tanh(x) ** 2
        return steep
    if activation == "gelu":
        from scipy.special import erf

        density = np.exp(-0.5 * x**2) / np.sqrt(2.0 * np.pi)
        steeper: Values = 0.5 * (1.0 + erf(x / np.sqrt(2.0))) + x * density
        return steeper
    return np.ones_like(x)
