"""Ogg: the streams of Vorbis, Opus, FLAC and Speex, in pages that bear numbers."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from .bytes import SoundBytes
from .mpeg import begins_mpeg
from .parts import MOST_PARTS, Parsed, SoundPart, after_id3, after_zeros, is_sound_file, next_file

_PAGE = re.compile(rb"OggS\x00[\x00-\x07]", re.DOTALL)
_OURS = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
# Two hours have some 50,000 pages.
_MOST_PAGES = 1_000_000
# Bytes with their bits in the other order.
_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_LONGEST_PAGE = 27 + 255 + 255 * 255


@dataclass(slots=True)
class _Link:
    """One link of a chain: where it lies, bytes in it that are no whole page, pages that are missing."""

    begin: int
    end: int
    skipped: int = 0
    missing: int = 0
    numbers: dict[bytes, int] = field(default_factory=dict)

    def add(self, place: int, page: bytes) -> None:
        """The next page of any of its streams."""
        self.skipped += place - self.end
        self.end = place + len(page)
        serial, number = page[14:18], int.from_bytes(page[18:22], "little")
        # The numbers of a stream's pages run on; those of whatever came twice do not count.
        self.missing += max(0, number - self.numbers.get(serial, number))
        self.numbers[serial] = number + 1


def ogg(data: SoundBytes, start: int) -> Parsed:
    """The links of an Ogg chain: each begins with the first pages of its streams."""
    links = [_Link(start, start)]
    group_end = start
    stop = data.size
    # Where a look found no other file: pages that are not good do not move the place.
    looked = start
    for place, page, good in islice(_pages(data, start), _MOST_PAGES):
        link = links[-1]
        if place > link.end != looked:
            if _other_file(data, link.end):
                stop = link.end
                break
            looked = link.end
        # First pages of streams that run side by side stand together.
        if page[5] & 2 and good:
            if place != group_end and len(links) == MOST_PARTS:
                stop = link.end
                break
            if place != group_end:
                links.append(_Link(place, place))
                # Tags and zeros may lie between.
                if after_zeros(data, after_id3(data, link.end)) != place:
                    link.skipped += place - link.end
            group_end = place + len(page)
        # The decoder drops a page that is not good, and may take what is left for all.
        if good:
            links[-1].add(place, page)
    # Half a page at the end belongs to the last link.
    if stop == data.size:
        stop = (
            next_file(data, links[-1].end + 1, data.size) if _page_at(data, links[-1].end) else links[-1].end
        )
    ends = [*(link.begin for link in links[1:]), stop]
    parts = []
    for link, end in zip(links, ends, strict=True):
        cut = _cut(data, link.begin, end)
        lost = f"pages are missing inside it ({link.missing})" if link.missing else ""
        skipped = 0 if cut else link.skipped
        view = ((link.begin, end - link.begin),)
        intact = not cut and not skipped and not lost
        parts.append(SoundPart((view,), cut=cut, counted=True, skipped=skipped, lost=lost, intact=intact))
    return Parsed(parts, stop)


def _page_at(data: SoundBytes, place: int) -> bool:
    """Whether a page begins there, whole or not."""
    head = data.at(place, 6)
    return bool(head) and b"OggS\x00".startswith(head[:5])


def _other_file(data: SoundBytes, place: int) -> bool:
    """Whether a sound file of another kind begins there."""
    place = after_zeros(data, after_id3(data, place))
    head = data.at(place, 16)
    return head[:4] != b"OggS" and (is_sound_file(head) or begins_mpeg(data, place))


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
            if len(page) < _LONGEST_PAGE and place + len(block) < data.size:
                page = data.at(place + at, _LONGEST_PAGE)
            if len(page) < 27:
                continue
            page = page[: 27 + page[26] + sum(page[27 : 27 + page[26]])]
            left -= len(page)
            if left < 0:
                return
            good = checksum(page) == page[22:26]
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
            return len(page) < length or not head[5] & 4 or checksum(page) != page[22:26]
        if begin == start:
            break
    return True


def checksum(page: bytes) -> bytes:
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
