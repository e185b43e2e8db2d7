"""The settings of SpeechBrain's ESC-50 recipes that shape the computation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ....errors import SourceError
from ....runtime.bundle.manifest import AnalysisSpec
from ...models.mel import filterbank
from .filterbank import Filterbank
from .hyperparams import Hyperparams


@dataclass(frozen=True)
class RecipeSettings:
    """The recipe's settings that shape the computation."""

    name: str
    sample_rate: int
    seconds: float
    bank: Filterbank
    analysis: AnalysisSpec


def read_settings(values: Hyperparams, folder: Path) -> RecipeSettings:
    """Settings with the recipe's defaults; what this source does not implement is refused by name."""
    stft, bank = "compute_stft", "compute_fbank"
    rate = values.integer("sample_rate", 16000)
    hop = values.number("hop_length", 11.6099, of=stft)
    window = values.number("win_length", 23.2199, of=stft)
    n_fft = values.integer("n_fft", 1024, of=stft)
    only: list[tuple[str, str | None, object]] = [
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
    values.fixed(only)
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
        bank=Filterbank(
            sample_rate=rate,
            n_fft=n_fft,
            n_mels=values.integer("n_mels", 80, of=bank),
            f_min=values.number("f_min", 0, of=bank),
            f_max=values.number("f_max", 8000, of=bank),
        ),
        analysis=AnalysisSpec(n_fft=n_fft, window_length=window_samples, hop=hop_samples, window="hamming"),
    )


def bands_of(recipe: RecipeSettings) -> list[tuple[float, float]]:
    """Nominal bands of x1's rows: 32 mel bands each."""
    hz = recipe.bank.points().tolist()
    return [(hz[32 * row], hz[32 * (row + 1)]) for row in range(recipe.bank.n_mels // 32)]


def is_usual(recipe: RecipeSettings) -> bool:
    """Whether the recipe's filterbank spans all frequencies, as this package's own does."""
    own = filterbank(recipe.analysis.n_fft, recipe.bank.n_mels, recipe.sample_rate)
    return torch.allclose(recipe.bank.matrix(), own, atol=1e-5)
