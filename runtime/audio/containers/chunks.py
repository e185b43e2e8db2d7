"""Sound files made of chunks with sizes: WAV, RF64, Wave64, AIFF, CAF; and AU, which is one chunk.

Where a size does not fit the file, libsndfile is given a header whose sizes do.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from .bytes import Piece, SoundBytes
from .mpeg import begins_mpeg, mpeg
from .parts import Parsed, Part, after_id3, after_zeros, is_padding, is_sound_file

_MOST_CHUNKS = 20_000
_MOST_EXTENTS = 16
# A header of 32-bit sizes never speaks for more than this: longer sound gets several.
_VIEW_BYTES = 2**30
_WRAP = 2**32
# Other chunks than sound that may be cut off at a file's end.
_KNOWN = frozenset(
    name.ljust(4)
    for name in (
        b"LIST id3 ID3 bext JUNK junk cue smpl fact PEAK afsp _PMX iXML cart FLLR PAD DISP acid inst "
        b"axml chna umid levl plst wamd guan minf elm1 regn ANNO NAME AUTH (c) COMT MARK INST APPL info free "
        b"uuid midi"
    ).split()
)
# The tail in which chunks behind a sound of the wrong size are looked for.
_TAIL = 2**20
_CHUNK = re.compile(b"|".join(re.escape(name) for name in sorted(_KNOWN)))
_Behind = Callable[[int], int | None]
# Name and size of the chunk whose head is given.
_Read = Callable[[bytes], tuple[bytes, int]]
_W64_TAIL = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


@dataclass(frozen=True, slots=True)
class _Extent:
    """Bytes of sound that are there, and that the header tells of (None: it could not know).

    right: the header needs no change; end: where the next file begins, or the end of this one
    """

    begin: int
    held: int
    told: int | None
    right: bool
    end: int
    unfinished: bool = False


def _measure(data: SoundBytes, begin: int, told: int | None, behind: _Behind, *, bits: int = 32) -> _Extent:
    """How much sound begins at `begin`, where the header says `told` bytes.

    behind: where the next file begins, if what a file may hold behind its sound begins at a place; else None
    """
    there = max(0, data.size - begin)
    if told is None or _unknown(told, bits):
        if told is not None and told <= there and (end := behind(begin + told)) is not None:
            return _Extent(begin, told, told, True, end)
        return _Extent(begin, there, None, False, data.size)
    if told > there:
        return _Extent(begin, there, told, False, data.size)
    # A 32-bit size starts again at 0 after 4 GiB.
    for length in range(told, there + 1, _WRAP) if bits == 32 else (told,):
        for padded in dict.fromkeys((length + (length & 1), length)):
            end = behind(begin + padded)
            if end is not None:
                return _Extent(begin, length, told, length == told, end)
    held = _before_chunks(data, begin + told) - begin
    return _Extent(begin, held, told, False, data.size, unfinished=told == 0)


def _before_chunks(data: SoundBytes, told: int) -> int:
    """The place where known chunks begin that end with the file, be it of RIFF or AIFF; else the end."""
    start = max(told, data.size - _TAIL)
    tail = data.at(start, data.size - start)
    # Places of chunks from which the sizes are known not to lead to the end.
    walked: dict[Literal["little", "big"], set[int]] = {"little": set(), "big": set()}
    for match in _CHUNK.finditer(tail):
        place = match.start()
        for order, seen in walked.items():
            at = place
            while at not in seen and tail[at : at + 4] in _KNOWN:
                seen.add(at)
                length = int.from_bytes(tail[at + 4 : at + 8], order)
                at += 8 + length + (length & 1)
            # The last byte of padding may be missing.
            if at in {len(tail), len(tail) + 1}:
                return start + place
    return data.size


def _short(extent: _Extent) -> bool:
    return extent.told is not None and extent.told > extent.held


def _unknown(told: int, bits: int) -> bool:
    """Whether a size is what writers to a pipe put in, who cannot know it."""
    low, high = 1 << (bits - 1), 1 << bits
    # SoX says 0x7F000000 at least, FFmpeg and others the highest numbers of either kind.
    return low - (low >> 7) <= told <= low or told >= high - 2**16


def _views(
    extent: _Extent, block: int, header: Callable[[int], bytes], most: int = _VIEW_BYTES
) -> tuple[tuple[Piece, ...], ...]:
    """The sound behind new headers, each for whole blocks of `block` bytes. header: of a length in bytes."""
    step = max(block, most // block * block)
    return tuple(
        (header(length), (extent.begin + start, length))
        for start in range(0, max(1, extent.held), step)
        for length in [min(step, extent.held - start)]
    )


def _text(data: SoundBytes, place: int) -> bool:
    """Whether words follow (XML, notes), which no sound looks like."""
    some = data.at(place, 64).strip(b"\x00")
    return len(some) >= 16 and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in some)


def _next_begins(data: SoundBytes, place: int) -> int | None:
    """The place of the next file, where one begins at `place` or behind the zeros there."""
    if data.at(place, 4) == bytes(4):
        place = after_zeros(data, place)
    # A chunk may be called "ID3 ".
    tag = after_id3(data, place) > place and data.at(place, 4) != b"ID3 "
    return place if tag or is_sound_file(data.at(place, 16)) or begins_mpeg(data, place) else None


def _behind(data: SoundBytes, place: int, read: _Read, head: int) -> int | None:
    """Where another file begins behind the chunks, tags, words and padding at `place`; else the end.

    None where something else is there, which must be sound.
    """
    for _ in range(_MOST_CHUNKS):
        # A lone byte is padding.
        if data.size - place < 2 or is_padding(data, place, data.size):
            return data.size
        start = data.at(place, max(head, 16))
        if (following := _next_begins(data, place)) is not None:
            return following
        name, length = read(start) if len(start) >= head else (b"\x00", -1)
        if length < 0 or not all(32 <= byte < 127 for byte in name):
            return data.size if _text(data, place) else None
        if place + head + length > data.size:
            return data.size if name in _KNOWN or _text(data, place) else None
        place += head + length + (length & 1)
    return data.size


def _chunks(data: SoundBytes, place: int, read: _Read, head: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, place of its content, size as told) of each chunk from `place` on."""
    for _ in range(_MOST_CHUNKS):
        start = data.at(place, head)
        if len(start) < head:
            return
        name, length = read(start)
        if length < 0:
            return
        yield name, place + head, length
        place += head + length + (length & 1)


def riff(data: SoundBytes, start: int) -> Parsed | None:
    """RIFF, RIFX, RF64 and BW64."""
    form = data.at(start, 4)
    order = ">" if form == b"RIFX" else "<"
    number = struct.Struct(order + "4sI")

    def read(head: bytes) -> tuple[bytes, int]:
        name, length = number.unpack(head[:8])
        return name, length

    sizes = shape = b""
    extents: list[_Extent] = []
    end, at = data.size, start + 12
    for _ in range(_MOST_CHUNKS):
        head = data.at(at, 16)
        if extents and (following := _next_begins(data, at)) is not None:
            end = following
            break
        if len(head) < 8 or (extents and is_padding(data, at, data.size)):
            break
        name, told = read(head)
        place, held = at + 8, told
        if name == b"ds64":
            sizes = data.at(place, 28)
        elif name == b"fmt ":
            shape = data.at(place, min(told, 1024))
        elif name == b"data" and len(shape) >= 16:
            extent = _data_chunk(data, place, told, b"" if extents else sizes, read)
            extents.append(extent)
            held = extent.held
            # What lies behind each is looked through: not again and again.
            if len(extents) == _MOST_EXTENTS:
                end = place + held
                break
        at = place + held + (held & 1)
    return _wave(data, start, end, order, shape, extents)


def _data_chunk(data: SoundBytes, place: int, told: int, sizes: bytes, read: _Read) -> _Extent:
    """The sound of a RIFF `data` chunk. sizes: what a `ds64` chunk holds, where there is one."""
    long = told == _WRAP - 1 and len(sizes) >= 16
    length = int.from_bytes(sizes[8:16], "little") if long else told
    wanted = None if long and length == 2**64 - 1 else length
    return _measure(data, place, wanted, lambda at: _behind(data, at, read, 8), bits=64 if long else 32)


def w64(data: SoundBytes, start: int) -> Parsed | None:
    """Sony Wave64: RIFF with 128-bit names and 64-bit sizes, which count their own header."""

    def read(head: bytes) -> tuple[bytes, int]:
        name = head[:4] if head[4:16] == _W64_TAIL else b"\x00" * 4
        length = int.from_bytes(head[16:24], "little")
        # Chunks begin at multiples of 8. The sound's may have no length yet.
        return name, max(0 if name == b"data" else -1, (length + 7) // 8 * 8 - 24)

    shape = b""
    for name, place, told in _chunks(data, start + 40, read, 24):
        if name == b"fmt ":
            shape = data.at(place, min(told, 1024))
        elif name == b"data" and len(shape) >= 16:
            exact = max(0, int.from_bytes(data.at(place - 8, 8), "little") - 24)
            extent = _measure(data, place, exact, lambda at: _behind_w64(data, at, read), bits=64)
            return _wave(data, start, extent.end, "<", shape, [extent])
    return None


def _behind_w64(data: SoundBytes, place: int, read: _Read) -> int | None:
    return _behind(data, place + (-place) % 8, read, 24)


def _wave(
    data: SoundBytes, start: int, end: int, order: str, shape: bytes, extents: list[_Extent]
) -> Parsed | None:
    """The part for what a WAVE file's `fmt ` (shape) and `data` chunks hold."""
    if not extents:
        return None
    kind, _, rate, speed, block, _ = struct.unpack(order + "HHIIHH", shape[:16])
    if kind == 0xFFFE and len(shape) >= 26:
        kind = struct.unpack(order + "H", shape[24:26])[0]
    coded = mpeg(data, extents[0].begin, extents[0].begin + extents[0].held) if kind == 0x55 else None
    if coded is not None:
        return Parsed([replace(part, cut=part.cut or _short(extents[0])) for part in coded.parts], end)
    told = sum(extent.told for extent in extents if extent.told is not None)
    exact = kind in {1, 3, 6, 7}
    each = 1 if exact else _samples_a_block(shape, order)
    # Part of a packed block is a block.
    samples = -(-told // max(1, block)) * each if each > 1 else told // max(1, block)
    if not each:
        samples = told * rate // max(1, speed)
    known = all(extent.told is not None for extent in extents)
    if len(extents) == 1 and extents[0].right:
        # libsndfile takes what follows in a Wave64 file for sound.
        last = extents[0].begin + extents[0].held if data.at(start, 4) == b"riff" else end
        views: tuple[tuple[Piece, ...], ...] = (((start, last - start),),)
    else:
        form = b"RIFX" if order == ">" else b"RIFF"
        padded = shape + b"\x00" * (len(shape) & 1)

        def header(length: int) -> bytes:
            inner = b"WAVEfmt " + struct.pack(order + "I", len(shape)) + padded
            size = struct.pack(order + "I", len(inner) + 8 + length)
            return form + size + inner + b"data" + struct.pack(order + "I", length)

        views = tuple(view for extent in extents for view in _views(extent, max(1, block), header))
    unfinished = any(extent.unfinished for extent in extents)
    cut = not exact and any(_short(extent) for extent in extents)
    exact = exact or any(not extent.right for extent in extents)
    part = Part(views, samples if known and exact else None, unfinished, cut=cut, counted=not exact)
    return Parsed([part], end)


def _samples_a_block(shape: bytes, order: str) -> int:
    """Samples per channel of a packed block (ADPCM, GSM), by the `fmt ` chunk; 0 where it does not say."""
    block = int.from_bytes(shape[12:14], "little" if order == "<" else "big")
    each = int.from_bytes(shape[18:20], "little" if order == "<" else "big")
    return each if len(shape) >= 20 and each <= 8 * block else 0


def aiff(data: SoundBytes, start: int) -> Parsed | None:
    """AIFF and AIFC."""

    def read(head: bytes) -> tuple[bytes, int]:
        name, length = struct.unpack(">4sI", head[:8])
        return name, length

    common = b""
    for name, place, told in _chunks(data, start + 12, read, 8):
        if name == b"COMM":
            common = data.at(place, min(told, 512))
        elif name == b"SSND" and len(common) >= 18:
            return _aiff_sound(data, start, common, place, told, read)
    return None


def _aiff_sound(
    data: SoundBytes,
    start: int,
    common: bytes,
    place: int,
    told: int,
    read: _Read,
) -> Parsed:
    """What the SSND chunk at `place` holds. common: the content of COMM."""
    channels, frames, bits = struct.unpack(">HIH", common[:8])
    coding = common[18:22] if data.at(start + 8, 4) == b"AIFC" else b"NONE"
    block, each = _aiff_block(coding, channels, bits)
    lead = int.from_bytes(data.at(place, 4), "big")
    begin = place + 8 + lead
    wanted = None if _unknown(told, 32) else max(0, told - 8 - lead)
    extent = _measure(data, begin, wanted, lambda at: _behind(data, at, read, 8))
    held = extent.held // max(1, block)
    last = extent.end
    if not block:
        return Parsed([Part((((start, last - start),),), counted=True)], last)
    if extent.right and held == frames:
        return Parsed([Part((((start, last - start),),), frames * each)], last)

    def header(length: int) -> bytes:
        comm = common[:2] + struct.pack(">I", length // block) + common[6:]
        comm += b"\x00" * (len(comm) & 1)
        inner = data.at(start + 8, 4) + b"COMM" + struct.pack(">I", len(comm)) + comm
        inner += b"SSND" + struct.pack(">III", 8 + length, 0, 0)
        return b"FORM" + struct.pack(">I", len(inner) + length) + inner

    told_frames = None
    if extent.told is not None:
        # Two counts that ought to agree: the higher tells what is missing, else the lower what is left out.
        counts = (frames, extent.told // block)
        told_frames = max(counts) if max(counts) > held else min(counts)
    unfinished = held > 0 and told_frames == 0
    told_samples = None if told_frames is None else told_frames * each
    return Parsed([Part(_views(extent, block, header), told_samples, unfinished)], last)


def _aiff_block(coding: bytes, channels: int, bits: int) -> tuple[int, int]:
    """Bytes of a block for all channels, and its samples per channel; (0, 0) where unknown."""
    kind = coding.lower()
    if kind in {b"none", b"twos", b"sowt", b"raw ", b"in24", b"in32", b"fl32", b"fl64", b"42ni", b"23ni"}:
        return channels * ((bits + 7) // 8), 1
    if kind in {b"ulaw", b"alaw"}:
        return channels, 1
    return (channels * 34, 64) if kind == b"ima4" else (0, 0)


def caf(data: SoundBytes, start: int) -> Parsed | None:
    """Core Audio Format."""

    def read(head: bytes) -> tuple[bytes, int]:
        name, length = struct.unpack(">4sq", head[:12])
        return name, length if name != b"data" or length >= 0 else 2**64 - 1

    shape = b""
    for name, place, told in _chunks(data, start + 8, read, 12):
        if name == b"desc":
            shape = data.at(place, 32)
        elif name == b"data" and len(shape) == 32:
            return _caf_sound(data, start, shape, place, told, read)
    return None


def _caf_sound(
    data: SoundBytes,
    start: int,
    shape: bytes,
    place: int,
    told: int,
    read: _Read,
) -> Parsed:
    """What the data chunk at `place` holds. shape: the content of desc."""
    block, each = struct.unpack(">II", shape[16:24])
    begin = place + 4
    wanted = None if told == 2**64 - 1 else max(0, told - 4)
    extent = _measure(data, begin, wanted, lambda at: _behind(data, at, read, 12), bits=64)
    last = extent.end
    if not block:
        whole = Part((((start, last - start),),), cut=_short(extent))
        return Parsed([whole], last)
    samples = None if extent.told is None else extent.told // block * each
    if extent.right:
        return Parsed([Part((((start, last - start),),), samples)], last)

    def header(length: int) -> bytes:
        desc = b"desc" + struct.pack(">q", 32) + shape
        return data.at(start, 8) + desc + b"data" + struct.pack(">qI", length + 4, 0)

    return Parsed([Part(_views(extent, block, header), samples, extent.unfinished)], last)


def au(data: SoundBytes, start: int) -> Parsed | None:
    """AU (.snd), of either byte order."""
    head = data.at(start, 24)
    if len(head) < 24:
        return None
    order = "<" if head[:4] == b"dns." else ">"
    offset, told, coding, _, channels = struct.unpack(order + "5I", head[4:24])
    width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}.get(coding)
    begin = start + max(24, offset)
    bits = {23: 4, 25: 3, 26: 5}.get(coding)
    if bits and start == 0 and not _unknown(told, 32):
        # Samples of fewer bits than a byte: as they are.
        return Parsed([Part((((0, data.size),),), cut=begin + told > data.size, counted=True)], data.size)
    if not width or not 1 <= channels <= 1024:
        return None
    extent = _measure(data, begin, told, lambda at: _behind_au(data, at))
    last = extent.end
    block = width * channels
    samples = None if extent.told is None else extent.told // block
    if extent.right:
        return Parsed([Part((((start, last - start),),), samples)], last)

    def header(length: int) -> bytes:
        return head[:4] + struct.pack(order + "II", 24, length) + head[12:24]

    return Parsed([Part(_views(extent, block, header), samples, extent.unfinished)], last)


def _behind_au(data: SoundBytes, place: int) -> int | None:
    if (following := _next_begins(data, place)) is not None:
        return following
    known = data.size - place < 2 or is_padding(data, place, data.size) or _text(data, place)
    return data.size if known else None
