"""The mel scale m = 2595 log10(1 + f / 700)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .arrays import Values


def mel_of(hz: npt.ArrayLike) -> Values:
    """Frequencies in Hz on the mel scale."""
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hz, np.float64) / 700.0))


def hz_of_mel(value: npt.ArrayLike) -> Values:
    """Mel as frequencies in Hz."""
    return np.asarray(700.0 * (10.0 ** (np.asarray(value, np.float64) / 2595.0) - 1.0))


def mel_edges(bands: int, highest_hz: float) -> Values:
    """[bands + 1] edges in Hz from 0 to `highest_hz`, equally wide on the mel scale."""
    return hz_of_mel(np.linspace(0.0, mel_of(highest_hz), bands + 1))
