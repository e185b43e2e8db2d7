"""SpeechBrain's STFT and Filterbank, as settings tell them, and the bank as a matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ....errors import SourceError
from ....runtime.bundle.manifest import AnalysisSpec
from .hyperparams import Hyperparams


@dataclass(frozen=True)
class Filterbank:
    """Triangles symmetric in Hz, evenly spaced in mel: the gap to the left neighbour is used on both sides.

    sample_rate, f_min, f_max: Hz; n_fft: samples; n_mels: bands
    """

    sample_rate: int
    n_fft: int
    n_mels: int
    f_min: float
    f_max: float

    def points(self) -> torch.Tensor:
        """The n_mels + 2 points in Hz between f_min and f_max, evenly spaced in mel."""
        ends = torch.tensor([self.f_min, self.f_max], dtype=torch.float64)
        low, high = (2595 * torch.log10(1 + ends / 700)).tolist()
        mel = torch.linspace(low, high, self.n_mels + 2)
        points: torch.Tensor = 700 * (10 ** (mel / 2595) - 1)
        return points

    def matrix(self) -> torch.Tensor:
        """[F, n_mels] float32; no area normalisation.

        Computed in float32 in SpeechBrain's order of operations, to agree bit for bit.
        """
        hz = self.points()
        band, centre = (hz[1:] - hz[:-1])[:-1], hz[1:-1]
        frequency = torch.linspace(0, self.sample_rate // 2, self.n_fft // 2 + 1).repeat(self.n_mels, 1)
        slope = (frequency - centre[:, None]) / band[:, None]
        return torch.clamp(torch.minimum(slope + 1.0, -slope + 1.0), min=0.0).transpose(0, 1).contiguous()


@dataclass(frozen=True)
class FilterbankDefaults:
    """Defaults of the settings; win_length, hop_length: milliseconds, f_max: Hz, None: half the rate."""

    n_fft: int
    win_length: float
    hop_length: float
    n_mels: int
    f_max: float | None = None


def read_spectrum(
    values: Hyperparams, usual: FilterbankDefaults, *, stft: str, bank: str, rate: int
) -> tuple[Filterbank, AnalysisSpec]:
    """Filterbank and STFT by the settings of the objects `bank` and `stft`. Raises SourceError."""
    window = values.number("win_length", usual.win_length, of=stft)
    hop = values.number("hop_length", usual.hop_length, of=stft)
    n_fft = values.integer("n_fft", usual.n_fft, of=stft)
    samples, step = round(rate / 1000.0 * window), round(rate / 1000.0 * hop)
    if not (0 < step <= samples <= n_fft and n_fft % 2 == 0):
        raise SourceError(
            f"{values.path}: hop_length {hop:g} ms and win_length {window:g} ms do not fit n_fft {n_fft} at "
            f"{rate} Hz"
        )
    highest = rate // 2 if usual.f_max is None else usual.f_max
    return (
        Filterbank(
            sample_rate=rate,
            n_fft=n_fft,
            n_mels=values.integer("n_mels", usual.n_mels, of=bank),
            f_min=values.number("f_min", 0, of=bank),
            f_max=values.number("f_max", highest, of=bank),
        ),
        AnalysisSpec(n_fft=n_fft, window_length=samples, hop=step, window="hamming"),
    )
