"""Sheets as images: rows of small spectrograms, each with its place framed."""

from __future__ import annotations

from typing import Any

from .canvas import Canvas, Frame
from .colours import FAINT, INK
from .shown import Box, Sheet, Spectrogram, Thumbnail

WIDTH, LEFT, ABOVE = 1000, 132, 86
_GAP, _CAPTION = 12, 24
COLUMNS = 4
TILE = (WIDTH - LEFT - COLUMNS * _GAP) // COLUMNS, 92
ROW = TILE[1] + 46


def sheet_image(sheet: Sheet) -> Any:
    """A Pillow image 1000 pixels wide."""
    height = ABOVE + ROW * len(sheet.rows) + _CAPTION
    canvas = Canvas(WIDTH, height)
    canvas.text((_GAP, 20), sheet.title, 17, WIDTH - 2 * _GAP)
    canvas.text((_GAP, 44), sheet.subtitle, 12, WIDTH - 2 * _GAP)
    canvas.text((_GAP, height - 12), sheet.caption, 12, WIDTH - 2 * _GAP, FAINT)
    for column, text in enumerate(sheet.heads):
        canvas.word((_x(column), ABOVE - 14), text, "lm", FAINT, 12)
    for number, row in enumerate(sheet.rows):
        top = ABOVE + number * ROW
        for line, text in enumerate(row.words):
            canvas.word((_GAP, top + 12 + 18 * line), text, "lm", FAINT if line else INK, 13)
        for column, cell in enumerate(row.cells[:COLUMNS]):
            _cell(canvas, column, top, cell)
    return canvas.image


def _x(column: int) -> int:
    return LEFT + column * (TILE[0] + _GAP)


def _cell(canvas: Canvas, column: int, top: int, cell: Thumbnail) -> None:
    left = _x(column)
    frame = (left, top, left + TILE[0], top + TILE[1])
    if cell.spectrogram is not None:
        canvas.spectrogram(frame, cell.spectrogram)
        canvas.box(frame, FAINT)
        if (place := _framed(frame, cell.spectrogram, cell.place)) is not None:
            canvas.box(place, width=2)
    for line, text in enumerate(cell.lines):
        canvas.text((left, top + TILE[1] + 9 + 15 * line), text, 12, TILE[0], FAINT)


def _framed(frame: Frame, shown: Spectrogram, place: Box) -> Frame | None:
    """Where a place lies in a frame, at least 3 pixels wide and high; None outside of it."""
    left, top, right, bottom = frame
    start, end, low, high = place
    across = [(at - shown.start_s) / shown.seconds for at in (start, end)]
    if across[1] <= 0.0 or across[0] >= 1.0:
        return None
    up = [hz / shown.max_hz for hz in (low, high)]
    x = [round(left + (right - left) * min(max(share, 0.0), 1.0)) for share in across]
    y = [round(bottom - (bottom - top) * min(max(share, 0.0), 1.0)) for share in up]
    return x[0], min(y[1], bottom - 3), max(x[1], x[0] + 3), max(y[0], y[1] + 3)
