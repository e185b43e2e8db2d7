"""The settings of SpeechBrain's ESC-50 recipes that shape the computation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ....errors import SourceError
from ....runtime.bundle.manifest import AnalysisSpec
from ...models.mel import filterbank
from .filterbank import Filterbank, FilterbankDefaults, read_spectrum
from .hyperparams import Hyperparams

_USUAL = FilterbankDefaults(n_fft=1024, win_length=23.2199, hop_length=11.6099, n_mels=80, f_max=8000)


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
    filters, analysis = read_spectrum(values, _USUAL, stft=stft, bank=bank, rate=rate)
    name = values.get("experiment_name", folder.resolve().name)
    return RecipeSettings(
        name=name if isinstance(name, str) and name else folder.resolve().name,
        sample_rate=rate,
        seconds=values.number("signal_length_s", 5),
        bank=filters,
        analysis=analysis,
    )


def bands_of(recipe: RecipeSettings) -> list[tuple[float, float]]:
    """Nominal bands of x1's rows: 32 mel bands each."""
    hz = recipe.bank.points().tolist()
    return [(hz[32 * row], hz[32 * (row + 1)]) for row in range(recipe.bank.n_mels // 32)]


def is_usual(recipe: RecipeSettings) -> bool:
    """Whether the recipe's filterbank spans all frequencies, as this package's own does."""
    own = filterbank(recipe.analysis.n_fft, recipe.bank.n_mels, recipe.sample_rate)
    return torch.allclose(recipe.bank.matrix(), own, atol=1e-5)
