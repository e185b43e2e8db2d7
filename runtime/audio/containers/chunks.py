"""Chunks with sizes, of which WAV, Wave64, AIFF and CAF are made: how much sound there is, what is behind it.

Where a size does not fit the file, libsndfile is given a header whose sizes do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from .bytes import Piece, SoundBytes
from .mpeg import begins_mpeg
from .parts import after_id3, after_zeros, is_padding, is_sound_file

MOST_CHUNKS = 20_000
# A header of 32-bit sizes never speaks for more than this: longer sound gets several.
VIEW_BYTES = 2**30
WRAP = 2**32
# Other chunks than sound that may be cut off at a file's end.
KNOWN = frozenset(
    name.ljust(4)
    for name in (
        b"LIST id3 ID3 bext JUNK junk cue smpl fact PEAK afsp _PMX iXML cart FLLR PAD DISP acid inst "
        b"axml chna umid levl plst wamd guan minf elm1 regn ANNO NAME AUTH (c) COMT MARK INST APPL info free "
        b"uuid midi"
    ).split()
)
# The tail in which chunks behind a sound of the wrong size are looked for.
_TAIL = 2**20
_CHUNK = re.compile(b"|".join(re.escape(name) for name in sorted(KNOWN)))
Behind = Callable[[int], int | None]
# Name and size of the chunk whose head is given.
Read = Callable[[bytes], tuple[bytes, int]]


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes of sound that are there, and that the header declares (None: it could not know).

    Attributes:
        right: The header needs no change.
        end: Where the next file begins, or the end of this one.

    """

    begin: int
    held: int
    declared: int | None
    right: bool
    end: int
    unfinished: bool = False

    @property
    def short(self) -> bool:
        """Whether the header declares more than is there."""
        return self.declared is not None and self.declared > self.held


def measure(data: SoundBytes, begin: int, declared: int | None, behind: Behind, *, bits: int = 32) -> Extent:
    """How much sound begins at `begin`, where the header says `declared` bytes; None: it does not say.

    behind: where the next file begins, if what a file may hold behind its sound begins at a place; else None
    bits: of the size in the header, 32 or 64
    """
    there = max(0, data.size - begin)
    if declared is None or is_unknown(declared, bits):
        if declared is not None and declared <= there and (end := behind(begin + declared)) is not None:
            return Extent(begin, declared, declared, True, end)
        return Extent(begin, there, None, False, data.size)
    if declared > there:
        return Extent(begin, there, declared, False, data.size)
    # A 32-bit size starts again at 0 after 4 GiB.
    for length in range(declared, there + 1, WRAP) if bits == 32 else (declared,):
        for padded in dict.fromkeys((length + (length & 1), length)):
            end = behind(begin + padded)
            if end is not None:
                return Extent(begin, length, declared, length == declared, end)
    held = _before_chunks(data, begin + declared) - begin
    return Extent(begin, held, declared, False, data.size, unfinished=declared == 0)


def _before_chunks(data: SoundBytes, declared: int) -> int:
    """The place where known chunks begin that end with the file, be it of RIFF or AIFF; else the end."""
    start = max(declared, data.size - _TAIL)
    tail = data.at(start, data.size - start)
    # Places of chunks from which the sizes are known not to lead to the end.
    walked: dict[Literal["little", "big"], set[int]] = {"little": set(), "big": set()}
    for match in _CHUNK.finditer(tail):
        place = match.start()
        for order, seen in walked.items():
            at = place
            while at not in seen and tail[at : at + 4] in KNOWN:
                seen.add(at)
                length = int.from_bytes(tail[at + 4 : at + 8], order)
                at += 8 + length + (length & 1)
            # The last byte of padding may be missing.
            if at in {len(tail), len(tail) + 1}:
                return start + place
    return data.size


def is_unknown(declared: int, bits: int) -> bool:
    """Whether a size is what writers to a pipe put in, who cannot know it."""
    low, high = 1 << (bits - 1), 1 << bits
    # SoX says 0x7F000000 at least, FFmpeg and others the highest numbers of either kind.
    return low - (low >> 7) <= declared <= low or declared >= high - 2**16


def views_of(extent: Extent, block: int, header: Callable[[int], bytes]) -> tuple[tuple[Piece, ...], ...]:
    """The sound behind new headers, each for whole blocks of `block` bytes. header: of a length in bytes."""
    step = max(block, VIEW_BYTES // block * block)
    return tuple(
        (header(length), (extent.begin + start, length))
        for start in range(0, max(1, extent.held), step)
        for length in [min(step, extent.held - start)]
    )


def is_text(data: SoundBytes, place: int) -> bool:
    """Whether words follow (XML, notes), which no sound looks like."""
    some = data.at(place, 64).strip(b"\x00")
    return len(some) >= 16 and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in some)


def next_begins(data: SoundBytes, place: int) -> int | None:
    """The place of the next file, where one begins at `place` or behind the zeros there."""
    if data.at(place, 4) == bytes(4):
        place = after_zeros(data, place)
    # A chunk may be called "ID3 ".
    tag = after_id3(data, place) > place and data.at(place, 4) != b"ID3 "
    return place if tag or is_sound_file(data.at(place, 16)) or begins_mpeg(data, place) else None


def behind_chunks(data: SoundBytes, place: int, read: Read, head: int) -> int | None:
    """Where another file begins behind the chunks, tags, words and padding at `place`; else the end.

    None where something else is there, which must be sound.
    """
    for _ in range(MOST_CHUNKS):
        # A lone byte is padding.
        if data.size - place < 2 or is_padding(data, place, data.size):
            return data.size
        start = data.at(place, max(head, 16))
        if (following := next_begins(data, place)) is not None:
            return following
        name, length = read(start) if len(start) >= head else (b"\x00", -1)
        if length < 0 or not all(32 <= byte < 127 for byte in name):
            return data.size if is_text(data, place) else None
        if place + head + length > data.size:
            return data.size if name in KNOWN or is_text(data, place) else None
        place += head + length + (length & 1)
    return data.size


def walk(data: SoundBytes, place: int, read: Read, head: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, place of its content, size as declared) of each chunk from `place` on."""
    for _ in range(MOST_CHUNKS):
        start = data.at(place, head)
        if len(start) < head:
            return
        name, length = read(start)
        if length < 0:
            return
        yield name, place + head, length
        place += head + length + (length & 1)
