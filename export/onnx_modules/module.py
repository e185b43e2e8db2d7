"""`GraphModule`: an ONNX graph as a PyTorch module, node by node."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import inliner, numpy_helper
from torch import nn

from ...errors import SourceError
from ...printable import first_line
from . import (  # noqa: F401 (they register)
    attention,
    elementwise,
    indexing,
    layers,
    products,
    quantised,
    recurrent,
    reductions,
    shapes,
    spectral,
)
from .operators import Call, Tensor, UnsupportedError, attributes_of, known
from .supported import CONTROL, unsupported

# Whole numbers of so few axes are shapes and indices, which stay on the CPU.
_SHAPE_AXES = 1
# Numbers of four bits are bytes here, which PyTorch has; for halves see `operators.py`.
_WIDER = {"int4": np.int8, "uint4": np.uint8, "float16": np.float32, "bfloat16": np.float32}
Seen = Callable[[str, Tensor], None]


@dataclass(frozen=True)
class _Node:
    """A node that is ready to be called."""

    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    last_uses: tuple[str, ...]


class GraphModule(nn.Module):
    """An ONNX graph in evaluation mode: its inputs -> its outputs, in order, differentiable.

    Weights are buffers by which the module moves to another device or type: `.double()` computes in float64
    what the graph computes in float32. Nothing of it is trained.

    Attributes:
        inputs: Their names.
        outputs: Their names.
        whole: Tensors that hold whole numbers in the file and real ones here, see `quantised.py`.

    """

    def __init__(self, model: onnx.ModelProto, path: str | Path) -> None:
        """Take over a graph. `path`: of its file, beside which weights may lie.

        Raises SourceError where operators are not supported, naming all of them.
        """
        super().__init__()
        if model.functions:
            model = inliner.inline_local_functions(model)
        self.name, self._folder = str(path), str(Path(path).parent)
        self.opsets = {
            "" if one.domain == "ai.onnx" else one.domain: one.version for one in model.opset_import
        }
        _refuse_unknown(model.graph, self.name)
        # The type of the weights, by which float32 is told where no weight is at hand.
        self._real: torch.Tensor
        self.register_buffer("_real", torch.zeros(()), persistent=False)
        self._buffers_of: dict[str, str] = {}
        self._shapes: dict[str, Tensor] = {}
        self._nodes: dict[int, list[_Node]] = {}
        weights = {weight.name for weight in model.graph.initializer}
        self.inputs = [value.name for value in model.graph.input if value.name not in weights]
        self.outputs = [value.name for value in model.graph.output]
        # Kept alive, since nodes are found by their graph's identity.
        self._graph = model.graph
        self._read(self._graph, self.outputs)
        self.whole = _whole(self._nodes[id(self._graph)])

    def _read(self, graph: onnx.GraphProto, outputs: Sequence[str]) -> None:
        """Take over a graph's weights and nodes, and those of the graphs inside its nodes."""
        for weight in graph.initializer:
            self._keep(weight.name, numpy_helper.to_array(weight, self._folder))
        nodes: list[_Node] = []
        needed = set(outputs)
        for node in reversed(graph.node):
            attributes = attributes_of(node)
            if node.op_type == "Constant":
                self._keep(node.output[0], _constant(attributes))
                continue
            read = [*node.input, *(name for inner in _bodies(attributes) for name in _free(inner))]
            last = tuple(name for name in dict.fromkeys(read) if name and name not in needed)
            needed.update(read)
            nodes.append(
                _Node(
                    node.op_type,
                    "" if node.domain == "ai.onnx" else node.domain,
                    tuple(node.input),
                    tuple(node.output),
                    attributes,
                    last,
                )
            )
            for inner in _bodies(attributes):
                self._read(inner, [value.name for value in inner.output])
        self._nodes[id(graph)] = nodes[::-1]

    def _keep(self, name: str, array: np.ndarray) -> None:
        """Keep a constant: as a buffer, or, where it is a shape, on the CPU."""
        wide = array.astype(_WIDER.get(array.dtype.name, array.dtype))
        tensor = torch.from_numpy(np.ascontiguousarray(wide).reshape(array.shape).copy())
        if not tensor.is_floating_point() and tensor.dim() <= _SHAPE_AXES:
            self._shapes[name] = tensor
            return
        own = f"{re.sub('[^A-Za-z0-9_]', '_', name)}__{len(self._buffers_of)}"
        self._buffers_of[name] = own
        # What earmark adds to a graph is none of its weights.
        self.register_buffer(own, tensor, persistent=not name.startswith("earmark/"))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The graph's outputs. Raises SourceError where a node fails, naming it."""
        return self.run(dict(zip(self.inputs, inputs, strict=True)))

    def run(self, inputs: Mapping[str, Tensor], seen: Seen | None = None) -> tuple[Tensor, ...]:
        """The graph's outputs for inputs by name; `seen` is called with every tensor as it is computed."""
        values: dict[str, Tensor] = {name: getattr(self, own) for name, own in self._buffers_of.items()}
        values |= self._shapes
        values |= {name: self._own(value) for name, value in inputs.items()}
        return self._run(id(self._graph), self.outputs, values, seen)

    def _own(self, value: Tensor) -> Tensor:
        """An input of halves is of the weights' type, as all halves are."""
        return value.to(self._real.dtype) if value.dtype in {torch.float16, torch.bfloat16} else value

    def _run(
        self, graph: int, outputs: Sequence[str], values: dict[str, Tensor], seen: Seen | None
    ) -> tuple[Tensor, ...]:
        for node in self._nodes[graph]:
            given = [values[name] if name else None for name in node.inputs]
            for name, value in zip(node.outputs, self._computed(node, given, values), strict=False):
                if name:
                    values[name] = value
                    if seen is not None:
                        seen(name, value)
            for name in node.last_uses:
                values.pop(name, None)
        return tuple(values[name] for name in outputs)

    def _computed(
        self, node: _Node, given: Sequence[Tensor | None], values: Mapping[str, Tensor]
    ) -> tuple[Tensor, ...]:
        """What a node gives. Raises SourceError where it fails."""
        if node.operator in CONTROL and not node.domain:
            return self._controlled(node, given, values)
        function = known(node.domain, node.operator)
        assert function is not None  # noqa: S101 (`_refuse_unknown` has looked)
        call = Call(
            node.operator,
            node.attributes,
            self.opsets.get(node.domain, 1),
            self._real.dtype,
            len(node.outputs),
        )
        try:
            result = function(call, *given)
        except UnsupportedError as error:
            raise SourceError(
                f"{self.name}: its operator {node.operator} {error} ({node.outputs[0]!r}) cannot be trained "
                "through; export the model again without it"
            ) from error
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            shown = ", ".join("-" if one is None else str(list(one.shape)) for one in given)
            raise SourceError(
                f"{self.name}: its operator {node.operator} ({node.outputs[0]!r}, inputs {shown}) fails in "
                f"PyTorch: {first_line(error, 160)}"
            ) from error
        return result if isinstance(result, tuple) else (result,)

    def _controlled(
        self, node: _Node, given: Sequence[Tensor | None], values: Mapping[str, Tensor]
    ) -> tuple[Tensor, ...]:
        """If, Loop and Scan."""
        if node.operator == "If":
            condition = given[0]
            assert condition is not None  # noqa: S101 (the operator asks for it)
            return self._body(
                node.attributes["then_branch" if bool(condition) else "else_branch"], (), values
            )
        body = node.attributes["body"]
        if node.operator == "Scan":
            return self._scan(body, node, [one for one in given if one is not None], values)
        most, condition, *carried = given
        states = [one for one in carried if one is not None]
        count, stacked, step = len(states), [], 0
        going = condition is None or bool(condition)
        while going and (most is None or step < int(most)):
            entry = (torch.tensor(step), torch.tensor(going), *states)
            goes_on, *after = self._body(body, entry, values)
            going, states = bool(goes_on), after[:count]
            stacked.append(after[count:])
            step += 1
        return (*states, *(torch.stack(each) for each in zip(*stacked, strict=True)))

    def _scan(
        self, body: onnx.GraphProto, node: _Node, given: Sequence[Tensor], values: Mapping[str, Tensor]
    ) -> tuple[Tensor, ...]:
        scanned = int(node.attributes["num_scan_inputs"])
        unusual = {"scan_input_axes", "scan_output_axes", "scan_input_directions", "scan_output_directions"}
        if any(any(node.attributes.get(name, [])) for name in unusual):
            raise SourceError(
                f"{self.name}: a Scan along other axes than the first cannot be trained through"
            )
        count = len(given) - scanned
        states, rows = list(given[:count]), given[count:]
        stacked = []
        for row in zip(*(one.unbind(0) for one in rows), strict=True):
            after = self._body(body, (*states, *row), values)
            states = list(after[:count])
            stacked.append(after[count:])
        return (*states, *(torch.stack(each) for each in zip(*stacked, strict=True)))

    def _body(
        self, body: onnx.GraphProto, entry: Sequence[Tensor], values: Mapping[str, Tensor]
    ) -> tuple[Tensor, ...]:
        """A graph inside a node, which sees the tensors around it."""
        names = [value.name for value in body.input]
        inner = {**values, **dict(zip(names, entry, strict=True))}
        return self._run(id(body), [value.name for value in body.output], inner, None)


def _bodies(attributes: Mapping[str, Any]) -> list[onnx.GraphProto]:
    return [value for value in attributes.values() if isinstance(value, onnx.GraphProto)]


def _whole(nodes: Iterable[_Node]) -> frozenset[str]:
    """Tensors that are quantised: given by what quantises, and handed on by what does not make them real."""
    names: set[str] = set()
    for node in nodes:
        handed = node.inputs[:1] != () and node.inputs[0] in names and node.operator not in quantised.REAL
        if handed or node.operator in quantised.WHOLE:
            names.update(node.outputs)
    return frozenset(names)


def _free(graph: onnx.GraphProto) -> Iterator[str]:
    """Tensors that a body may take from around it."""
    for node in graph.node:
        yield from node.input
        for inner in _bodies(attributes_of(node)):
            yield from _free(inner)
    yield from (value.name for value in graph.output)


def _constant(attributes: Mapping[str, Any]) -> np.ndarray:
    """The value of a Constant node."""
    if "value" in attributes:
        return np.asarray(numpy_helper.to_array(attributes["value"]))
    for name, kind in (("value_float", np.float32), ("value_floats", np.float32)):
        if name in attributes:
            return np.asarray(attributes[name], kind)
    return np.asarray(attributes.get("value_int", attributes.get("value_ints")), np.int64)


def _refuse_unknown(graph: onnx.GraphProto, name: str) -> None:
    """Raise SourceError where operators are not supported, naming all of them."""
    if strange := unsupported(graph.node, graph.initializer):
        raise SourceError(
            f"{name}: uses {', '.join(strange)}, which training cannot differentiate through; export "
            "the model with plainer operators, or train over its PyTorch original (docs/adapters.md)"
        )
