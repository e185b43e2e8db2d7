"""What a masked segment is filled with, and a sound's bands."""

from __future__ import annotations

import math

import numpy as np

from ...audio.lengths import samples_of
from ...values.arrays import FloatArray
from .grid import SegmentGrid
from .settings import SegmentSettings

# Ambience: taps of the filter that gives noise its spectrum, and the share of the clip it is taken from.
_TAPS = 512
_QUIET = 0.5
# Ambience is looked for in pieces of this length.
_PIECE_SECONDS = 0.1


class Filler:
    """Fills for one sound, drawn anew for every batch."""

    def __init__(
        self, waveform: FloatArray, grid: SegmentGrid, settings: SegmentSettings, random: np.random.Generator
    ) -> None:
        """`waveform`: [N] float32; `random` belongs to the explanation."""
        self._kind, self._grid, self._random = settings.fill, grid, random
        self._samples = waveform.size
        self._mean = float(waveform.mean(dtype=np.float64))
        self._deviation = in_bands(waveform, grid).std(axis=1, keepdims=True)
        self._material = self._make(waveform, settings)

    def draw(self) -> FloatArray:
        """[F, N]: the bands of what the next batch is filled with."""
        if self._kind not in {"ambience", "noise", "background"}:
            return self._material
        start = int(self._random.integers(self._material.shape[1] - self._samples + 1))
        piece = self._material[:, start : start + self._samples]
        if self._kind != "noise":
            return piece
        scale = self._deviation * np.float32(self._random.uniform(0.1, 1.0))
        level = self._mean if len(piece) == 1 else 0.0
        return np.asarray(piece * scale + np.float32(level), np.float32)

    def _make(self, waveform: FloatArray, settings: SegmentSettings) -> FloatArray:
        """[F, n]: the material of which each batch takes a piece at random."""
        samples, bands = self._samples, self._grid.shape[1]
        if self._kind == "background":
            return in_bands(np.resize(np.asarray(settings.background, np.float32), 2 * samples), self._grid)
        if self._kind in {"zeros", "mean"}:
            level = self._mean if self._kind == "mean" and bands == 1 else 0.0
            return np.full((bands, samples), level, np.float32)
        # A power of two, which transforms fast, with room for pieces that differ.
        length = 1 << math.ceil(math.log2(1.5 * samples))
        noise = self._random.standard_normal(length, dtype=np.float32)
        if self._kind == "ambience":
            return in_bands(ambient(waveform, noise, self._grid.sample_rate), self._grid)
        split = in_bands(noise, self._grid)
        return np.asarray(split / np.maximum(split.std(axis=1, keepdims=True), 1e-12), np.float32)


def ambient(waveform: FloatArray, noise: FloatArray, sample_rate: int) -> FloatArray:
    """White `noise` [n] of deviation 1, coloured and levelled like the quieter half of `waveform` [N].

    The quieter half: those stretches of 0.1 s whose energy is not above the median. What is loud, and so
    perhaps the evidence, has no part in it.
    """
    length = max(2, min(samples_of(_PIECE_SECONDS, sample_rate), waveform.size // 2))
    pieces = waveform[: waveform.size // length * length].reshape(-1, length)
    energy = np.square(pieces).mean(axis=1)
    quiet = pieces[np.argsort(energy, kind="stable")[: max(1, round(_QUIET * len(pieces)))]]
    taps = min(_TAPS, length)
    frames = quiet[:, : length // taps * taps].reshape(-1, taps)
    window = np.hanning(taps + 2)[1:-1].astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(frames * window, axis=1))).mean(axis=0) / np.square(window).sum()
    shape = np.fft.fftshift(np.fft.irfft(np.sqrt(power), n=taps)).astype(np.float32)
    # Around the ring: noise has neither beginning nor end.
    coloured = np.fft.rfft(noise) * np.fft.rfft(shape, n=noise.size)
    return np.asarray(np.fft.irfft(coloured, n=noise.size), np.float32)


def in_bands(waveform: FloatArray, grid: SegmentGrid) -> FloatArray:
    """[F, n] bands that add up to `waveform` [n]: zero-phase, with raised-cosine crossovers.

    A crossover spans half of the narrower of the two bands that it parts.
    """
    edges = grid.bands_hz
    if len(edges) == 2:
        return waveform[None]
    spectrum = np.fft.rfft(waveform)
    frequencies = np.fft.rfftfreq(waveform.size, 1.0 / grid.sample_rate)
    widths = np.diff(edges)
    # above[k]: how much of each frequency lies above edge k.
    above = [np.ones_like(frequencies)]
    for index in range(1, len(edges) - 1):
        span = 0.5 * min(widths[index - 1], widths[index])
        place = np.clip((frequencies - edges[index]) / span + 0.5, 0.0, 1.0)
        above.append(0.5 - 0.5 * np.cos(np.pi * place))
    above.append(np.zeros_like(frequencies))
    parts = np.stack([above[band] - above[band + 1] for band in range(len(edges) - 1)])
    return np.asarray(np.fft.irfft(spectrum * parts, n=waveform.size, axis=1), np.float32)
