"""The tiny model: what most tests explain."""

import pytest


def tiny_adapter(seed: int = 0, *, decoder: bool = True):
    """A compact CNN on log-mel with a decoder, 16 kHz, three classes, seeded random weights.

    Feature map [B, 16, T // 4, 5] over 40 triangular bands; max + mean pooling and a linear head.
    """
    torch = pytest.importorskip("torch")
    from torch import nn

    from earmark.export import Adapter, AnalysisSpec

    analysis = AnalysisSpec(n_fft=512, window_length=400, hop=160, window="hann")
    bins, bands = 257, 40

    class Bands(nn.Module):
        def __init__(self):
            super().__init__()
            edges = torch.linspace(0, bins - 1, bands + 2)
            bin_ = torch.arange(bins).float()[:, None]
            rise = (bin_ - edges[:-2]) / (edges[1:-1] - edges[:-2])
            fall = (edges[2:] - bin_) / (edges[2:] - edges[1:-1])
            self.register_buffer("bank", torch.minimum(rise, fall).clamp(min=0))

        def forward(self, stft):
            power = stft[..., 0] ** 2 + stft[..., 1] ** 2
            return torch.log1p(torch.sqrt(power + 1e-14) @ self.bank)

    class Features(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(1, 8, 3, padding=1, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.AvgPool2d((2, 4)),
                nn.Conv2d(8, 16, 3, padding=1),
                nn.ReLU(),
                nn.AvgPool2d(2),
            )

        def forward(self, features):
            return self.layers(features.unsqueeze(1))

    class Head(nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.linear = linear

        def forward(self, z):
            reduced = z.mean(dim=3)
            return self.linear(reduced.amax(dim=2) + reduced.mean(dim=2))

    class Decoder(nn.Module):
        """Mask [B, T, bins] from the feature map, upsampled, and the band spectrum."""

        def __init__(self):
            super().__init__()
            self.mix = nn.Conv2d(16, 1, 1)
            self.local = nn.Conv2d(1, 1, (3, 5), padding=(1, 2))
            self.spread = nn.Linear(bands, bins)

        def forward(self, z, spectrum):
            coarse = self.mix(z)
            frames = spectrum.shape[1]
            index = torch.clamp(torch.arange(frames) // 4, max=coarse.shape[2] - 1)
            near = coarse.index_select(2, index).repeat_interleave(8, dim=3)
            return torch.sigmoid(self.spread((near + self.local(spectrum.unsqueeze(1))).squeeze(1)))

    torch.manual_seed(seed)
    features, linear = Features(), nn.Linear(16, 3)
    with torch.no_grad():
        features.layers[1].running_mean.uniform_(-0.5, 0.5)
        features.layers[1].running_var.uniform_(0.5, 2.0)
        linear.weight.mul_(6.0)
    step = 8000 / 5
    return Adapter(
        name="tiny",
        labels=["low hum", "whistle", "noise"],
        sample_rate=16000,
        analysis=analysis,
        front_end=Bands(),
        feature_map=features,
        head=Head(linear),
        linear=linear,
        pooling="max_mean",
        decoder=Decoder() if decoder else None,
        window_seconds=1.0,
        minimum_seconds=0.1,
        frame_seconds=4 * 160 / 16000,
        bands_hz=[(row * step, (row + 1) * step) for row in range(5)],
        description="A tiny model with random weights, for tests.",
        licence="Apache-2.0",
        attribution="earmark's tests",
    )
