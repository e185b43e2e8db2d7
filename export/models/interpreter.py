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
    """Evidence and rest of spectra, brought to the sound by multiplicative updates (Lee and Seung, 2001).

    V <- V (W^T X) / (W^T W V), `updates` times, with X = log1p|STFT| [B, F, T] of the spectrum [B, T, F, 2],
    the spectra W [F, S] and V [B, S, T] evidence and rest together. No update makes |X - W V| larger, and the
    share of a spectrum that is evidence stays what psi has said.

    lift: part of a spectrum's scale that the rest has at least before the updates, which wake nothing that
        is silent
    """

    def __init__(self, spectra: int, bins: int, updates: int, lift: float) -> None:
        super().__init__()
        self.updates, self.lift = updates, lift
        self.dictionary: torch.Tensor
        self.least: torch.Tensor
        self.register_buffer("dictionary", torch.zeros(bins, spectra))
        self.register_buffer("least", torch.zeros(spectra))

    def set_dictionary(self, values: torch.Tensor, scale: torch.Tensor) -> None:
        """Of evidence, then rest: W [F, 2 S], the same spectra twice, and the scales of activations [2 S]."""
        self.dictionary.copy_(values.chunk(2, dim=1)[0])
        self.least.copy_(self.lift * scale.view(2, -1).sum(dim=0))

    def forward(self, spectrum: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
        """H [B, 2 S, T] from where psi begins; evidence, then rest."""
        transposed = self.dictionary.transpose(0, 1)
        gram = transposed @ self.dictionary
        wanted = transposed @ torch.log1p(magnitude(spectrum)).transpose(1, 2)
        evidence, rest = activations.chunk(2, dim=1)
        rest = rest + self.least[:, None]
        fitted = begun = evidence + rest
        for _ in range(self.updates):
            fitted = fitted * wanted / (gram @ fitted + _TINY)
        gain = fitted / (begun + _TINY)
        return torch.cat([evidence * gain, rest * gain], dim=1)


class Interpreter(nn.Module):
    """(spectrum, *maps) -> (activations H [B, K, T] >= 0, pooled z [B, K], logits [B, C]).

    z pools psi's activations. With a `fit`, H are these brought to the sound. The last `rest` components hold
    what of the spectra is no evidence: theta does not read them, and their z is 0.
    """

    def __init__(self, psi: nn.Module, theta: nn.Module, fit: SoundFit | None = None, rest: int = 0) -> None:
        super().__init__()
        self.psi, self.theta, self.fit, self.rest = psi, theta, fit, rest

    @property
    def weight(self) -> torch.Tensor:
        """The weights theta [C, K] by which the logits are theta z."""
        theta: Any = self.theta
        weight: torch.Tensor = theta.weight
        return functional.pad(weight, (0, self.rest)) if self.rest else weight

    def set_dictionary(self, values: torch.Tensor, scale: torch.Tensor) -> None:
        """Say which dictionary W [F, K] activations are of, and their order [K] > 0; of a `ScaledPsi`."""
        psi: Any = self.psi
        theta: Any = self.theta
        psi.scale.copy_(scale)
        theta.scale.copy_(scale[: len(scale) - self.rest])
        if self.fit is not None:
            self.fit.set_dictionary(values, scale)

    def unfitted(self, spectrum: torch.Tensor, *maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As `forward`, with psi's own activations."""
        activations: torch.Tensor = self.psi(spectrum, *maps)
        z, logits = self.theta(activations[:, : activations.shape[1] - self.rest])
        return activations, functional.pad(z, (0, self.rest)) if self.rest else z, logits

    def fitted(self, spectrum: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
        """H [B, K, T] from psi's own activations; these themselves without a `fit`."""
        return activations if self.fit is None else self.fit(spectrum, activations)

    def forward(self, spectrum: torch.Tensor, *maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See the class."""
        activations, z, logits = self.unfitted(spectrum, *maps)
        return self.fitted(spectrum, activations), z, logits


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
