"""Colours of pictures: lightness alone tells levels apart, for every eye and for a print in grey.

What a mask removes fades into the paper, and a line surrounds what it keeps.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..values.arrays import FloatArray

Colour = tuple[int, int, int]
Colours = npt.NDArray[np.uint8]

PAPER: Colour = (255, 255, 255)
INK: Colour = (28, 36, 48)
FAINT: Colour = (91, 102, 117)
# What speaks for a label, and outlines; what speaks against it, which is striped, too.
FOR: Colour = (160, 60, 0)
AGAINST: Colour = (38, 66, 130)
# Of equally spaced steps of loudness, from quiet to loud.
_STEPS = (
    (255, 255, 255),
    (226, 229, 232),
    (188, 195, 205),
    (142, 152, 172),
    (94, 108, 142),
    (50, 64, 108),
    (10, 18, 56),
)
# How far what a mask of 0 removes is faded; where a mask counts as keeping.
_FADED = 0.75
KEPT = 0.4
# What is left of a spectrogram below tiles.
PALE = 0.5
# Loudness is shown in dB below the loudest cell, down to so many.
RANGE_DB = 80.0


def loudness_of(amplitude: FloatArray) -> FloatArray:
    """0 at -80 dB and below, 1 at the loudest cell; all 0 in silence."""
    peak = float(amplitude.max(initial=0.0))
    if peak <= 0.0:
        return np.zeros_like(amplitude)
    decibels = 20.0 * np.log10(np.maximum(amplitude / peak, 1e-7))
    return np.asarray(np.clip(1.0 + decibels / RANGE_DB, 0.0, 1.0), dtype=np.float32)


def ramp() -> Colours:
    """Colours [256, 3] from silence to the loudest."""
    at = np.linspace(0.0, 1.0, len(_STEPS))
    levels = np.linspace(0.0, 1.0, 256)
    return np.asarray(
        np.rint(np.stack([np.interp(levels, at, channel) for channel in zip(*_STEPS, strict=True)], -1)),
        np.uint8,
    )


def colours_of(loudness: FloatArray, mask: FloatArray | None = None) -> Colours:
    """Loudness [...] in 0..1 as colours [..., 3], faded where a mask [...] is low."""
    colours = ramp()[np.rint(loudness * 255.0).astype(np.intp)]
    return colours if mask is None else mixed(PAPER, colours, 1.0 - _FADED * (1.0 - mask[..., None]))


def mixed(under: Colour | Colours, over: Colour | Colours, share: FloatArray | float) -> Colours:
    """`over` laid on `under`, by a share 0..1."""
    one, other = np.asarray(under, np.float32), np.asarray(over, np.float32)
    return np.asarray(np.rint((1.0 - share) * one + share * other), np.uint8)
