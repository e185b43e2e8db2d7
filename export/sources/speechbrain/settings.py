"""The settings of SpeechBrain's ESC-50 interpret recipe that shape the computation, and its filterbank."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ....errors import SourceError
from ....runtime.bundle.manifest import AnalysisSpec
from ...models.mel import filterbank
from .hyperparams import Hyperparams


@dataclass(frozen=True)
class RecipeSettings:
    """The recipe's settings that shape the computation."""

    name: str
    sample_rate: int
    seconds: float
    n_mels: int
    f_min: float
    f_max: float
    analysis: AnalysisSpec


def read_settings(values: Hyperparams, folder: Path) -> RecipeSettings:
    """Settings with the recipe's defaults; what this source does not implement is refused by name."""
    stft, bank = "compute_stft", "compute_fbank"
    rate = values.integer("sample_rate", 16000)
    hop = values.number("hop_length", 11.6099, of=stft)
    window = values.number("win_length", 23.2199, of=stft)
    n_fft = values.integer("n_fft", 1024, of=stft)
    fixed: list[tuple[str, str | None, object]] = [
        ("spec_mag_power", None, 0.5),
        ("use_melspectra_log1p", None, True),
        ("log_mel", bank, False),
        ("filter_shape", bank, "triangular"),
        ("freeze", bank, True),
        ("normalized_stft", stft, False),
        ("center", stft, True),
        ("onesided", stft, True),
        ("pad_mode", stft, "constant"),
        ("norm_type", "embedding_model", "bn"),
    ]
    for key, owner, only in fixed:
        value = values.get(key, only, of=owner)
        if value != only:
            raise SourceError(f"{values.path}: {key} is {value!r}; only {only!r} can be exported")
    if (values.tag("embedding_model") or "Cnn14").rpartition(".")[2] != "Cnn14":
        raise SourceError(
            f"{values.path}: embedding_model is {values.tag('embedding_model')}; Cnn14 is known here; "
            "write an Adapter around other models (docs/adapters.md)"
        )
    hop_samples, window_samples = round(rate / 1000.0 * hop), round(rate / 1000.0 * window)
    if not (0 < hop_samples <= window_samples <= n_fft and n_fft % 2 == 0):
        raise SourceError(
            f"{values.path}: hop_length {hop:g} ms and win_length {window:g} ms do not fit "
            f"n_fft {n_fft} at {rate} Hz"
        )
    name = values.get("experiment_name", folder.resolve().name)
    return RecipeSettings(
        name=name if isinstance(name, str) and name else folder.resolve().name,
        sample_rate=rate,
        seconds=values.number("signal_length_s", 5),
        n_mels=values.integer("n_mels", 80, of=bank),
        f_min=values.number("f_min", 0, of=bank),
        f_max=values.number("f_max", 8000, of=bank),
        analysis=AnalysisSpec(n_fft=n_fft, window_length=window_samples, hop=hop_samples, window="hamming"),
    )


def mel_filterbank(recipe: RecipeSettings) -> torch.Tensor:
    """SpeechBrain's Filterbank as a matrix [F, n_mels] float32.

    Triangles symmetric in Hz: the gap to the left neighbour is used on both sides; no area
    normalisation. Computed in float32 in SpeechBrain's order of operations, to agree bit for bit.
    """
    hz = _mel_points(recipe)
    band, centre = (hz[1:] - hz[:-1])[:-1], hz[1:-1]
    bins = recipe.analysis.n_fft // 2 + 1
    frequency = torch.linspace(0, recipe.sample_rate // 2, bins).repeat(recipe.n_mels, 1)
    slope = (frequency - centre[:, None]) / band[:, None]
    return torch.clamp(torch.minimum(slope + 1.0, -slope + 1.0), min=0.0).transpose(0, 1).contiguous()


def _mel_points(recipe: RecipeSettings) -> torch.Tensor:
    """The n_mels + 2 points in Hz between f_min and f_max, evenly spaced in mel."""
    ends = torch.tensor([recipe.f_min, recipe.f_max], dtype=torch.float64)
    low, high = (2595 * torch.log10(1 + ends / 700)).tolist()
    mel = torch.linspace(low, high, recipe.n_mels + 2)
    points: torch.Tensor = 700 * (10 ** (mel / 2595) - 1)
    return points


def bands_of(recipe: RecipeSettings) -> list[tuple[float, float]]:
    """Nominal bands of x1's rows: 32 mel bands each."""
    hz = _mel_points(recipe).tolist()
    return [(hz[32 * row], hz[32 * (row + 1)]) for row in range(recipe.n_mels // 32)]


def is_usual(recipe: RecipeSettings) -> bool:
    """Whether the recipe's filterbank spans all frequencies, as this package's own does."""
    own = filterbank(recipe.analysis.n_fft, recipe.n_mels, recipe.sample_rate)
    return torch.allclose(mel_filterbank(recipe), own, atol=1e-5)
