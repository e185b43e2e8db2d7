"""The spectrogram with the evidence on it, as a PNG."""

from __future__ import annotations

import math
from os import PathLike
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..arrays import FloatArray
from .lettering import Lettering

WIDTH, HEIGHT = 1000, 420
LEFT, TOP, RIGHT, BOTTOM = 62, 48, 876, 366
_RANGE_DB = 80.0
_COLUMNS = 1200
PAPER, INK, FAINT = (255, 255, 255), (38, 42, 52), (120, 126, 138)

# Colours of equally spaced loudness steps, quiet to loud; lightness rises evenly in both.
COLD = [
    (9, 12, 24),
    (20, 32, 56),
    (41, 61, 94),
    (73, 100, 135),
    (119, 146, 174),
    (176, 195, 210),
    (232, 239, 243),
]
WARM = [
    (42, 12, 8),
    (92, 24, 8),
    (150, 44, 6),
    (208, 80, 8),
    (242, 130, 24),
    (253, 190, 72),
    (255, 244, 196),
]


def draw(
    path: str | PathLike[str] | BinaryIO,
    *,
    amplitude: npt.ArrayLike,
    mask: npt.ArrayLike,
    seconds: float,
    max_hz: float,
    title: str,
) -> None:
    """Write a PNG of 1000 x 420 pixels: `painted`."""
    image = painted(amplitude=amplitude, mask=mask, seconds=seconds, max_hz=max_hz, title=title)
    image.save(path, format="PNG", optimize=False)


def painted(
    *,
    amplitude: npt.ArrayLike,
    mask: npt.ArrayLike,
    seconds: float,
    max_hz: float,
    title: str,
    more: int = 0,
) -> Any:
    """An image of 1000 x 420 pixels: loudness in cold colours, in warm ones where the mask is high.

    Args:
        amplitude: [T, F] linear, at least one frame.
        mask: [T, F] in [0, 1]; the frames span `seconds`, the bins 0 to `max_hz`. Loudness is shown in
            decibels below the loudest cell, down to -80.
        seconds: Length of the sound.
        max_hz: Highest frequency of the bins.
        title: First line.
        more: Further rows of pixels, left empty, below.

    """
    from PIL import Image, ImageDraw

    loudness, evidence = loudness_of(columns_of(amplitude)), columns_of(mask)
    image = Image.new("RGB", (WIDTH, HEIGHT + more), PAPER)
    size = (RIGHT - LEFT, BOTTOM - TOP)
    image.paste(Image.fromarray(colours_of(fitted(loudness, size), fitted(evidence, size))), (LEFT, TOP))
    canvas = ImageDraw.Draw(image)
    font = font_of(14)
    Lettering(19).write(canvas, (LEFT, 24), title, INK, RIGHT - LEFT)
    time_axis(canvas, font, seconds)
    frequency_axis(canvas, font, max_hz)
    _legend(image, canvas, font)
    return image


def columns_of(values: npt.ArrayLike) -> FloatArray:
    """At most 1200 frames [T', F]: the largest value of the frames that share a column."""
    array = np.asarray(values)
    if len(array) > _COLUMNS:
        starts = np.arange(_COLUMNS) * len(array) // _COLUMNS
        array = np.maximum.reduceat(array, starts, axis=0)
    return np.asarray(np.nan_to_num(array), dtype=np.float32)


def loudness_of(amplitude: FloatArray) -> FloatArray:
    """0 at -80 dB and below, 1 at the loudest cell; all 0 in silence."""
    peak = float(amplitude.max(initial=0.0))
    if peak <= 0.0:
        return np.zeros_like(amplitude)
    decibels = 20.0 * np.log10(np.maximum(amplitude / peak, 1e-7))
    return np.asarray(np.clip(1.0 + decibels / _RANGE_DB, 0.0, 1.0), dtype=np.float32)


def fitted(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    """[T, F] in 0..1 as a picture [height, width], low frequencies at the bottom."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(values.T[::-1]))
    return np.clip(np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float32), 0.0, 1.0)


def colours_of(loudness: FloatArray, evidence: FloatArray) -> npt.NDArray[np.uint8]:
    """[..., 3]: cold where the evidence is 0, warm where it is 1, mixed between."""
    share = evidence[..., None]
    mixed = (1.0 - share) * _ramp(COLD, loudness) + share * _ramp(WARM, loudness)
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def _ramp(steps: list[tuple[int, int, int]], values: FloatArray) -> npt.NDArray[np.float64]:
    at = np.linspace(0.0, 1.0, len(steps))
    table = np.stack(
        [np.interp(np.linspace(0.0, 1.0, 256), at, channel) for channel in zip(*steps, strict=True)], -1
    )
    return np.asarray(table[np.rint(values * 255.0).astype(np.intp)])


def time_axis(canvas: Any, font: Any, seconds: float) -> None:
    """Marks and figures of time below the picture."""
    step = _time_step(seconds)
    for index in range(int(seconds / step * (1 + 1e-9)) + 1):
        x = LEFT + (RIGHT - 1 - LEFT) * min(1.0, index * step / seconds)
        canvas.line([(x, BOTTOM), (x, BOTTOM + 5)], FAINT)
        canvas.text((x, BOTTOM + 9), _clock(index * step, step, seconds), INK, font, anchor="mt")
    unit = "seconds" if seconds < 120 else "minutes" if seconds < 7200 else "hours"
    canvas.text((RIGHT, HEIGHT - 8), unit, FAINT, font, anchor="rb")


def frequency_axis(canvas: Any, font: Any, max_hz: float) -> None:
    """Marks and figures of frequency left of the picture."""
    step = _step(max_hz, 8)
    for index in range(int(max_hz / step * (1 + 1e-9)) + 1):
        y = BOTTOM - 1 - (BOTTOM - 1 - TOP) * min(1.0, index * step / max_hz)
        canvas.line([(LEFT - 5, y), (LEFT - 1, y)], FAINT)
        canvas.text((LEFT - 9, y), f"{index * step / 1000:g}", INK, font, anchor="rm")
    canvas.text((8, TOP - 24), "kHz", FAINT, font, anchor="lm")


def _legend(image: Any, canvas: Any, font: Any) -> None:
    """Two bars of loudness, without and with evidence, and what they mean."""
    from PIL import Image

    left, top, bottom, width = RIGHT + 18, TOP + 26, BOTTOM, 16
    fall = np.linspace(1.0, 0.0, bottom - top, dtype=np.float32)[:, None].repeat(width, 1)
    for index, mask in enumerate((0.0, 1.0)):
        bar = colours_of(fall, np.full_like(fall, mask))
        image.paste(Image.fromarray(bar), (left + index * (width + 4), top))
    canvas.text((left - 4, TOP + 1), "sound", FAINT, font, anchor="lt")
    canvas.text((left + 2 * width + 12, TOP + 1), "evidence", WARM[3], font, anchor="lt")
    for decibels in range(0, -81, -20):
        y = top + (bottom - 1 - top) * -decibels / _RANGE_DB
        right = left + 2 * width + 4
        canvas.line([(right + 2, y), (right + 6, y)], FAINT)
        label = f"{decibels} dB" if decibels == 0 else f"{decibels}"
        canvas.text((right + 10, y), label, INK, font, anchor="lm")


def _time_step(seconds: float) -> float:
    """A step of the clock for long sound, else a round one."""
    if seconds >= 120:
        for step in (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400):
            if seconds / step <= 9:
                return float(step)
    return _step(seconds, 9)


def _step(span: float, most: int) -> float:
    """The smallest round step that marks `span` at most `most` times."""
    scale = 10.0 ** math.floor(math.log10(span / most))
    return next(
        scale * factor
        for factor in (1.0, 2.0, 5.0, 10.0, 20.0)
        if span / (scale * factor) <= most * (1 + 1e-9)
    )


def _clock(at: float, step: float, span: float) -> str:
    """A time as seconds, min:ss or h:mm, whichever the span asks for."""
    if span < 120:
        return f"{at:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"
    if span < 7200:
        return f"{int(at) // 60}:{int(at) % 60:02d}"
    return f"{int(at) // 3600}:{int(at) % 3600 // 60:02d}"


def font_of(size: int) -> Any:
    """A font of that size in points for figures and English words; names are `Lettering`'s."""
    from PIL import ImageFont

    return ImageFont.load_default(size)
