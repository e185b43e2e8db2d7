"""WAVE: RIFF, RIFX, RF64 and BW64, and Sony's Wave64."""

from __future__ import annotations

import struct
from dataclasses import replace

from .bytes import Piece, SoundBytes
from .chunks import MOST_CHUNKS, Extent, Read, behind_chunks, measure, next_begins, views_of, walk
from .mpeg import mpeg
from .parts import Parsed, SoundPart, is_padding

_MOST_EXTENTS = 16
# The size of a chunk whose real one stands in `ds64`.
_IN_DS64 = 2**32 - 1
_W64_TAIL = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


def riff(data: SoundBytes, start: int) -> Parsed | None:
    """RIFF, RIFX, RF64 and BW64."""
    form = data.at(start, 4)
    order = ">" if form == b"RIFX" else "<"
    number = struct.Struct(order + "4sI")

    def read(head: bytes) -> tuple[bytes, int]:
        name, length = number.unpack(head[:8])
        return name, length

    sizes = shape = b""
    extents: list[Extent] = []
    end, at = data.size, start + 12
    for _ in range(MOST_CHUNKS):
        head = data.at(at, 16)
        if extents and (following := next_begins(data, at)) is not None:
            end = following
            break
        if len(head) < 8 or (extents and is_padding(data, at, data.size)):
            break
        name, declared = read(head)
        place, held = at + 8, declared
        if name == b"ds64":
            sizes = data.at(place, 28)
        elif name == b"fmt ":
            shape = data.at(place, min(declared, 1024))
        elif name == b"data" and len(shape) >= 16:
            extent = _data_chunk(data, place, declared, b"" if extents else sizes, read)
            extents.append(extent)
            held = extent.held
            # What lies behind each is looked through: not again and again.
            if len(extents) == _MOST_EXTENTS:
                end = place + held
                break
        at = place + held + (held & 1)
    return _wave(data, start, end, order, shape, extents)


def _data_chunk(data: SoundBytes, place: int, declared: int, sizes: bytes, read: Read) -> Extent:
    """The sound of a RIFF `data` chunk. sizes: what a `ds64` chunk holds, where there is one."""
    long = declared == _IN_DS64 and len(sizes) >= 16
    length = int.from_bytes(sizes[8:16], "little") if long else declared
    wanted = None if long and length == 2**64 - 1 else length
    return measure(data, place, wanted, lambda at: behind_chunks(data, at, read, 8), bits=64 if long else 32)


def w64(data: SoundBytes, start: int) -> Parsed | None:
    """Sony Wave64: RIFF with 128-bit names and 64-bit sizes, which count their own header."""

    def read(head: bytes) -> tuple[bytes, int]:
        name = head[:4] if head[4:16] == _W64_TAIL else b"\x00" * 4
        length = int.from_bytes(head[16:24], "little")
        # Chunks begin at multiples of 8. The sound's may have no length yet.
        return name, max(0 if name == b"data" else -1, (length + 7) // 8 * 8 - 24)

    shape = b""
    for name, place, declared in walk(data, start + 40, read, 24):
        if name == b"fmt ":
            shape = data.at(place, min(declared, 1024))
        elif name == b"data" and len(shape) >= 16:
            exact = max(0, int.from_bytes(data.at(place - 8, 8), "little") - 24)
            extent = measure(data, place, exact, lambda at: _behind_w64(data, at, read), bits=64)
            return _wave(data, start, extent.end, "<", shape, [extent])
    return None


def _behind_w64(data: SoundBytes, place: int, read: Read) -> int | None:
    return behind_chunks(data, place + (-place) % 8, read, 24)


def _wave(
    data: SoundBytes, start: int, end: int, order: str, shape: bytes, extents: list[Extent]
) -> Parsed | None:
    """The part for what a WAVE file's `fmt ` (shape) and `data` chunks hold."""
    if not extents:
        return None
    kind, _, rate, speed, block, _ = struct.unpack(order + "HHIIHH", shape[:16])
    if kind == 0xFFFE and len(shape) >= 26:
        kind = struct.unpack(order + "H", shape[24:26])[0]
    coded = mpeg(data, extents[0].begin, extents[0].begin + extents[0].held) if kind == 0x55 else None
    if coded is not None:
        return Parsed([replace(part, cut=part.cut or extents[0].short) for part in coded.parts], end)
    declared = sum(extent.declared for extent in extents if extent.declared is not None)
    exact = kind in {1, 3, 6, 7}
    each = 1 if exact else _samples_a_block(shape, order)
    # Part of a packed block is a block.
    samples = -(-declared // max(1, block)) * each if each > 1 else declared // max(1, block)
    if not each:
        samples = declared * rate // max(1, speed)
    known = all(extent.declared is not None for extent in extents)
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

        views = tuple(view for extent in extents for view in views_of(extent, max(1, block), header))
    unfinished = any(extent.unfinished for extent in extents)
    cut = not exact and any(extent.short for extent in extents)
    exact = exact or any(not extent.right for extent in extents)
    part = SoundPart(views, samples if known and exact else None, unfinished, cut=cut, counted=not exact)
    return Parsed([part], end)


def _samples_a_block(shape: bytes, order: str) -> int:
    """Samples per channel of a packed block (ADPCM, GSM), by the `fmt ` chunk; 0 where it does not say."""
    block = int.from_bytes(shape[12:14], "little" if order == "<" else "big")
    each = int.from_bytes(shape[18:20], "little" if order == "<" else "big")
    return each if len(shape) >= 20 and each <= 8 * block else 0
