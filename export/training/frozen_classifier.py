"""A frozen classifier in training: one forward pass of the sound, one of the masked sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ...runtime.audio.lengths import samples_of
from ...runtime.bundle.manifest import MaskGain
from ..graphs.stft import gain, inverse, magnitude, stft
from ..source.source import Source
from .device import mixed_precision
from .scoring import probabilities


@dataclass(frozen=True)
class ClassifierPass:
    """A batch after the classifier.

    spectrum [B, T, F, 2]; amplitude [B, T, F]; log_amplitude X = log1p(amplitude); logits [B, K]
    tensors: the taps by name, and "stft", what a decoder is fed from; samples: length of the sound
    """

    spectrum: torch.Tensor
    amplitude: torch.Tensor
    log_amplitude: torch.Tensor
    logits: torch.Tensor
    tensors: dict[str, torch.Tensor]
    samples: int

    def part(self, rows: slice | torch.Tensor) -> ClassifierPass:
        """Some of its sounds: a slice, or their indices, of which one may come several times."""
        return ClassifierPass(
            spectrum=self.spectrum[rows],
            amplitude=self.amplitude[rows],
            log_amplitude=self.log_amplitude[rows],
            logits=self.logits[rows],
            tensors={name: tensor[rows] for name, tensor in self.tensors.items()},
            samples=self.samples,
        )

    def fed(self, names: list[str], target: torch.Tensor) -> list[torch.Tensor]:
        """A decoder's inputs in order, with the class indices `target` [B]."""
        given = {**self.tensors, "target": target}
        return [given[name] for name in names]


class FrozenClassifier:
    """The classifier of a source, frozen: waveforms [B, N] at the model's rate and level -> logits and taps.

    Masked sound enters as a masked spectrogram where the classifier eats one, else as masked sound.
    """

    def __init__(self, source: Source, *, exact: bool, device: torch.device) -> None:
        """`exact`: in float64, otherwise float32 with channels last, which is faster."""
        self.source, self.analysis, self.device = source, source.analysis, device
        self.dtype = torch.float64 if exact else torch.float32
        layout: Any = torch.contiguous_format if exact else torch.channels_last
        self.layout = layout
        self.classifier = self._frozen(source.classifier)
        self.frontend = self._frozen(source.frontend) if source.rescore == "waveform" else None
        self.samples = samples_of(source.window.seconds, source.sample_rate)

    def _frozen(self, module: nn.Module) -> nn.Module:
        module.eval().requires_grad_(requires_grad=False)
        return module.to(device=self.device, dtype=self.dtype, memory_format=self.layout)  # type: ignore[call-overload, no-any-return]

    def mixed_precision(self) -> torch.autocast:
        """Within, a GPU computes convolutions and products in bfloat16; a CPU as ever."""
        return mixed_precision(self.device, self.dtype)

    @torch.no_grad()
    def forward(self, waveforms: torch.Tensor) -> ClassifierPass:
        """Waveforms [B, N] -> what the classifier makes of them."""
        waveforms = waveforms.to(self.device, self.dtype)
        # Taps of a pass in mixed precision are in bfloat16, which a decoder in float32 does not take.
        tensors = {
            name: value.to(self.dtype) if value.is_floating_point() else value
            for name, value in self.source.forward_pass(waveforms, self.mixed_precision()).items()
        }
        spectrum, logits = tensors["stft"], tensors["logits"]
        amplitude = magnitude(spectrum)
        return ClassifierPass(
            spectrum=spectrum,
            amplitude=amplitude,
            log_amplitude=torch.log1p(amplitude),
            logits=logits.to(self.dtype),
            tensors=tensors,
            samples=waveforms.shape[1],
        )

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] -> probabilities, as the source's task has them."""
        return probabilities(logits, self.source.task)

    def surprise(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """-log of the target's probability [B], for class indices `target` [B]."""
        if self.source.task == "multi_label":
            return functional.softplus(-logits.gather(1, target[:, None]).squeeze(1))
        return functional.cross_entropy(logits, target, reduction="none")

    def parts(
        self, forward: ClassifierPass, mask: torch.Tensor, how: MaskGain, *, listen: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [B, K] of what a mask [B, T, F] keeps, and of what it removes.

        how: what the mask multiplies; both parts add up to the sound, but of "log", where they are not
        listened to: there the removed part is (1 - M) X
        """
        mask = mask.to(self.dtype)
        kept = gain(mask, forward.amplitude, how)
        as_paper = how == "log" and not listen
        removed = gain(1.0 - mask, forward.amplitude, how) if as_paper else 1.0 - kept
        return self.scaled(forward, kept, listen=listen), self.scaled(forward, removed, listen=listen)

    def scaled(self, forward: ClassifierPass, gains: torch.Tensor, *, listen: bool = False) -> torch.Tensor:
        """Logits [B, K] of the sound with its magnitudes multiplied by `gains` [B, T, F].

        listen: of the masked sound fed back as a waveform, whatever the classifier eats
        """
        spectrum = forward.spectrum * gains.unsqueeze(-1)
        if self.frontend is not None or listen:
            kept = inverse(spectrum, self.analysis, forward.samples)
            entry = stft(kept, self.analysis) if self.frontend is None else self.frontend(kept)
        else:
            entry = spectrum
        with self.mixed_precision():
            logits: torch.Tensor = self.classifier(entry)[0]
        return logits.to(self.dtype)
