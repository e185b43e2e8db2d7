"""A classifier that earmark did not make: linear frequency, odd strides, three classes of 8 kHz sound.

Its weights, and a decoder's for any class over it, are kept in weights/; see weights/build.py.
"""

from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import nn

from earmark.export.source.source import Source
from earmark.export.sources.adapter.adapter import Adapter
from earmark.export.sources.adapter.source import from_adapter
from earmark.runtime.bundle.manifest import AnalysisSpec

RATE = 8000
ANALYSIS = AnalysisSpec(n_fft=256, window_length=200, hop=80, window="hann")
LABELS = ("high", "low", "noise")
# Hz that a class's tones begin at; they reach a quarter further up.
TONES = {"high": 2500.0, "low": 400.0}
WEIGHTS = Path(__file__).with_name("weights")


class Linear(nn.Module):
    """Linear-frequency log-magnitudes: no mel scale anywhere."""

    def forward(self, spectrum):
        return torch.log1p(torch.sqrt(spectrum.square().sum(-1) + 1e-14))[:, :, 1:]


class Body(nn.Module):
    """Three scales of odd strides: (3, 4), then (2, 2) twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 12, 5, (3, 4), 2), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(12, 20, 3, 2, 1), nn.ReLU())
        self.third = nn.Sequential(nn.Conv2d(20, 28, 3, 2, 1), nn.ReLU())

    def forward(self, features):
        return self.third(self.second(self.first(features.unsqueeze(1))))


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(28, 3)

    def forward(self, z):
        return self.linear(z.mean(dim=(2, 3)))


def stranger(**changes) -> Source:
    """The model with random weights, as a source; `changes`: fields of its `Adapter`."""
    torch.manual_seed(3)
    given = {
        "name": "stranger",
        "labels": list(LABELS),
        "sample_rate": RATE,
        "front_end": Linear(),
        "feature_map": Body(),
        "head": Pooled(),
        "analysis": ANALYSIS,
        "window_seconds": 1.0,
        "minimum_seconds": 0.25,
        "scales": ["first", "second"],
    }
    return from_adapter(Adapter(**{**given, **changes}), "stranger")


def taught() -> Source:
    """The model with the weights that are kept: it knows its classes."""
    from safetensors.torch import load_file

    source = stranger()
    source.classifier.load_state_dict(load_file(WEIGHTS / "stranger_classifier.safetensors"))
    return source


def sound(label: str, random: np.random.Generator) -> np.ndarray:
    """A second of noise, for tones a quiet one with a tone somewhere in it."""
    time = np.arange(RATE) / RATE
    noise = random.standard_normal(RATE)
    if label not in TONES:
        return 0.09 * noise
    start = random.uniform(0.0, 0.6)
    tone = np.sin(2 * np.pi * TONES[label] * random.uniform(1.0, 1.25) * time)
    return 0.03 * noise + 0.3 * tone * (time >= start) * (time < start + random.uniform(0.3, 0.6))


def write_sounds(folder: Path, clips: int, seed: int = 0) -> Path:
    """Class folders of `clips` sounds each, every one a recording of its own."""
    random = np.random.default_rng(seed)
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for index in range(clips):
            soundfile.write(folder / label / f"{label}{index}x.wav", sound(label, random), RATE)
    return folder


def inputs_of(source: Source, form, seconds: float | None = None) -> list[torch.Tensor]:
    """What a decoder of that form reads of some noise."""
    samples = round((seconds or source.window.seconds) * source.sample_rate)
    waveform = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        given = source.forward_pass(waveform)
    return [given[name] for name in form.inputs]
