"""Changes of a sound that a listener hardly hears, and that should hardly change an explanation."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...runtime.values.arrays import FloatArray

# A waveform [n] and its rate -> a waveform [n].
Change = Callable[[FloatArray, int, np.random.Generator], FloatArray]


@dataclass(frozen=True, slots=True)
class Changed:
    """A change by its name; `delay_s`: how much later the sound is, by which masks are compared."""

    name: str
    apply: Change
    delay_s: float = 0.0


def _gain(sound: FloatArray, _rate: int, _random: np.random.Generator) -> FloatArray:
    return sound * np.float32(10.0 ** (-12.0 / 20.0))


def _noise(sound: FloatArray, _rate: int, random: np.random.Generator) -> FloatArray:
    """White noise 40 dB below the sound, at the edge of hearing beside it."""
    level = float(np.sqrt(np.mean(sound.astype(np.float64) ** 2))) * 0.01
    return (sound + level * random.standard_normal(len(sound))).astype(np.float32)


def _resampled(sound: FloatArray, rate: int, _random: np.random.Generator) -> FloatArray:
    """To another rate, up by 147 / 160 of twice its own, and back."""
    import soxr

    between = rate * 147 / 80
    there = soxr.resample(sound, rate, between)
    return _of_length(soxr.resample(there, between, rate), len(sound))


def _coded(container: str, coding: str) -> Change:
    def change(sound: FloatArray, rate: int, _random: np.random.Generator) -> FloatArray:
        import soundfile

        file = io.BytesIO()
        peak = max(1.0, float(np.abs(sound).max(initial=0.0)))
        soundfile.write(file, sound / peak, rate, format=container, subtype=coding)
        file.seek(0)
        decoded, _ = soundfile.read(file, dtype="float32")
        return _of_length(decoded * np.float32(peak), len(sound))

    return change


def _of_length(sound: FloatArray, samples: int) -> FloatArray:
    """Cut, or with silence at its end."""
    return np.pad(sound[:samples], (0, max(0, samples - len(sound)))).astype(np.float32)


def changes(delay_s: float) -> tuple[Changed, ...]:
    """All changes; the shift is by `delay_s`, a whole number of frames."""

    def shift(sound: FloatArray, rate: int, _random: np.random.Generator) -> FloatArray:
        return _of_length(np.pad(sound, (round(delay_s * rate), 0)), len(sound))

    return (
        Changed("gain -12 dB", _gain),
        Changed(f"later by {1000 * delay_s:.0f} ms", shift, delay_s),
        Changed("noise at -40 dB", _noise),
        Changed("resampled", _resampled),
        Changed("FLAC, 16 bits", _coded("FLAC", "PCM_16")),
        Changed("Ogg Vorbis", _coded("OGG", "VORBIS")),
        Changed("MP3", _coded("MP3", "MPEG_LAYER_III")),
    )
