"""Psi and theta of Listen to Interpret (arXiv 2202.11479, section 3.2) as one module."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..graphs.stft import magnitude

# Where nothing is active nothing is divided by.
_TINY = 1e-6


class Theta(nn.Module):
    """H [B, K, T] -> (z [B, K], logits [B, C]) for any T: attention over the frames, then theta z.

    z_k = sum_t a_kt H_kt with a_k = softmax over t of what v . H_t and u_k H_kt say together: a weight that
    all components share, and how much each prefers its own loud frames to the mean. Both are learnt and
    begin between the mean and the maximum. theta has no bias, so that the components alone speak.

    scale [K]: what H is of the order of; weights are learnt on H / scale, `weight` is the one for H itself
    """

    def __init__(self, components: int, classes: int) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.zeros(components))
        self.own = nn.Parameter(torch.full((components,), 0.5))
        self.classes = nn.Linear(components, classes, bias=False)
        self.scale: torch.Tensor
        self.register_buffer("scale", torch.ones(components))

    @property
    def weight(self) -> torch.Tensor:
        """Theta [C, K]: logits = theta z."""
        return self.classes.weight / self.scale

    def pooled(self, activations: torch.Tensor) -> torch.Tensor:
        """Z [B, K]."""
        relative = activations / self.scale[:, None]
        attended = (self.shared[:, None] * relative).sum(dim=1, keepdim=True) + self.own[:, None] * relative
        return (torch.softmax(attended, dim=2) * activations).sum(dim=2)

    def forward(self, activations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See the class."""
        z = self.pooled(activations)
        return z, functional.linear(z, self.weight)


class SoundFit(nn.Module):
    """Activations brought to the sound by multiplicative updates (Lee and Seung, 2001).

    H <- H (W^T X) / (W^T W H), `updates` times, with X = log1p|STFT| [B, F, T] of the spectrum [B, T, F, 2]
    and the dictionary W [F, K]. No update makes |X - W H| larger, and each multiplies components of one
    spectrum by one number: which of them sounds is what psi has said.
    """

    def __init__(self, components: int, bins: int, updates: int) -> None:
        super().__init__()
        self.updates = updates
        self.dictionary: torch.Tensor
        self.register_buffer("dictionary", torch.zeros(bins, components))

    def forward(self, spectrum: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
        """H [B, K, T] from where psi begins."""
        transposed = self.dictionary.transpose(0, 1)
        gram = transposed @ self.dictionary
        wanted = transposed @ torch.log1p(magnitude(spectrum)).transpose(1, 2)
        for _ in range(self.updates):
            activations = activations * wanted / (gram @ activations + _TINY)
        return activations


class Interpreter(nn.Module):
    """(spectrum, *maps) -> (activations H [B, K, T] >= 0, pooled z [B, K], logits [B, C]).

    z pools psi's activations. With a `fit`, H are these brought to the sound, from which nothing is learnt:
    trained through it, psi would have to find the class among components that the sound has put in order.
    """

    def __init__(self, psi: nn.Module, theta: nn.Module, fit: SoundFit | None = None) -> None:
        super().__init__()
        self.psi, self.theta, self.fit = psi, theta, fit

    @property
    def weight(self) -> torch.Tensor:
        """The weights theta [C, K] by which the logits are theta z."""
        theta: Any = self.theta
        output: torch.Tensor = theta.weight
        return output

    def set_dictionary(self, values: torch.Tensor, scale: torch.Tensor) -> None:
        """Say which dictionary W [F, K] activations are of, and their order [K] > 0; of a `ScaledPsi`."""
        parts: list[Any] = [self.psi, self.theta]
        for part in parts:
            part.scale.copy_(scale)
        if self.fit is not None:
            self.fit.dictionary.copy_(values)

    def unfitted(self, spectrum: torch.Tensor, *maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As `forward`, with psi's own activations: what is trained."""
        activations = self.psi(spectrum, *maps)
        z, logits = self.theta(activations)
        return activations, z, logits

    def forward(self, spectrum: torch.Tensor, *maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See the class."""
        activations, z, logits = self.unfitted(spectrum, *maps)
        return activations if self.fit is None else self.fit(spectrum, activations), z, logits


class ScaledPsi(nn.Module):
    """A psi whose activations of order one are brought to those of the dictionary: H = scale psi(.)."""

    def __init__(self, psi: nn.Module, components: int) -> None:
        super().__init__()
        self.psi = psi
        self.scale: torch.Tensor
        self.register_buffer("scale", torch.ones(components))

    def forward(self, spectrum: torch.Tensor, *maps: torch.Tensor) -> torch.Tensor:
        """H [B, K, T]."""
        output: torch.Tensor = self.scale[:, None] * self.psi(spectrum, *maps)
        return output


class ByDesign(nn.Module):
    """A classifier whose logits are theta(psi(.)): entry -> (logits, *the backbone's taps).

    names: the backbone's taps in order; inputs: those that the interpreter reads, spectrum first
    """

    def __init__(
        self, backbone: nn.Module, interpreter: Interpreter, names: list[str], inputs: list[str]
    ) -> None:
        super().__init__()
        self.backbone, self.interpreter = backbone, interpreter
        self.names, self.inputs = list(names), list(inputs)

    def interpreted(self, entry: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(psi's own activations, pooled, logits, *taps)."""
        _, *taps = self.backbone(entry)
        # The entry is the spectrum where the backbone shows none.
        given = {"stft": entry, **dict(zip(self.names, taps, strict=True))}
        return (*self.interpreter.unfitted(*(given[name] for name in self.inputs)), *taps)

    def forward(self, entry: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Entry -> (logits, *taps)."""
        _, _, logits, *taps = self.interpreted(entry)
        return (logits, *taps)
