"""Where the cells of a classifier's feature maps lie in time and frequency: what a decoder must know."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np
import torch

from .mel import mel_points

# Tones that a map is probed with; between two of them a row's place is interpolated.
_TONES = 64
# Below this correlation of a row's index with its pitch, the map has no frequency axis.
_ORDERED = 0.9


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """One feature map [B, channels, T', rows]: every cell spans `stride` frames of the listenable STFT.

    hz: the centre of each row in Hz, rising; empty where the last axis is not one of frequency.
    """

    tap: str
    channels: int
    rows: int
    stride: int
    hz: list[float]


def stretched(x: torch.Tensor, coarse: int, rows: int, fine: int = 1) -> torch.Tensor:
    """[B, C, t, ...] -> [B, C, rows, ...]: rows of `coarse` frames each, repeated for rows of `fine` frames.

    The last one fills what is missing.
    """
    index = torch.arange(rows, device=x.device)
    if (coarse, fine) != (1, 1):
        # t * fine // coarse, which is a dozen operators of a graph; a half keeps quotients off whole numbers.
        index = ((index.to(torch.float32) * fine + 0.5) / coarse).to(torch.int64)
    return x.index_select(2, torch.clamp(index, max=x.shape[2] - 1))


def mel_rows(mels: int, sample_rate: int, rows: int, pooled: int) -> list[float]:
    """Centres in Hz of `rows` rows, each the mean of `pooled` neighbouring mel bands; the rest is cut off."""
    centres = mel_points(mels, sample_rate)[1:-1].tolist()
    return [float(np.mean(centres[row * pooled : (row + 1) * pooled])) for row in range(rows)]


def measure_scales(
    taps_of: Callable[[torch.Tensor], Mapping[str, torch.Tensor]], frames: int, samples: int, sample_rate: int
) -> list[Scale]:
    """Find out by tones in noise where the rows of every four-axis tap lie, finest map first.

    taps_of: waveform [B, N] -> taps by name, those of shape [B, C, T', F'] are scales
    frames: of the listenable STFT for a sound of `samples`
    A tone's answer is what a row's mean absolute value gains over noise alone; a row lies at the centre
    of its answers over the mel scale, weighed by their fourth power: a deep row answers far and wide.
    """
    time = torch.arange(samples, dtype=torch.float64) / sample_rate
    noise = 0.01 * torch.randn(samples, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pitches = mel_points(_TONES, sample_rate)[1:-1]
    tones = 0.3 * torch.sin(2.0 * torch.pi * pitches[:, None] * time) + noise
    with torch.no_grad():
        quiet = {n: tap for n, tap in taps_of(noise[None].float()).items() if tap.dim() == 4}
        gained: dict[str, list[torch.Tensor]] = {name: [] for name in quiet}
        for tone in tones:
            taps = taps_of(tone[None].float())
            for name, tap in quiet.items():
                gained[name].append((taps[name] - tap).abs().mean(dim=(0, 1, 2)))
    scales = [
        Scale(
            tap=name,
            channels=tap.shape[1],
            rows=tap.shape[3],
            stride=max(1, round(frames / tap.shape[2])),
            hz=_centres(torch.stack(gained[name]).double().numpy(), pitches.numpy()),
        )
        for name, tap in quiet.items()
    ]
    return sorted(scales, key=lambda scale: (scale.stride, -scale.rows))


def _centres(answers: np.ndarray, pitches: np.ndarray) -> list[float]:
    """Answers [tones, rows] -> centre of each row in Hz, rising; empty where rows are not in order."""
    rows = answers.shape[1]
    weights = answers**4
    if rows < 2 or not (weights.sum(0) > 0).all():
        return []
    pitch = np.arange(len(pitches), dtype=np.float64)
    centre = (weights * pitch[:, None]).sum(0) / weights.sum(0)
    if np.corrcoef(centre, np.arange(rows))[0, 1] < _ORDERED:
        return []
    rising = np.maximum.accumulate(centre) + 1e-3 * np.arange(rows)
    return [round(float(hz), 1) for hz in np.interp(rising, pitch, pitches)]
