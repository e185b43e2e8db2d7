"""The table of operators, and how each is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import onnx
import torch
from onnx import helper

Tensor = torch.Tensor
# Inputs that a node leaves out are None.
Operator = Callable[..., Tensor | tuple[Tensor, ...]]
Registered = TypeVar("Registered", bound=Operator)

_OPERATORS: dict[tuple[str, str], Operator] = {}


@dataclass(frozen=True)
class Call:
    """One node being computed: its attributes, and what float32 is in the module.

    Attributes:
        operator: The operator's name.
        attributes: By name, as onnx reads them.
        opset: Version of the operator's set.
        real: The type of the module's weights, which stands for the graph's float32.
        outputs: How many outputs the node has.

    """

    operator: str
    attributes: dict[str, Any] = field(repr=False)
    opset: int
    real: torch.dtype
    outputs: int

    def integer(self, name: str, default: int) -> int:
        """An attribute that is a whole number."""
        return int(self.attributes.get(name, default))

    def number(self, name: str, default: float) -> float:
        """An attribute that is a number."""
        return float(self.attributes.get(name, default))

    def text(self, name: str, default: str) -> str:
        """An attribute that is a text."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        """An attribute that is a list of whole numbers."""
        return [int(one) for one in self.attributes.get(name, default)]

    def numbers(self, name: str) -> list[float]:
        """An attribute that is a list of numbers, empty where it is missing."""
        return [float(one) for one in self.attributes.get(name, [])]

    def of(self, operator: str, opset: int | None = None) -> Call:
        """The same call of another operator."""
        return replace(self, operator=operator, opset=self.opset if opset is None else opset)

    def kind(self, element_type: int) -> torch.dtype:
        """The PyTorch type of a TensorProto type; float32 and halves are the type of the module's weights."""
        return self.real if element_type in REAL else KINDS[element_type]


class UnsupportedError(Exception):
    """What an operator is asked for that is not there."""


# Halves are computed with as float32 is: their gradients would vanish.
REAL = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16})
KINDS: dict[int, torch.dtype] = {
    onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT16: torch.int16,
    onnx.TensorProto.INT8: torch.int8,
    onnx.TensorProto.UINT8: torch.uint8,
    onnx.TensorProto.UINT16: torch.uint16,
    onnx.TensorProto.UINT32: torch.uint32,
    # As bytes, see `module.py`.
    onnx.TensorProto.INT4: torch.int8,
    onnx.TensorProto.UINT4: torch.uint8,
    onnx.TensorProto.BOOL: torch.bool,
}


def operator(*names: str, domain: str = "") -> Callable[[Registered], Registered]:
    """A decorator: the function computes the operators of these names, called with `Call` and the inputs."""

    def register(function: Registered) -> Registered:
        for name in names:
            _OPERATORS[domain, name] = function
        return function

    return register


def known(domain: str, name: str) -> Operator | None:
    """The function that computes an operator, or None."""
    return _OPERATORS.get(("" if domain == "ai.onnx" else domain, name))


def registered() -> set[tuple[str, str]]:
    """Domain and name of every operator that is computed here."""
    return set(_OPERATORS)


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name; graphs and tensors as they are."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def numbers(tensor: Tensor) -> list[int]:
    """A small tensor of whole numbers as a list."""
    return [int(one) for one in tensor.reshape(-1).tolist()]


def beside(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors on one device: shapes and indices stay on the CPU until they meet sound."""
    device = next((one.device for one in tensors if one.device.type != "cpu"), None)
    return tensors if device is None else tuple(one.to(device) for one in tensors)


def root(x: Tensor) -> Tensor:
    """The square root, with a gradient of 0 at 0."""
    nothing = x == 0
    return torch.sqrt(x.masked_fill(nothing, 1.0)).masked_fill(nothing, 0.0)
