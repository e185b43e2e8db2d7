"""Recurrent layers: LSTM and GRU."""

from __future__ import annotations

import torch

from .operators import Call, Tensor, UnsupportedError, operator


@operator("LSTM", "GRU")
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
    direction = call.text("direction", "forward")
    unusual = [lengths, peepholes, call.attributes.get("activations"), call.attributes.get("clip")]
    if (
        any(one is not None for one in unusual)
        or call.integer("layout", 0)
        or call.integer("input_forget", 0)
    ):
        raise UnsupportedError("with lengths, peepholes, activations, clip or layout")
    outputs, lasts, cells = [], [], []
    for number in range(weight.shape[0]):
        backwards = direction == "reverse" or number == 1
        sound = x.flip(0) if backwards else x
        size = recurrence.shape[-1]
        zeros = x.new_zeros(x.shape[1], size)
        state = zeros if hidden is None else hidden[number].to(x)
        memory = zeros if cell is None else cell[number].to(x)
        both = x.new_zeros(2 * weight.shape[1]) if bias is None else bias[number]
        given, recurred = both.chunk(2)
        entry = sound @ weight[number].T + given
        steps = []
        for row in entry:
            if call.operator == "LSTM":
                state, memory = _lstm(row + state @ recurrence[number].T + recurred, memory)
            else:
                after = bool(call.integer("linear_before_reset", 0))
                state = _gru(row, state, recurrence[number], recurred, after=after)
            steps.append(state)
        each = torch.stack(steps)
        outputs.append(each.flip(0) if backwards else each)
        lasts.append(state)
        cells.append(memory)
    made = (torch.stack(outputs, dim=1), torch.stack(lasts))
    return (*made, torch.stack(cells)) if call.operator == "LSTM" else made


def _lstm(gates: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """One step; gates in ONNX's order: input, output, forget, cell."""
    into, out, forget, candidate = gates.chunk(4, dim=-1)
    memory = torch.sigmoid(forget) * memory + torch.sigmoid(into) * torch.tanh(candidate)
    return torch.sigmoid(out) * torch.tanh(memory), memory


def _gru(row: Tensor, state: Tensor, recurrence: Tensor, bias: Tensor, *, after: bool) -> Tensor:
    """One step; gates in ONNX's order: update, reset, hidden."""
    update, reset, entry = row.chunk(3, dim=-1)
    of_update, of_reset, of_hidden = recurrence.chunk(3)
    for_update, for_reset, for_hidden = bias.chunk(3)
    z = torch.sigmoid(update + state @ of_update.T + for_update)
    r = torch.sigmoid(reset + state @ of_reset.T + for_reset)
    if after:
        candidate = torch.tanh(entry + r * (state @ of_hidden.T + for_hidden))
    else:
        candidate = torch.tanh(entry + (r * state) @ of_hidden.T + for_hidden)
    return (1 - z) * candidate + z * state
