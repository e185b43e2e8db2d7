"""A canvas of Pillow: axes, spectrograms, stripes, and colour bars."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..values.arrays import FloatArray
from .colours import AGAINST, FAINT, FOR, INK, PALE, PAPER, RANGE_DB, Colours, colours_of, loudness_of, mixed
from .lettering import Lettering
from .outline import edges_of, smoothed
from .scales import clock, columns_of, frequency_marks, time_marks, time_unit
from .shown import Spectrogram

# Left, top, right, bottom in pixels.
Frame = tuple[int, int, int, int]
# Distance of the stripes that say "against".
_STRIPE = 6


class Canvas:
    """An image on paper, its pixels and its letters."""

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", (width, height), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def text(self, at: tuple[float, float], text: str, size: int, width: float, colour: Any = INK) -> None:
        """One line of any text from the left, shortened to so many pixels."""
        Lettering(size).write(self.draw, at, text, colour, width)

    def word(
        self, at: tuple[float, float], text: str, anchor: str, colour: Any = INK, size: int = 14
    ) -> None:
        """Figures and English words."""
        self.draw.text(at, text, colour, _font(size), anchor=anchor)

    def spectrogram(self, frame: Frame, shown: Spectrogram, *, pale: bool = False) -> None:
        """The spectrogram in its frame, with a line around what its mask keeps; `pale`: below tiles."""
        left, top, right, bottom = frame
        size = (right - left, bottom - top)
        loudness = _fitted(loudness_of(columns_of(shown.amplitude)), size)
        if shown.mask is None:
            colours = colours_of(loudness)
        else:
            mask = columns_of(shown.mask)
            colours = colours_of(loudness, _fitted(mask, size))
            colours[edges_of(_fitted(smoothed(mask), size))] = FOR
        self.pixels(frame, mixed(PAPER, colours, PALE) if pale else colours)

    def pixels(self, frame: Frame, colours: Colours) -> None:
        """Colours [height, width, 3] in a frame."""
        from PIL import Image

        self.image.paste(Image.fromarray(colours), frame[:2])

    def lay(self, frame: Frame, value: float, share: float) -> None:
        """Lay the colour of a value's sign on a frame, by a share 0..1; stripes where it is negative."""
        left, top, right, bottom = frame
        under = np.asarray(self.image.crop(frame))
        colour = FOR if value >= 0 else AGAINST
        part: FloatArray | float = share
        if value < 0:
            down, across = np.indices((bottom - top, right - left))
            stripes = (left + across + top + down) % _STRIPE < 2
            part = np.where(stripes, share, 0.25 * share).astype(np.float32)[..., None]
        self.pixels(frame, mixed(under, colour, part))

    def box(self, frame: Frame, colour: Any = FOR, width: int = 1) -> None:
        """The outline of a place."""
        self.draw.rectangle([*frame[:2], frame[2] - 1, frame[3] - 1], outline=colour, width=width)

    def time_axis(self, frame: Frame, seconds: float) -> None:
        """Marks and figures of time below a frame, and their unit."""
        left, _, right, bottom = frame
        marks = time_marks(seconds)
        step = marks[1] if len(marks) > 1 else seconds
        for at in marks:
            x = left + (right - 1 - left) * at / seconds
            self.draw.line([(x, bottom), (x, bottom + 5)], FAINT)
            self.word((x, bottom + 9), clock(at, step, seconds), "mt")
        self.word((right + 20, bottom + 9), time_unit(seconds), "lt", FAINT)

    def frequency_axis(self, frame: Frame, max_hz: float) -> None:
        """Marks and figures of frequency left of a frame, and their unit."""
        left, top, _, bottom = frame
        for hz in frequency_marks(max_hz):
            y = bottom - 1 - (bottom - 1 - top) * min(1.0, hz / max_hz)
            self.draw.line([(left - 5, y), (left - 1, y)], FAINT)
            self.word((left - 9, y), f"{hz / 1000:g}", "rm")
        self.word((8, top - 24), "kHz", "lm", FAINT)

    def loudness_bar(self, left: int, top: int, bottom: int) -> None:
        """What the colours of a spectrogram mean."""
        fall = np.linspace(1.0, 0.0, bottom - top, dtype=np.float32)[:, None].repeat(16, 1)
        self._bar((left, top, left + 16, bottom), colours_of(fall), "dB")
        for decibels in range(0, -81, -20):
            self._mark(left + 16, top + (bottom - 1 - top) * -decibels / RANGE_DB, f"{decibels}")

    def mask_bar(self, left: int, top: int, bottom: int) -> None:
        """How loud cells look by what the mask gives them."""
        fall = np.linspace(1.0, 0.0, bottom - top, dtype=np.float32)[:, None].repeat(16, 1)
        colours = colours_of(np.full_like(fall, 0.85), fall)
        colours[edges_of(fall)] = FOR
        self._bar((left, top, left + 16, bottom), colours, "mask")
        for value in (0.0, 0.5, 1.0):
            self._mark(left + 16, bottom - 1 - (bottom - 1 - top) * value, f"{value:g}")

    def signed_bar(self, left: int, top: int, bottom: int, most: float, unit: str) -> None:
        """What the colours of tiles mean; the unit stands above, in two lines at the most."""
        middle = (top + bottom) // 2
        for y in range(top, bottom):
            self.lay((left, y, left + 16, y + 1), middle - y, 0.85 * abs(y - middle) / (middle - top))
        self.draw.rectangle([left - 1, top - 1, left + 16, bottom], outline=FAINT)
        for row, words in enumerate(reversed(unit.split(" per "))):
            word = words if row or " per " not in unit else f"per {words}"
            self.word((left + 34, top - 8 - 15 * row), word, "rb" if left > 940 else "mb", FAINT, 12)
        for value in (most, 0.0, -most):
            self._mark(left + 16, middle - (middle - top) * value / most, f"{value:+.2g}" if value else "0")

    def _bar(self, frame: Frame, colours: Colours, unit: str) -> None:
        self.pixels(frame, colours)
        self.draw.rectangle([frame[0] - 1, frame[1] - 1, frame[2], frame[3]], outline=FAINT)
        self.word((frame[0] - 2, frame[1] - 8), unit, "lb", FAINT)

    def _mark(self, x: float, y: float, text: str) -> None:
        self.draw.line([(x + 2, y), (x + 5, y)], FAINT)
        self.word((x + 8, y), text, "lm", size=12)


def _fitted(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    """[T, F] in 0..1 as a picture [height, width], low frequencies at the bottom."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(values.T[::-1]))
    return np.clip(np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float32), 0.0, 1.0)


def _font(size: int) -> Any:
    """A font of that size in points for figures and English words; names are `Lettering`'s."""
    from PIL import ImageFont

    return ImageFont.load_default(size)
