r"""Text in pictures: a character is drawn, or spelt out as its escape, and never a box.

DejaVu Sans comes with earmark (a subset: Latin, Greek, Cyrillic, Armenian, Georgian, Hebrew, Arabic, signs).
What it lacks is drawn in a font of this machine that has it, else written as \uXXXX.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from ...printable import printable

OWN_FONT = Path(__file__).resolve().parent / "fonts" / "DejaVuSans.ttf"
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
# A line of a picture never holds more.
_MOST = 300
# No font has it: what is drawn for it is the font's sign of a missing character.
_NOBODYS = "\U0010fffe"
# Size at which fonts are asked what they have.
_PROBE = 24
# Fonts of the machine that are tried for a character, those of many scripts first.
_TRIED = 400
_WIDE = ("cjk", "unicode", "fallback", "uming", "wqy", "gothic", "noto", "pingfang", "hiragino", "dejavu")
_FONTS = {
    "darwin": ("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
    "win32": (r"%WINDIR%\Fonts", r"%LOCALAPPDATA%\Microsoft\Windows\Fonts"),
}
_FONTS_ELSEWHERE = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")


# A sign of scripts that earmark brings no font for, and a font that has it.
_SCRIPTS = {
    "Chinese and Japanese": ("\u9ce5", "Noto Sans CJK (fonts-noto-cjk)"),
    "Korean": ("\uc0c8", "Noto Sans CJK (fonts-noto-cjk)"),
    "Devanagari": ("\u092a", "Noto Sans Devanagari (fonts-noto-core)"),
    "Bengali": ("\u09aa", "Noto Sans Bengali (fonts-noto-core)"),
    "Tamil": ("\u0baa", "Noto Sans Tamil (fonts-noto-core)"),
    "Thai": ("\u0e19", "Noto Sans Thai (fonts-noto-core)"),
}


class Lettering:
    """One line at a time, at one size in points."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._fonts: dict[Path, Any] = {}

    def write(self, canvas: Any, at: tuple[float, float], text: str, colour: Any, width: float) -> None:
        """Draw one line of `text` from the left, shortened to `width` pixels."""
        x, y = at
        for path, piece in _runs(self._fitted(_pieces(text), width)):
            font = self._font(path)
            canvas.text((x, y), piece, colour, font, anchor="lm")
            x += font.getlength(piece)

    def shortened(self, text: str, width: float) -> str:
        """The line that `write` draws."""
        return "".join(piece for _, piece in self._fitted(_pieces(text), width))

    def _fitted(self, pieces: list[tuple[Path, str]], width: float) -> list[tuple[Path, str]]:
        """As many pieces as fit, with an ellipsis where that is not all."""
        if self._length(pieces) <= width:
            return pieces
        end = [(OWN_FONT, _ELLIPSIS)]
        low, high = 0, len(pieces) - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (
                (middle, high) if self._length([*pieces[:middle], *end]) <= width else (low, middle - 1)
            )
        return [*pieces[:low], *end]

    def _length(self, pieces: list[tuple[Path, str]]) -> float:
        return float(sum(self._font(path).getlength(piece) for path, piece in _runs(pieces)))

    def _font(self, path: Path) -> Any:
        if path not in self._fonts:
            from PIL import ImageFont

            self._fonts[path] = ImageFont.truetype(str(path), self._size)
        return self._fonts[path]


def _pieces(text: str) -> list[tuple[Path, str]]:
    """Every character of one line, or its escape, with the font that has it."""
    line = unicodedata.normalize("NFC", printable(" ".join(text.split())))
    return [piece for one in line[:_MOST] for piece in _piece(one)]


def _piece(one: str) -> Iterator[tuple[Path, str]]:
    font = font_with(one)
    if font is not None:
        yield font, one
    # A variant of the sign before it: without it the sign is still there.
    elif not 0xFE00 <= ord(one) <= 0xFE0F:
        yield OWN_FONT, _escaped(one)


def _escaped(one: str) -> str:
    return f"\\u{ord(one):04x}" if ord(one) < 0x10000 else f"\\U{ord(one):08x}"


def _runs(pieces: list[tuple[Path, str]]) -> Iterator[tuple[Path, str]]:
    """Neighbours of one font and one direction together: letters join, and are kerned.

    Runs are drawn one after the other from the left, so that neither a score nor an escape changes sides
    with a name that is written from right to left.
    """
    directed = zip(pieces, _from_right(pieces), strict=True)
    for (path, _), run in groupby(directed, key=lambda one: (one[0][0], one[1])):
        yield path, "".join(piece for (_, piece), _ in run)


def _from_right(pieces: list[tuple[Path, str]]) -> list[bool]:
    """Whether each piece belongs to text from right to left: its letters, and what lies between them."""
    flags = [False] * len(pieces)
    last: int | None = None
    for index, (_, piece) in enumerate(pieces):
        kind = unicodedata.bidirectional(piece[0])
        if kind in {"R", "AL"}:
            first = index if last is None else last
            flags[first : index + 1] = [True] * (index + 1 - first)
            last = index
        elif kind == "NSM" and last == index - 1:
            # A mark on the letter before it.
            flags[index], last = True, index
        elif kind == "L" or len(piece) > 1:
            last = None
    return flags


def lettered(lines: Sequence[str]) -> tuple[str, list[str]]:
    """Lines as one text that matplotlib can draw, and the families of fonts that have its letters.

    What no font has is spelt out, and so is text from right to left where matplotlib would turn it round.
    """
    from matplotlib import font_manager, ft2font, rcParams

    shapes = hasattr(ft2font, "__libraqm_version__")
    families = [*rcParams["font.family"], font_manager.FontProperties(fname=str(OWN_FONT)).get_name()]
    known = set(font_manager.get_font_names())
    shown = []
    for line in lines:
        pieces = _pieces(line)
        for path in {path for path, _ in pieces} - {OWN_FONT}:
            name = font_manager.FontProperties(fname=str(path)).get_name()
            if name not in known:
                font_manager.fontManager.addfont(str(path))
                known.add(name)
            families.append(name)
        turned = {"R", "AL"} if not shapes else set()
        shown.append(
            "".join(
                _escaped(piece) if unicodedata.bidirectional(piece[0]) in turned else piece
                for _, piece in pieces
            )
        )
    return "\n".join(shown), list(dict.fromkeys(families))


def scripts_without_font() -> dict[str, str]:
    """Scripts that pictures would spell out here, and a font that would help, by its name and package."""
    return {script: font for script, (sign, font) in _SCRIPTS.items() if font_with(sign) is None}


@lru_cache(maxsize=4096)
def font_with(one: str) -> Path | None:
    """A font that has the character: the own one, else one of this machine, else none."""
    if unicodedata.bidirectional(one) in {"R", "AL"} and not _shapes():
        # From left to right and in unjoined letters it would be another text.
        return None
    if _has(OWN_FONT, one):
        return OWN_FONT
    if unicodedata.category(one) in {"Cn", "Co", "Cs"}:
        return None
    return next((path for path in machine_fonts() if _has(path, one)), None)


def _shapes() -> bool:
    """Whether Pillow can lay out text that runs from right to left."""
    from PIL import features

    return bool(features.check("raqm"))


def _has(path: Path, one: str) -> bool:
    try:
        font = _probe_font(path)
        drawn, missing = font.getmask(one), font.getmask(_NOBODYS)
    except (OSError, ValueError):
        # Not a font, or one of fixed sizes.
        return False
    return drawn.size != missing.size or bytes(drawn) != bytes(missing)


@lru_cache(maxsize=16)
def _probe_font(path: Path) -> Any:
    """The font laid out character by character: shaping would show more than the one asked about."""
    from PIL import ImageFont

    return ImageFont.truetype(str(path), _PROBE, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=1)
def machine_fonts() -> tuple[Path, ...]:
    """Font files of this machine, those likely to hold many scripts first."""
    fonts: list[Path] = []
    for name in _FONTS.get(sys.platform, _FONTS_ELSEWHERE):
        folder = Path(os.path.expandvars(name)).expanduser()
        fonts += [path for path in folder.rglob("*") if path.suffix.lower() in {".ttf", ".ttc", ".otf"}]
    ranked = sorted(
        fonts, key=lambda path: (not any(word in path.name.lower() for word in _WIDE), path.name, str(path))
    )
    return tuple(ranked[:_TRIED])
