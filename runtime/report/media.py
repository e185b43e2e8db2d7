"""Sound and spectrograms as compact text within a page."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt

from ..audio.amplitude import amplitude_of
from ..audio.writing import coding_of
from ..drawing.colours import loudness_of
from ..values.arrays import FloatArray
from .items import Picture, ShownSounds

# A peak of 1 would be clipped by rounding.
_PEAK = 0.98
# Columns and rows of a picture, and of one as small as a thumb: more show no more on a screen.
_SIZE, SMALL = (1200, 320), (220, 96)
# Steps of 1.3 dB cannot be told apart, and pack better.
_STEP = 4


def mono(sound: npt.ArrayLike) -> FloatArray:
    """The mean of the channels [samples] of [samples] or [channels, samples]."""
    array = np.asarray(sound)
    return np.asarray(array if array.ndim == 1 else array.mean(axis=0, dtype=np.float32), np.float32)


def flac(sound: FloatArray, rate: int, scale: float) -> str:
    """Mono sound [samples] times `scale` as FLAC of 16 bits, in base64; as WAV at rates that FLAC has not."""
    import soundfile

    file = io.BytesIO()
    _, container, coding = coding_of("flac", 1, rate)
    soundfile.write(file, np.clip(sound * scale, -1.0, 1.0), rate, format=container, subtype=coding)
    return base64.b64encode(file.getvalue()).decode()


def sounds_of(rate: int, original: FloatArray, kept: FloatArray | None = None) -> ShownSounds:
    """A sound [samples], and what is kept of it, for a page."""
    peak = max(float(np.abs(one).max(initial=0.0)) for one in (original, kept) if one is not None)
    # So that the louder of them uses 16 bits.
    scale = _PEAK / peak if peak > 0.0 else 1.0
    return ShownSounds(
        rate, scale, flac(original, rate, scale), "" if kept is None else flac(kept, rate, scale)
    )


def picture_of(
    amplitude: FloatArray,
    seconds: float,
    max_hz: float,
    mask: FloatArray | None = None,
    size: tuple[int, int] = _SIZE,
) -> Picture:
    """A spectrogram [T, F] (linear) for a page, over `seconds` and up to `max_hz`, and its mask [T, F] 0..1.

    size: columns and rows at the most; of cells that share one the largest is shown
    """
    loudness = loudness_of(_shrunk(amplitude, size))
    return Picture(_png(loudness), "" if mask is None else _png(_shrunk(mask, size)), seconds, max_hz)


def spectrogram_of(sound: FloatArray, rate: int, size: tuple[int, int] = _SIZE) -> Picture:
    """The spectrogram of mono sound [samples], for a page."""
    return picture_of(amplitude_of(sound, rate), len(sound) / rate, rate / 2, size=size)


def _shrunk(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    """[T, F] with at most so many frames and bins: the largest of those that become one."""
    shown = np.nan_to_num(values)
    for axis, most in enumerate(size):
        count = shown.shape[axis]
        if count > most:
            shown = np.maximum.reduceat(shown, np.arange(most) * count // most, axis=axis)
    return np.asarray(shown, np.float32)


def _png(shares: FloatArray) -> str:
    """[T, F] of 0..1 as a PNG of 8 bits, in base64."""
    from PIL import Image

    file = io.BytesIO()
    levels = np.minimum(np.rint(shares * (255 / _STEP)) * _STEP, 255.0).astype(np.uint8)
    Image.fromarray(np.ascontiguousarray(levels.T[::-1])).save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
