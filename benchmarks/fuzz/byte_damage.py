"""Damage to bytes: flipped, zeroed, cut off, added, moved; the beginning, where headers lie, more often."""

from __future__ import annotations

import random


def damage(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """The content after one change, and what was done."""
    name = draw.choice(tuple(_CHANGES))
    return _CHANGES[name](content, draw), name


def _place(content: bytes, draw: random.Random) -> int:
    """An offset; every second time among the first 128 bytes."""
    most = min(128, len(content)) if draw.random() < 0.5 else len(content)
    return draw.randrange(max(1, most))


def _flip(content: bytes, draw: random.Random) -> bytes:
    made = bytearray(content or b"\0")
    for _ in range(draw.choice([1, 1, 2, 8])):
        made[_place(bytes(made), draw)] ^= 1 << draw.randrange(8)
    return bytes(made)


def _values(content: bytes, draw: random.Random) -> bytes:
    """Four bytes become a number that sizes and counts go wrong at."""
    at = _place(content, draw)
    value = draw.choice(
        [0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, 0x10000, 0x7FC00000]
    )
    number = value.to_bytes(4, draw.choice(["little", "big"]))
    return content[:at] + number + content[at + 4 :]


def _zero(content: bytes, draw: random.Random) -> bytes:
    at, length = _place(content, draw), draw.choice([1, 4, 64, 4096])
    return content[:at] + bytes(len(content[at : at + length])) + content[at + length :]


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: _place(content, draw)]


def _extend(content: bytes, draw: random.Random) -> bytes:
    return content + draw.choice([b"\0", draw.randbytes(16), bytes(4096), content])


def _remove(content: bytes, draw: random.Random) -> bytes:
    at = _place(content, draw)
    return content[:at] + content[at + draw.choice([1, 2, 16, 500]) :]


def _insert(content: bytes, draw: random.Random) -> bytes:
    at = _place(content, draw)
    return content[:at] + draw.randbytes(draw.choice([1, 2, 16, 500])) + content[at:]


def _repeat(content: bytes, draw: random.Random) -> bytes:
    at = _place(content, draw)
    part = content[at : at + draw.choice([4, 64, 1024])]
    return content[:at] + part * draw.choice([2, 3]) + content[at + len(part) :]


_CHANGES = {
    "flip": _flip,
    "values": _values,
    "zero": _zero,
    "cut": _cut,
    "extend": _extend,
    "remove": _remove,
    "insert": _insert,
    "repeat": _repeat,
}
