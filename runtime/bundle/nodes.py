"""ONNX nodes on their way to a graph, in whatever version of the operators the graph has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

# The version from which an operator takes its axes as an input instead of an attribute.
_AXES_AS_INPUT = {"ReduceSum": 13, "ReduceMean": 18, "ReduceMax": 18, "Unsqueeze": 13, "Squeeze": 13}


class Nodes:
    """Nodes and constants; names of tensors begin with `prefix`, which no other graph's should.

    opset: version of the default operators
    """

    def __init__(self, opset: int, prefix: str = "earmark/front") -> None:
        self.opset, self.prefix = opset, prefix
        self.nodes: list[onnx.NodeProto] = []
        self._taken = 0
        self.constants: dict[str, npt.NDArray[Any]] = {}

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """One node with one output, whose name is returned."""
        output = f"{self.prefix}/{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def cast(self, x: str, dtype: int) -> str:
        """The tensor in another type, one of TensorProto's."""
        return self.add("Cast", x, to=dtype)

    def named(self, operator: str, output: str, *inputs: str, **attributes: Any) -> None:
        """One node whose output has a name of its own."""
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))

    def take(self) -> list[onnx.NodeProto]:
        """The nodes that were added since it was last asked; constants stay."""
        taken = self.nodes[self._taken :]
        self._taken = len(self.nodes)
        return taken

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """A constant tensor."""
        name = f"{self.prefix}/constant_{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def whole(self, *values: int) -> str:
        """A constant of int64 [n]."""
        return self.constant(values, np.int64)

    def over(self, operator: str, x: str, axes: Sequence[int], **attributes: Any) -> str:
        """An operator over axes: ReduceSum, ReduceMean, ReduceMax, Unsqueeze, Squeeze."""
        if self.opset >= _AXES_AS_INPUT[operator]:
            return self.add(operator, x, self.whole(*axes), **attributes)
        return self.add(operator, x, axes=list(axes), **attributes)

    def part(self, x: str, axis: int, start: int, end: int) -> str:
        """x[start:end] along an axis."""
        return self.add("Slice", x, self.whole(start), self.whole(end), self.whole(axis))

    def size(self, x: str, axis: int) -> str:
        """Its length along an axis, int64 [1]."""
        return self.add("Gather", self.add("Shape", x), self.whole(axis))

    def initializers(self) -> list[onnx.TensorProto]:
        """The constants as a graph holds them."""
        return [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
