"""Prototypes as a PNG: a row a place of the input, beside the places in training clips that match it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, BinaryIO

import numpy as np

from ...arrays import FloatArray
from ...drawing.lettering import Lettering
from ...drawing.spectrogram import (
    FAINT,
    INK,
    PAPER,
    WARM,
    WIDTH,
    colours_of,
    columns_of,
    fitted,
    font_of,
    loudness_of,
)
from .result import Contributions, Place, Prototype, WindowSound

# Prototypes a row.
SHOWN = 3
_LEFT, _ABOVE, _GAP = 132, 86, 12
_TILE = (WIDTH - _LEFT - (SHOWN + 1) * _GAP) // (SHOWN + 1), 92
_ROW = _TILE[1] + 46
# Of clips of other lengths and rates, one spectrogram: frames of that many samples, half overlapping.
_FRAME = 512

Target = str | PathLike[str] | BinaryIO


@dataclass(frozen=True)
class _Row:
    """What a row says on its left (its first line in ink), and what it shows."""

    lines: tuple[str, ...]
    place: Place
    window: WindowSound | None
    prototypes: tuple[Prototype, ...]


def draw_nearest(
    path: Target, prototypes: Mapping[str, tuple[Prototype, ...]], contributions: Contributions, *, title: str
) -> None:
    """Write a PNG, 1000 pixels wide: of every view the nearest prototypes, beside what they match."""
    rows = []
    for view, matches in prototypes.items():
        # Several places are looked up in a view: each has a row with its own matches.
        matched: dict[Place, list[Prototype]] = {}
        for one in matches[:SHOWN]:
            matched.setdefault(one.place, []).append(one)
        rows += [
            _Row((view.replace("_", " + "), "is nearest to"), place, mine[0].window, tuple(mine))
            for place, mine in matched.items()
        ]
    _draw(path, rows, contributions, title, ("in the input", "in training clips"))


def draw_channels(path: Target, contributions: Contributions, *, title: str) -> None:
    """Write a PNG, 1000 pixels wide: of every channel its place and the clips in which it is strongest."""
    rows = [
        _Row(
            (
                f"channel {one.channel}",
                f"value {one.score:.2f}" if one.contribution is None else f"adds {one.contribution:+.2f}",
            ),
            one.place,
            contributions.window,
            one.prototypes,
        )
        for one in contributions
    ]
    heads = "where it peaks in the input", "training clips in which it is strongest"
    _draw(path, rows, contributions, title, heads, contributions.sum)


def _draw(
    path: Target,
    rows: Sequence[_Row],
    contributions: Contributions,
    title: str,
    heads: tuple[str, str],
    subtitle: str = "",
) -> None:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, _ABOVE + _ROW * len(rows)), PAPER)
    canvas = ImageDraw.Draw(image)
    font, small = font_of(12), Lettering(12)
    Lettering(17).write(canvas, (_GAP, 20), title, INK, WIDTH - 2 * _GAP)
    small.write(canvas, (_GAP, 44), subtitle, INK, WIDTH - 2 * _GAP)
    for column, text in enumerate(heads):
        canvas.text((_x(column), _ABOVE - 14), text, FAINT, font, anchor="lm")
    seconds = contributions.end_s - contributions.start_s
    for number, row in enumerate(rows):
        top = _ABOVE + number * _ROW
        for line, text in enumerate(row.lines):
            canvas.text((_GAP, top + 12 + 18 * line), text, FAINT if line else INK, font_of(13), anchor="lm")
        if row.window is not None:
            _tile(image, canvas, 0, top, *_input(row.window, row.place))
        _caption(canvas, small, 0, top, (_where(row.place),))
        for column, one in enumerate(row.prototypes[:SHOWN], 1):
            place = Place(one.start_s, one.end_s, one.fmin_hz, one.fmax_hz)
            if one.sound is not None:
                _tile(
                    image,
                    canvas,
                    column,
                    top,
                    *_clip(one, place, seconds),
                )
            text = f"{' + '.join(one.labels)}  {one.similarity:.2f}  {one.clip}"
            _caption(canvas, small, column, top, (text, _where(place)))
    image.save(path, format="PNG", optimize=False)


def _x(column: int) -> int:
    return _LEFT + column * (_TILE[0] + _GAP)


def _where(place: Place) -> str:
    return f"{place.start_s:.2f}-{place.end_s:.2f} s, {place.fmin_hz:.0f}-{place.fmax_hz:.0f} Hz"


def _caption(canvas: Any, lettering: Lettering, column: int, top: int, lines: Sequence[str]) -> None:
    """Lines below a tile."""
    for line, text in enumerate(lines):
        y = top + _TILE[1] + 9 + 15 * line
        lettering.write(canvas, (_x(column), y), text, FAINT, _TILE[0])


# Amplitude [T, F], and the place in shares of its width and height: left, right, bottom, top.
_Shown = tuple[FloatArray, tuple[float, float, float, float]]


def _input(window: WindowSound, place: Place) -> _Shown:
    return window.amplitude, _shares(place, window.start_s, window.seconds, window.max_hz)


def _clip(one: Prototype, place: Place, seconds: float) -> _Shown:
    """As much of the training clip around the place as the window is long.

    Raises PrototypeIndexError where its sound is gone or damaged.
    """
    wave, rate, start = one.around(seconds)
    count = max(1, 1 + (len(wave) - _FRAME) // (_FRAME // 2))
    padded = np.pad(wave, (0, max(0, _FRAME - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[:: _FRAME // 2][:count]
    amplitude = np.abs(np.fft.rfft(frames * np.hanning(_FRAME), axis=1)).astype(np.float32)
    return amplitude, _shares(place, start, len(padded) / rate, rate / 2)


def _shares(place: Place, start: float, seconds: float, max_hz: float) -> tuple[float, float, float, float]:
    left, right = (place.start_s - start) / seconds, (place.end_s - start) / seconds
    return left, right, place.fmin_hz / max_hz, place.fmax_hz / max_hz


def _tile(
    image: Any,
    canvas: Any,
    column: int,
    top: int,
    amplitude: FloatArray,
    shares: tuple[float, float, float, float],
) -> None:
    """A spectrogram with its place in warm colours and framed; nothing is marked where it lies outside."""
    from PIL import Image

    width, height = _TILE
    left, right, low, high = shares
    x = [round(min(max(share, 0.0), 1.0) * (width - 1)) for share in (left, right)]
    y = [round((1.0 - min(max(share, 0.0), 1.0)) * (height - 1)) for share in (high, low)]
    seen = right > 0.0 and left < 1.0
    inside = np.zeros((height, width), np.float32)
    if seen:
        inside[y[0] : y[1] + 1, x[0] : x[1] + 1] = 1.0
    loudness = fitted(loudness_of(columns_of(amplitude)), _TILE)
    at = _x(column)
    image.paste(Image.fromarray(colours_of(loudness, inside)), (at, top))
    if seen:
        canvas.rectangle([at + x[0], top + y[0], at + x[1], top + y[1]], outline=WARM[4])
