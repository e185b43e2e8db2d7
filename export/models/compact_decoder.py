"""A light L-MAC decoder for any classifier with feature maps: coarse to fine, half the grid, sub-pixels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from ...runtime.values.mel import mel_of
from ..graphs.stft import magnitude
from .mel import filterbank, interpolation, mel_points, warp_of
from .scales import Scale, stretched

# Over a classifier of features: what the mask's logits are multiplied by, and the floor of magnitudes.
_STEEP, _FLOOR = 4.0, 1e-4


class Refine(nn.Module):
    """Depthwise 3x3 and pointwise convolution with batch norm, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, T, M] -> the same shape."""
        return functional.relu(x + self.norm(self.pointwise(self.depthwise(x))))


def spread(given: Sequence[float], wanted: Sequence[float], rows: int, columns: int) -> torch.Tensor:
    """[rows, columns]: linear interpolation, in mel, from rows at `given` Hz to places at `wanted` Hz.

    Beyond the first and last row the nearest holds. Where either has no places, all rows speak alike.
    """
    if not given or not wanted:
        return torch.full((rows, columns), 1.0 / rows)
    have, want = (torch.from_numpy(mel_of(hz)) for hz in (given, wanted))
    return interpolation(have, want).to(torch.float32)


class CompactDecoder(nn.Module):
    """(spectrum, *maps, target) -> mask [B, T, F] in 0..1, for any number of frames T.

    spectrum: log-mel [B, T, bands] as `LogMel` makes it, or with `from_stft` the listenable STFT
        [B, T, F, 2]; the mask is drawn on these bands, an even number, and then spread over the bins
    maps: [B, C, T', F'] of `scales`, coarsest first
    target: class indices [B], the class whose evidence is asked for

    From the coarsest scale to the finest: what the coarser scale says is repeated, the scale's own
    feature map is added through a 1x1 convolution, both are refined. The target scales and shifts the
    coarsest channels. The last step has half of the mask's resolution in time and in bands, looks at
    the spectrum four cells at a time, and answers for four cells at a time: full resolution would
    cost four times as much and see nothing more.

    on_features: over a classifier of features (log-mel as a rule). A logarithm hardly tells 0.8 from 1,
    so a mask's logits, learnt from the same steps, must reach further: they count four times. And what is
    quiet counts as well, so the logarithm itself is seen, not log1p. Both it and the maps are
    standardised, since channels of tokens differ by a factor of ten and more.
    """

    def __init__(
        self,
        scales: Sequence[Scale],
        n_fft: int,
        sample_rate: int,
        classes: int,
        *,
        bands: int,
        width: int,
        coarse: int,
        from_stft: bool,
        on_features: bool = False,
    ) -> None:
        super().__init__()
        if bands % 2:
            raise ValueError(f"{bands} bands: must be even")
        halves = mel_points(bands, sample_rate)[1:-1].reshape(-1, 2).mean(dim=1).tolist()
        # Where the finest map has the cells of the last step already, the two are one.
        self.meets = scales[-1].stride == 2 and scales[-1].rows == bands // 2 and bool(scales[-1].hz)
        steps = [(scale.stride, scale.rows, scale.hz) for scale in scales]
        if not self.meets:
            steps.append((2, bands // 2, halves))
        self.strides = [max(2, stride) for stride, _, _ in steps]
        # A map with every frame is halved first, since the last step has half of the frames.
        self.halved = [scale.stride < 2 for scale in scales]
        # Coarse maps have few cells and many channels to understand; fine ones many cells.
        doubled = min(coarse, len(steps) - 1)
        inner = [width * 2] * doubled + [width] * (len(steps) - doubled)
        self.lateral = nn.ModuleList(
            nn.Conv2d(scale.channels, channels, 1) for scale, channels in zip(scales, inner, strict=False)
        )
        self.narrow = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1, bias=False) for inputs, outputs in pairwise(inner)
        )
        self.refine = nn.ModuleList(Refine(channels) for channels in inner)
        self.spectrum = nn.Conv2d(4, width, 1)
        self.final = Refine(width)
        self.out = nn.Conv2d(width, 4, 1)
        self.steepness = _STEEP if on_features else 1.0
        # Begin with most of the sound kept: from an empty mask nothing is learnt.
        nn.init.constant_(self.out.bias, 1.0 / self.steepness)  # type: ignore[arg-type]
        # Of the maps, and of the spectrum; none elsewhere.
        channels = [*(scale.channels for scale in scales), 1] if on_features else []
        self.standard = nn.ModuleList(nn.BatchNorm2d(count, affine=False) for count in channels)
        self.target = nn.Embedding(classes, 2 * inner[0])
        nn.init.normal_(self.target.weight, std=0.1)
        for index, ((_, rows, given), (_, columns, wanted)) in enumerate(pairwise(steps)):
            self.register_buffer(f"bands{index}", spread(given, wanted, rows, columns), persistent=False)
        self.warp: torch.Tensor
        self.register_buffer("warp", warp_of(n_fft, bands, sample_rate), persistent=False)
        self.bank: torch.Tensor | None
        self.register_buffer(
            "bank", filterbank(n_fft, bands, sample_rate) if from_stft else None, persistent=False
        )

    def logits(self, spectrum: torch.Tensor, *maps_and_target: torch.Tensor) -> torch.Tensor:
        """The mask's logits [B, T, bands] on the mel bands."""
        *maps, target = maps_and_target
        logmel = spectrum if self.bank is None else self._logmel(magnitude(spectrum) @ self.bank)
        maps = [norm(one) for norm, one in zip(self.standard, maps, strict=False)] or maps
        half = (logmel.shape[1] + 1) // 2
        scale, shift = self.target(target)[:, :, None, None].chunk(2, dim=1)
        seen = self.seen(logmel)
        x: torch.Tensor | None = None
        for index, feature_map in enumerate(maps):
            halved = functional.avg_pool2d(feature_map, (2, 1)) if self.halved[index] else feature_map
            here: torch.Tensor = self.lateral[index](halved)
            if x is None:
                here = here * (1.0 + scale) + shift
            last = self.meets and index == len(maps) - 1
            rows = half if last else here.shape[2]
            here = stretched(here, 1, rows) + seen if last else here
            here = here if x is None else here + self._finer(x, index, rows)
            x = self.refine[index](functional.relu(here))
        if x is None:
            raise ValueError("no feature maps")
        if not self.meets:
            x = self.refine[-1](functional.relu(seen + self._finer(x, len(maps), half)))
        drawn = functional.pixel_shuffle(self.out(self.final(x)), 2).squeeze(1)[:, : logmel.shape[1]]
        return drawn if self.steepness == 1.0 else self.steepness * drawn

    def _logmel(self, mel: torch.Tensor) -> torch.Tensor:
        """Magnitudes [B, T, bands] -> what is seen of them."""
        if not self.standard:
            return torch.log1p(mel)
        standard: torch.Tensor = self.standard[-1](torch.log(mel + _FLOOR).unsqueeze(1))
        return standard.squeeze(1)

    def seen(self, logmel: torch.Tensor) -> torch.Tensor:
        """[B, T, bands] -> [B, width, ceil(T / 2), bands / 2]: what is seen of four cells at a time.

        As the 1x1 convolution `spectrum` of the cells side by side as channels, without laying them so.
        """
        patches = self.spectrum.weight.reshape(-1, 1, 2, 2)
        even = stretched(logmel.unsqueeze(1), 1, logmel.shape[1] + logmel.shape[1] % 2)
        return functional.conv2d(even, patches, self.spectrum.bias, stride=2)

    def _finer(self, x: torch.Tensor, index: int, rows: int) -> torch.Tensor:
        """What scale `index - 1` says, narrowed and laid out over the cells of scale `index`."""
        # Narrowed before it is repeated: a fraction of the cost.
        narrow: torch.Tensor = self.narrow[index - 1](x) @ getattr(self, f"bands{index - 1}")
        return stretched(narrow, self.strides[index - 1], rows, self.strides[index])

    def to_bins(self, drawn: torch.Tensor) -> torch.Tensor:
        """[B, T, bands] -> [B, T, F]: linear between the centres of the bands."""
        return drawn @ self.warp

    def forward(self, spectrum: torch.Tensor, *maps_and_target: torch.Tensor) -> torch.Tensor:
        """Spectrum, maps and target -> mask [B, T, F]."""
        return self.to_bins(torch.sigmoid(self.logits(spectrum, *maps_and_target)))
