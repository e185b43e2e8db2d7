"""What goes from one window to the next in a bundle's classifier: states, and the end of the sound before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from onnx import TensorProto

from ....runtime.bundle.nodes import Nodes
from .side_inputs import Carried, SideInput


@dataclass(frozen=True)
class StateRow:
    """The states of a graph as one row of numbers [S]: the samples before the window, then each state.

    states: inputs that go on with what an output gave; context: samples before a window
    rank: axes of what the graph takes, the last one of samples
    """

    # Names in the body of the loop over windows: what it is given, what it leaves, samples before the window.
    GIVEN: ClassVar = "earmark/state"
    LEFT: ClassVar = "earmark/left"
    CONTEXT: ClassVar = "earmark/context"

    states: tuple[Carried, ...]
    context: int = 0
    rank: int = 2

    @classmethod
    def of(cls, sides: Sequence[SideInput], context: int, rank: int) -> StateRow | None:
        """That of a graph with these inputs; None where nothing goes on."""
        states = tuple(side for side in sides if isinstance(side, Carried))
        return cls(states, context, rank) if states or context else None

    @property
    def size(self) -> int:
        """S."""
        return self.context + sum(math.prod(state.values.shape) for state in self.states)

    def parts(self, graph: Nodes) -> dict[str, str]:
        """Nodes that cut the row into states: input -> its tensor."""
        found, start = {}, self.context
        if start:
            cut = graph.part(self.GIVEN, 0, 0, start)
            graph.named("Reshape", self.CONTEXT, cut, graph.whole(*[1] * (self.rank - 1), start))
        for state in self.states:
            end = start + state.values.size
            cut = graph.part(self.GIVEN, 0, start, end)
            shaped = graph.add("Reshape", cut, graph.whole(*state.values.shape))
            found[state.name] = graph.cast(shaped, state.tensor_type)
            start = end
        return found

    def joined(self, graph: Nodes, taken: str, renamed: Callable[[str], str]) -> None:
        """Nodes that make the row for the next window.

        taken: what the graph took, with the samples before it
        renamed: the name of an output in the stage
        """
        flat = []
        if self.context:
            last = graph.part(taken, self.rank - 1, -self.context, np.iinfo(np.int64).max)
            flat.append(graph.add("Reshape", last, graph.whole(-1)))
        for state in self.states:
            left = graph.cast(renamed(state.after), TensorProto.FLOAT)
            flat.append(graph.add("Reshape", left, graph.whole(-1)))
        graph.named("Concat", self.LEFT, *flat, axis=0)

    def spread(self, graph: Nodes, border: str) -> str:
        """Nodes that give a row to each of the sounds: state [1, S] or [B, S] -> [B, S]."""
        shape = graph.add("Concat", graph.size(border, 0), graph.whole(self.size), axis=0)
        return graph.add("Expand", "state", shape)
