"""Sound files made of coded frames: FLAC, and the streams of Ogg (Vorbis, Opus, FLAC, Speex)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from itertools import islice

from .bytes import SoundBytes
from .parts import MOST_PARTS, Found, Part, before_tags

_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22", re.DOTALL)
_PAGE = re.compile(rb"OggS\x00[\x00-\x07]", re.DOTALL)
_OURS = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
# Two hours have some 50,000 pages.
_MOST_PAGES = 1_000_000
# Bytes with their bits in the other order.
_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_LONGEST_PAGE = 27 + 255 + 255 * 255


def flac(data: SoundBytes, start: int) -> Found:
    """FLAC streams, one after the other.

    Decoders stop where the header says, so they get one that says nothing; zero there means unknown.
    """
    starts = list(_matches(data, start, data.size, _FLAC, 8))
    if len(starts) >= MOST_PARTS:
        starts = starts[:1]
    parts = []
    for place, end in zip(starts, [*starts[1:], data.size], strict=True):
        # 4 bytes of name, 4 of the block's header; the count is 36 bits from byte 13 on.
        head = data.at(place, 26)
        if len(head) < 26:
            continue
        told = (head[21] & 15) << 32 | int.from_bytes(head[22:26], "big")
        open_end = head[:21] + bytes([head[21] & 0xF0]) + b"\x00" * 4
        last = _without_zeros(data, place, before_tags(data, place, end))
        parts.append(Part(((open_end, (place + 26, last - place - 26)),), told or None))
    return Found(parts, data.size)


def ogg(data: SoundBytes, start: int) -> Found:
    """The links of an Ogg chain: each begins with the first pages of its streams."""
    links, damaged = [start], [0]
    group_end = start
    for place, page, good in islice(_pages(data, start), _MOST_PAGES):
        # First pages of streams that run side by side stand together.
        if page[5] & 2:
            if place != group_end and len(links) < MOST_PARTS:
                links.append(place)
                damaged.append(0)
            group_end = place + len(page)
        # The decoder drops such a page, and may take what is left for all.
        if not good:
            damaged[-1] += len(page)
    parts = []
    for place, end, lost in zip(links, [*links[1:], data.size], damaged, strict=True):
        cut = _cut(data, place, end)
        parts.append(Part((((place, end - place),),), cut=cut, counted=True, skipped=0 if cut else lost))
    return Found(parts, data.size)


def _pages(data: SoundBytes, start: int) -> Iterator[tuple[int, bytes, bool]]:
    """Place and bytes of every page, 27 at least, and whether its checksum is right."""
    behind = start
    # What only looks like pages may overlap: no byte is checked many times.
    left = 2 * data.size
    for place, block in data.blocks(start, data.size, 5):
        for match in _PAGE.finditer(block):
            at = match.start()
            if place + at < behind:
                continue
            page = block[at : at + _LONGEST_PAGE]
            if len(page) < _LONGEST_PAGE:
                page = data.at(place + at, _LONGEST_PAGE)
            if len(page) < 27:
                continue
            page = page[: 27 + page[26] + sum(page[27 : 27 + page[26]])]
            left -= len(page)
            if left < 0:
                return
            good = _checksum(page) == page[22:26]
            if good:
                behind = place + at + len(page)
            yield place + at, page, good


def _cut(data: SoundBytes, start: int, end: int) -> bool:
    """Whether the link lacks the last page of its sound."""
    serial = _serial(data, start, end)
    for reach in (2 * _LONGEST_PAGE, 2**22):
        begin = max(start, end - reach)
        tail = data.at(begin, end - begin)
        pages = [match.start() for match in _PAGE.finditer(tail)]
        for place in reversed(pages):
            head = tail[place : place + 27]
            if len(head) < 27:
                return True
            if serial is not None and head[14:18] != serial:
                continue
            length = 27 + head[26] + sum(tail[place + 27 : place + 27 + head[26]])
            page = tail[place : place + length]
            return len(page) < length or not head[5] & 4 or _checksum(page) != page[22:26]
        if begin == start:
            break
    return True


def _checksum(page: bytes) -> bytes:
    """The checksum that belongs into bytes 22 to 26 of a page.

    It is the CRC-32 of zlib with the bits in the other order, and nothing turned over at either end.
    """
    empty = page[:22] + b"\x00" * 4 + page[26:]
    turned = zlib.crc32(empty.translate(_TURNED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return turned.to_bytes(4, "big").translate(_TURNED)


def _serial(data: SoundBytes, start: int, end: int) -> bytes | None:
    """The serial number of the link's first stream of sound."""
    place = start
    for _ in range(64):
        head = data.at(place, 27 + 255 + 8)
        if len(head) < 28 or head[:4] != b"OggS" or not head[5] & 2 or place >= end:
            break
        if head[27 + head[26] :].startswith(_OURS):
            return head[14:18]
        place = _page_end(data, place)
    return None


def _page_end(data: SoundBytes, place: int) -> int:
    head = data.at(place, 27 + 255)
    if len(head) < 27:
        return data.size
    return place + 27 + head[26] + sum(head[27 : 27 + head[26]])


def _matches(
    data: SoundBytes, start: int, stop: int, pattern: re.Pattern[bytes], length: int
) -> Iterator[int]:
    """Places of `pattern`, which matches `length` bytes."""
    for place, block in data.blocks(start, stop, length - 1):
        for match in pattern.finditer(block):
            yield place + match.start()


def _without_zeros(data: SoundBytes, begin: int, end: int) -> int:
    """The place where the zeros before `end` begin; some are kept, a frame may end with them."""
    while end - begin > 4096:
        tail = data.at(end - 4096, 4096)
        if any(tail):
            return min(end, end - 4096 + len(tail.rstrip(b"\x00")) + 2)
        end -= 4096
    return end
