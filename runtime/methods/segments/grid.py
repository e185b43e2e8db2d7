"""Where segments lie: stretches of time, bands of frequency, or tiles of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ....errors import AudioError
from ...audio.lengths import samples_of
from ...values.arrays import Values
from ...values.mel import mel_edges
from .settings import SegmentSettings


@dataclass(frozen=True)
class SegmentGrid:
    """T stretches of time by F bands; segment t * F + f is stretch t in band f, M = T F.

    Attributes:
        edges: [T + 1] samples, from 0 to the sound's end.
        bands_hz: [F + 1] from 0 to half the rate.

    """

    edges: npt.NDArray[np.int64]
    bands_hz: Values
    sample_rate: int

    @classmethod
    def of(cls, samples: int, sample_rate: int, settings: SegmentSettings) -> SegmentGrid:
        """The grid of `settings` over a sound. Raises AudioError where it has fewer than two segments."""
        half = 0.5 * sample_rate
        edges = np.array([0, samples], dtype=np.int64)
        bands = np.array([0.0, half])
        if settings.axis != "frequency":
            length = _length(sample_rate, settings)
            if not fits(samples, sample_rate, settings):
                raise AudioError(
                    f"the sound has {samples / sample_rate:.3f} s, which is no two segments of "
                    f"{settings.segment_seconds:g} s: give a longer sound or shorter segments"
                )
            edges = np.append(np.arange(0, samples, length, dtype=np.int64), samples)
        if settings.axis != "time":
            bands = mel_edges(settings.bands, half)
        return cls(edges, bands, sample_rate)

    @property
    def shape(self) -> tuple[int, int]:
        """T and F."""
        return len(self.edges) - 1, len(self.bands_hz) - 1

    @property
    def size(self) -> int:
        """Number of segments M."""
        return self.shape[0] * self.shape[1]

    def spans(self) -> tuple[Values, Values, Values, Values]:
        """start_s, end_s, fmin_hz, fmax_hz, [M] each."""
        stretches, bands = self.shape
        times = self.edges / self.sample_rate
        return (
            np.repeat(times[:-1], bands),
            np.repeat(times[1:], bands),
            np.tile(self.bands_hz[:-1], stretches),
            np.tile(self.bands_hz[1:], stretches),
        )


def fits(samples: int, sample_rate: int, settings: SegmentSettings) -> bool:
    """Whether a sound is longer than a segment, where time is divided at all."""
    return settings.axis == "frequency" or samples > _length(sample_rate, settings)


def _length(sample_rate: int, settings: SegmentSettings) -> int:
    return max(1, samples_of(settings.segment_seconds, sample_rate))
