"""A listener for the tests of the views: fixed random features of a log-spectrogram, and a head fitted to
four kinds of sound. Nothing in it knows what the views look for."""

import numpy as np

RATE, SECONDS = 16000, 2.0
LABELS = ("click", "rhythm", "hum", "chirp")
PITCHES = (140.0, 260.0, 480.0, 900.0, 1600.0)


def hum(random, pitch, gain=0.12):
    """Four harmonics with random phases."""
    time = np.arange(int(SECONDS * RATE)) / RATE
    parts = [
        weight * np.sin(2 * np.pi * pitch * order * time + random.uniform(0, 2 * np.pi))
        for order, weight in enumerate((1.0, 0.5, 0.3, 0.15), 1)
    ]
    return gain * random.uniform(0.7, 1.3) * np.sum(parts, axis=0)


def burst(random, at, length, gain):
    """Noise that dies away, from `at` seconds on."""
    wave = np.zeros(int(SECONDS * RATE))
    start = int(at * RATE)
    count = min(int(length * RATE), len(wave) - start)
    wave[start : start + count] = (
        gain * random.standard_normal(count) * np.exp(-4 * np.arange(count) / (length * RATE))
    )
    return wave


def draw(label, pitch, random):
    """A sound of that kind over a hum of that pitch; "hum" is the hum alone."""
    wave = hum(random, pitch) + 0.003 * random.standard_normal(int(SECONDS * RATE))
    if label == "click":
        wave += burst(random, random.uniform(0.3, 1.7), 0.03, 0.5)
    elif label == "rhythm":
        gap = 1 / random.choice((3.0, 5.0))
        for at in np.arange(random.uniform(0, gap), SECONDS - 0.1, gap):
            wave += burst(random, at, 0.08, 0.3)
    elif label == "chirp":
        low, high = random.uniform(200, 400), random.uniform(3000, 6000)
        ends = (low, high) if random.random() < 0.5 else (high, low)
        share = np.linspace(0, 1, int(1.2 * RATE))
        phase = 2 * np.pi * np.cumsum(ends[0] * (ends[1] / ends[0]) ** share) / RATE
        start = int(random.uniform(0, 0.8) * RATE)
        wave[start : start + len(share)] += 0.35 * np.sin(phase) * np.sqrt(np.sin(np.pi * share))
    return np.clip(wave, -1, 1).astype(np.float32)


def adapter(seed=0):
    """The model as an `Adapter`."""
    import torch
    from torch import nn

    from earmark.export.sources.adapter.adapter import Adapter
    from earmark.runtime.bundle.manifest import AnalysisSpec

    bins, bands, channels = 257, 48, 64
    edges = np.geomspace(60, 7900, bands + 2)

    class Bands(nn.Module):
        def __init__(self):
            super().__init__()
            at = np.linspace(0, RATE / 2, bins)[:, None]
            rise, fall = (at - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - at) / np.diff(edges)[1:]
            bank = np.maximum(np.minimum(rise, fall), 0)
            # Bands narrower than a bin take their nearest one.
            bank[np.abs(at - edges[1:-1]).argmin(axis=0), np.arange(bands)] += 1e-3
            self.register_buffer("bank", torch.tensor(bank / bank.sum(axis=0), dtype=torch.float32))

        def forward(self, stft):
            power = stft[..., 0] ** 2 + stft[..., 1] ** 2
            return torch.log(power @ self.bank + 1e-4) / 4

    class Features(nn.Module):
        """Two layers of random filters that also see how high a band lies."""

        def __init__(self):
            super().__init__()
            height = torch.linspace(-1, 1, bands)
            self.register_buffer("height", torch.stack((height, torch.cos(3 * height)))[None, :, None])
            self.first = nn.Conv2d(3, 24, 3, padding=1)
            self.second = nn.Conv2d(24, channels, 3, padding=1)
            self.pool = nn.AvgPool2d(2)

        def forward(self, features):
            where = self.height.expand(features.shape[0], -1, features.shape[1], -1)
            x = torch.cat((features.unsqueeze(1), where), dim=1)
            return torch.relu(self.second(self.pool(torch.relu(self.first(x)))))

    class Head(nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.linear = linear

        def forward(self, z):
            over_time = z.mean(dim=3)
            return self.linear(over_time.amax(dim=2) + over_time.mean(dim=2))

    torch.manual_seed(seed)
    front, features, linear = Bands(), Features(), nn.Linear(channels, len(LABELS))
    for layer in (features.first, features.second):
        nn.init.normal_(layer.weight, std=1.5 / np.sqrt(layer.weight[0].numel()))
    random = np.random.default_rng(seed)
    kinds = [kind for kind in range(len(LABELS)) for _ in range(24)]
    pitches = np.exp(random.uniform(np.log(PITCHES[0]), np.log(PITCHES[-1]), len(kinds)))
    sounds = np.stack([draw(LABELS[kind], pitch, random) for kind, pitch in zip(kinds, pitches, strict=True)])
    window = torch.hann_window(400)
    with torch.no_grad():
        stft = torch.stft(
            torch.tensor(sounds), 512, 160, 400, window, return_complex=True, pad_mode="constant"
        )
        z = features(front(torch.view_as_real(stft.transpose(1, 2))))
        pooled = (z.mean(3).amax(2) + z.mean(3).mean(2)).double().numpy()
        centred = pooled - pooled.mean(0)
        wanted = np.eye(len(LABELS))[kinds] * 8
        ridge = centred.T @ centred + 1e-2 * np.eye(channels) * np.trace(centred.T @ centred) / channels
        weight = np.linalg.solve(ridge, centred.T @ (wanted - wanted.mean(0))).T
        linear.weight.copy_(torch.tensor(weight))
        linear.bias.copy_(torch.tensor(wanted.mean(0) - weight @ pooled.mean(0)))
    rows = bands // 2
    return Adapter(
        name="four kinds",
        labels=list(LABELS),
        sample_rate=RATE,
        analysis=AnalysisSpec(n_fft=512, window_length=400, hop=160, window="hann"),
        front_end=front,
        feature_map=features,
        head=Head(linear),
        linear=linear,
        pooling="max_mean",
        window_seconds=SECONDS + 0.2,
        minimum_seconds=0.1,
        frame_seconds=2 * 160 / RATE,
        bands_hz=[(float(edges[2 * row]), float(edges[2 * row + 3])) for row in range(rows)],
        description="Random features of a log-spectrogram with a fitted head, for tests.",
        licence="Apache-2.0",
        attribution="earmark's tests",
    )
