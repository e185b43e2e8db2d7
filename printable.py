"""Names, labels and paths of strangers as one line of text that can neither steer a terminal nor hide."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

# A joiner and a non-joiner belong to the spelling of words and to emoji.
_JOINERS = frozenset("\u200c\u200d")
# Control, format (bidirectional marks among them), surrogates, line and paragraph separators.
_ESCAPED = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    r"""`text` with every character that controls, reorders or breaks a line written as its escape.

    A newline becomes \n, an escape \x1b, a right-to-left override \u202e; bytes of a file name that are no
    UTF-8 become \xNN.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _shown(one) for one in text)


def first_line(error: BaseException, most: int = 200) -> str:
    """What another library's error says, for a message of one line.

    Args:
        error: The error; for one without a text, the name of its class.
        most: Characters kept, 1 or more.

    Returns:
        The first line of its text, without surrounding space.

    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:most]


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A question after the known name that is most like `name`; `otherwise` where none is."""
    import difflib

    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise


def _shown(one: str) -> str:
    if one in _JOINERS or unicodedata.category(one) not in _ESCAPED:
        return one
    code = ord(one)
    if one in _SHORT:
        return _SHORT[one]
    # What os.fsdecode makes of a byte that is no UTF-8.
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
