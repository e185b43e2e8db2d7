"""A description's features as PyTorch modules, which training goes through and torch.export takes.

The same steps as `graph.py`, in the same order; both are held to `reference.py`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import SourceError
from .description import Description, Log, Normalise, Output, Samples, Stft
from .matrices import numbers_of, transform_kernel


class DescribedWaveform(nn.Module):
    """Waveform [B, N] -> what the classifier takes, for front ends whose STFT is not the listenable one."""

    def __init__(self, description: Description) -> None:
        super().__init__()
        self.centred = description.level == "unit_variance"
        self.scale = description.scale if description.stft is None else 1.0
        self.samples = description.samples
        self.preemphasis = description.preemphasis
        self.layout = description.output.layout
        self.transform = None if description.stft is None else _Transform(description.stft)
        self.features = None if description.stft is None else DescribedFeatures(description)

    def forward(self, waveform: Tensor) -> Tensor:
        """Rows in the description's layout; the level's division is the runtime's."""
        wave = waveform - waveform.mean(dim=1, keepdim=True) if self.centred else waveform
        if self.samples is not None:
            wave = _filled(wave, self.samples)
        if self.preemphasis:
            wave = wave - self.preemphasis * functional.pad(wave, (1, 0))[:, :-1]
        if self.transform is None or self.features is None:
            wave = wave * self.scale
            return wave.unsqueeze(1) if self.layout == "B1N" else wave
        features: Tensor = self.features(self.transform(wave))
        return features


def _filled(wave: Tensor, samples: Samples) -> Tensor:
    """A fixed number of samples: cut, and padded as described."""
    count = samples.count
    if samples.pad == "zeros":
        return functional.pad(wave, (0, count))[:, :count]
    wave = wave[:, :count]
    # As a tensor, by which a graph can divide.
    length = torch.arange(wave.shape[1], device=wave.device)[-1:] + 1
    place = torch.arange(count, device=wave.device)
    times = torch.div(place, length, rounding_mode="floor")
    repeated = wave[:, place - times * length]
    if samples.pad == "repeat":
        return repeated
    return repeated * (times < torch.div(torch.full_like(place, count), length, rounding_mode="floor"))


class DescribedFeatures(nn.Module):
    """STFT [B, T, F, 2] -> what the classifier takes, in the description's layout.

    Raises SourceError for patches and whole numbers, which are for graphs alone.
    """

    bank: Tensor | None
    cosines: Tensor | None
    mean: Tensor | None
    deviation: Tensor | None

    def __init__(self, description: Description) -> None:
        super().__init__()
        stft = description.stft
        if stft is None or description.patches is not None or description.output.dtype != "float32":
            raise SourceError("features without [stft], in patches or in whole numbers are for graphs alone")
        self.bins, self.spectrum = stft.bin_count, stft.spectrum
        self.scale = description.scale if stft.spectrum == "magnitude" else description.scale**2
        self.frames, self.output = description.frames, description.output
        self.log, self.normalise = description.log, description.normalise
        numbers = numbers_of(description, stft)
        self.log_factor = numbers.log
        for name in ("bank", "cosines", "mean", "deviation"):
            values = getattr(numbers, name)
            held = None if values is None else torch.from_numpy(np.ascontiguousarray(values)).float()
            self.register_buffer(name, held, persistent=False)

    def forward(self, stft: Tensor) -> Tensor:
        """Every step after the transform."""
        if self.frames is not None:
            stft = stft[:, : self.frames.count]
        x = stft[:, :, : self.bins].square().sum(dim=3)
        if self.spectrum == "magnitude":
            # Finite gradient where a bin is silent.
            x = torch.sqrt(x + 1e-20)
        x = x * self.scale
        if self.bank is not None:
            x = x @ self.bank
        if self.log is not None:
            x = _logarithm(x, self.log, self.log_factor)
        if self.cosines is not None:
            x = x @ self.cosines
        if self.mean is not None and self.deviation is not None:
            x = (x - self.mean) / self.deviation
        elif self.normalise is not None:
            x = _normalised(x, self.normalise)
        if self.frames is not None:
            count = self.frames.count
            if self.frames.pad == "repeat":
                x = x[:, torch.arange(count, device=x.device) % x.shape[1]]
            else:
                x = functional.pad(x, (0, 0, 0, count), value=self.frames.value)[:, :count]
        return _laid_out(x, self.output)


class _Transform(nn.Module):
    """Waveform [B, N] -> [B, T, F, 2]: frames, what is done to each, and their DFT, as one convolution."""

    def __init__(self, stft: Stft) -> None:
        super().__init__()
        n_fft, width = stft.n_fft, stft.width
        left = (n_fft - width) // 2
        self.hop, self.bins = stft.hop, n_fft // 2 + 1
        self.sides, self.mode = (0, 0), "constant"
        if stft.centring != "none":
            self.sides = (n_fft // 2 - left, n_fft // 2 + width + left - n_fft)
            self.mode = "reflect" if stft.centring == "reflect" else "constant"
        elif stft.frame == "n_fft":
            self.sides = (-left, left + width - n_fft)
        self.kernel: Tensor
        self.register_buffer("kernel", torch.from_numpy(transform_kernel(stft)[:, None]).float(), False)

    def forward(self, waveform: Tensor) -> Tensor:
        row = waveform.unsqueeze(1)
        if any(self.sides):
            row = functional.pad(row, self.sides, mode=self.mode)
        spectrum = functional.conv1d(row, self.kernel, stride=self.hop)
        return spectrum.transpose(1, 2).reshape(spectrum.shape[0], -1, self.bins, 2)


def _logarithm(x: Tensor, log: Log, factor: float) -> Tensor:
    """The logarithm of [B, T, F] >= 0."""

    def of(x: Tensor) -> Tensor:
        if log.kind == "log1p":
            return torch.log1p(x)
        return torch.log(x.clamp(min=log.floor) if log.floor_by == "clip" else x + log.floor) * factor

    built = of(x * log.gain)
    if log.reference == "max":
        built = built - built.amax(dim=(1, 2), keepdim=True)
    elif log.reference != 1.0:
        built = built - of(torch.full_like(x[:1, :1, :1], log.reference))
    if log.range is None:
        return built
    return torch.maximum(built, built.amax(dim=(1, 2), keepdim=True) - log.range)


def _normalised(x: Tensor, how: Normalise) -> Tensor:
    """[B, T, F] less its own mean, by its deviation."""
    axes = [1] if how.over == "bin" else [1, 2]
    shifted = x - x.mean(dim=axes, keepdim=True)
    count = x.shape[1] * (x.shape[2] if how.over == "clip" else 1)
    variance = shifted.square().mean(dim=axes, keepdim=True)
    if how.correction:
        variance = variance * count / (count - 1)
    return shifted / torch.sqrt(variance + how.epsilon)


def _laid_out(x: Tensor, output: Output) -> Tensor:
    """[B, T, F] -> the axes of the layout, frames stacked."""
    axes = output.layout
    if output.stack > 1:
        whole = x.shape[1] // output.stack
        x = x[:, : whole * output.stack].reshape(x.shape[0], whole, output.stack * x.shape[2])
    if axes.index("F") < axes.index("T"):
        x = x.transpose(1, 2)
    if "1" not in axes:
        return x
    axis = axes.index("1")
    return x.unsqueeze(axis) if output.channels == 1 else torch.stack([x] * output.channels, dim=axis)
