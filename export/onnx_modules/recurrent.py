"""Recurrent layers: RNN, GRU and LSTM, the dynamically quantised one included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .activations import Function, activations
from .indexing import reversed_within
from .operators import Call, Tensor, UnsupportedError, operator
from .quantised import dynamic_matmul

# The usual functions of a direction, each kind's.
_USUAL = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Direction:
    """One direction of a layer.

    Attributes:
        kind: "RNN", "GRU" or "LSTM".
        product: Hidden state [B, H] -> what the gates get of it, a GRU's last one left out.
        bias: Of the hidden state, of all gates.
        peepholes: Of input, output and forget gate, zero where there are none.
        functions: The activations in ONNX's order.
        clip: The bound of what the activations take.
        coupled: Whether what is forgotten is what is not taken in (an LSTM's).
        after: Whether a GRU's reset comes after the product.
        part: Hidden state [B, H] -> what a GRU's last gate gets of it.

    """

    kind: str
    product: Product
    bias: Tensor
    peepholes: tuple[Tensor, ...]
    functions: list[Function]
    clip: float
    coupled: bool
    after: bool
    part: Product

    def step(self, row: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """From what the sound gives to the gates [B, G H] and the states before to those after."""
        if self.kind == "RNN":
            return self.functions[0](self._bounded(row + self.product(hidden) + self.bias)), cell
        return self._lstm(row, hidden, cell) if self.kind == "LSTM" else (self._gru(row, hidden), cell)

    def _bounded(self, x: Tensor) -> Tensor:
        return x.clamp(-self.clip, self.clip) if self.clip else x

    def _lstm(self, row: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Gates in ONNX's order: input, output, forget, cell."""
        gate, entry, end = self.functions
        into, out, forget, candidate = (row + self.product(hidden) + self.bias).chunk(4, dim=-1)
        of_input, of_output, of_forget = self.peepholes
        taken = gate(self._bounded(into + of_input * cell))
        kept = 1 - taken if self.coupled else gate(self._bounded(forget + of_forget * cell))
        cell = kept * cell + taken * entry(self._bounded(candidate))
        return gate(self._bounded(out + of_output * cell)) * end(cell), cell

    def _gru(self, row: Tensor, hidden: Tensor) -> Tensor:
        """Gates in ONNX's order: update, reset, hidden."""
        gate, entry = self.functions
        size = hidden.shape[-1]
        first, last = torch.split(row, [2 * size, size], dim=-1)
        for_gates, for_last = torch.split(self.bias, [2 * size, size])
        gates = gate(self._bounded(first + self.product(hidden) + for_gates))
        update, reset = gates.chunk(2, dim=-1)
        if self.after:
            recurred = reset * (self.part(hidden) + for_last)
        else:
            recurred = self.part(reset * hidden) + for_last
        candidate = entry(self._bounded(last + recurred))
        return (1 - update) * candidate + update * hidden


@operator("RNN", "GRU", "LSTM")
def recurrent(
    call: Call,
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    peepholes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """[T, B, I] -> outputs [T, D, B, H], last hidden [D, B, H], and an LSTM's last cell [D, B, H]."""
    entries: list[Product] = [_linear(one) for one in weight]
    size = recurrence.shape[-1]
    gates = 2 * size if call.operator == "GRU" else recurrence.shape[1]
    products: list[Product] = [_linear(one[:gates]) for one in recurrence]
    parts: list[Product] = [_linear(one[gates:]) for one in recurrence]
    return _layer(call, x, entries, products, parts, bias, lengths, (hidden, cell), peepholes, size)


@operator("DynamicQuantizeLSTM", domain="com.microsoft")
def dynamic_lstm(
    call: Call,
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    hidden: Tensor | None,
    cell: Tensor | None,
    peepholes: Tensor | None,
    weight_scale: Tensor,
    weight_zero: Tensor,
    recurrence_scale: Tensor,
    recurrence_zero: Tensor,
) -> tuple[Tensor, ...]:
    """An LSTM whose products are of bytes; its weights are [D, I, 4 H] and [D, H, 4 H]."""
    inner = call.of("LSTM")

    def products(matrices: Tensor, scales: Tensor, zeros: Tensor) -> list[Product]:
        return [
            lambda x, one=each: dynamic_matmul(inner, x, *one)  # type: ignore[misc]
            for each in zip(matrices, scales, zeros, strict=True)
        ]

    entries = products(weight, weight_scale, weight_zero)
    recurred = products(recurrence, recurrence_scale, recurrence_zero)
    size = recurrence.shape[1]
    return _layer(inner, x, entries, recurred, recurred, bias, lengths, (hidden, cell), peepholes, size)


def _linear(matrix: Tensor) -> Product:
    return lambda x: x @ matrix.T


def _layer(
    call: Call,
    x: Tensor,
    entries: list[Product],
    products: list[Product],
    parts: list[Product],
    bias: Tensor | None,
    lengths: Tensor | None,
    states: tuple[Tensor | None, Tensor | None],
    peepholes: Tensor | None,
    size: int,
) -> tuple[Tensor, ...]:
    """All directions of a layer over a sound, by what its matrices make of sound and hidden state."""
    if call.integer("layout", 0):
        raise UnsupportedError("with layout")
    directions = len(entries)
    usual = _USUAL[call.operator]
    names = [one.decode() for one in call.attributes.get("activations", [])] or usual * directions
    functions = activations(names, call.numbers("activation_alpha"), call.numbers("activation_beta"))
    outputs, hiddens, cells = [], [], []
    for number in range(directions):
        backwards = call.text("direction", "forward") == "reverse" or number == 1
        sound = _backwards(x, lengths) if backwards else x
        entry = entries[number](sound)
        both = entry.new_zeros(2 * entry.shape[-1]) if bias is None else bias[number]
        given, recurred = both.chunk(2)
        holes = x.new_zeros(3 * size) if peepholes is None else peepholes[number]
        way = _Direction(
            call.operator,
            products[number],
            recurred,
            holes.chunk(3),
            functions[number * len(usual) : (number + 1) * len(usual)],
            call.number("clip", 0.0),
            bool(call.integer("input_forget", 0)),
            bool(call.integer("linear_before_reset", 0)),
            parts[number],
        )
        zeros = x.new_zeros(x.shape[1], size)
        state, memory = (zeros if one is None else one[number].to(x) for one in states)
        each, state, memory = _over_time(way, entry + given, state, memory, lengths)
        outputs.append(_backwards(each, lengths) if backwards else each)
        hiddens.append(state)
        cells.append(memory)
    made = (torch.stack(outputs, dim=1), torch.stack(hiddens))
    return (*made, torch.stack(cells)) if call.operator == "LSTM" else made


def _backwards(x: Tensor, lengths: Tensor | None) -> Tensor:
    """[T, B, ...] the other way round, each row up to its length."""
    return x.flip(0) if lengths is None else reversed_within(x, lengths, 0, 1)


def _over_time(
    way: _Direction, entry: Tensor, hidden: Tensor, cell: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The hidden state after each step [T, B, H], 0 beyond a row's length, and both states at its end."""
    steps = []
    for time, row in enumerate(entry):
        after, memory = way.step(row, hidden, cell)
        if lengths is None:
            hidden, cell, shown = after, memory, after
        else:
            going = (lengths.to(entry.device) > time)[:, None]
            hidden, cell = torch.where(going, after, hidden), torch.where(going, memory, cell)
            shown = torch.where(going, after, torch.zeros_like(after))
        steps.append(shown)
    return torch.stack(steps), hidden, cell
