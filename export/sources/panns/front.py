"""The front end of a PANNs checkpoint: its window and mel bands say which; where the network's rows lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from ....errors import SourceError
from ....runtime.bundle.manifest import AnalysisSpec
from ....runtime.values.arrays import Values
from ...frontends.description import Description
from ...frontends.matrices import mel_matrix
from ..onnx.frontends import describe

_SAME = 1e-3
# What the released models' front ends differ in.
_RATES: dict[int, tuple[int, int, float]] = {
    1024: (32000, 320, 14000.0),
    512: (16000, 160, 8000.0),
    256: (8000, 80, 4000.0),
}


@dataclass(frozen=True)
class Front:
    """The front end, its STFT, and its mel bands [F, M]."""

    description: Description
    analysis: AnalysisSpec
    bank: Values

    def rows(self, strides: Sequence[int]) -> list[list[tuple[float, float, float]]]:
        """For each stride the (low, centre, high) of its rows in Hz: means of as many neighbouring bands."""
        bins, bands = self.bank.shape
        hz = np.arange(bins) * self.description.sample_rate / (2 * (bins - 1))
        return [
            [_row(hz, self.bank[:, at : at + step].sum(axis=1)) for at in range(0, bands - step + 1, step)]
            for step in strides
        ]


def _row(hz: Values, weights: Values) -> tuple[float, float, float]:
    """Where a row's weights [F] lie."""
    inside = hz[weights > 0]
    return float(inside[0]), float((weights * hz).sum() / weights.sum()), float(inside[-1])


def front_of(path: Path, kernel: Tensor, bank: Tensor) -> Front:
    """The front end whose window and mel bands the checkpoint holds. Raises SourceError where none has."""
    n_fft = int(kernel.shape[-1])
    if n_fft not in _RATES:
        raise SourceError(
            f"{path}: a window of {n_fft} samples; PANNs have {', '.join(map(str, _RATES))}; write an Adapter"
        )
    rate, hop, high = _RATES[n_fft]
    front = describe(
        "panns",
        {
            "sample_rate": rate,
            "stft": {"n_fft": n_fft, "hop": hop},
            "mel": {"bins": int(bank.shape[1]), "high_hz": high},
        },
    )
    analysis = front.analysis
    assert analysis is not None  # noqa: S101 (torchlibrosa's STFT is centred and periodic)
    expected = mel_matrix(front.description)
    largest = float(np.abs(expected).max())
    if bank.shape != expected.shape or float(np.abs(bank.numpy() - expected).max()) > _SAME * largest:
        raise SourceError(
            f"{path}: key 'logmel_extractor.melW' is not the mel bands of PANNs at {rate} Hz (50 to "
            f"{high:g} Hz); write an Adapter around the model (docs/adapters.md)"
        )
    return Front(front.description, analysis, expected)
