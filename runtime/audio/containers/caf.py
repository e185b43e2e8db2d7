"""CAF, the Core Audio Format."""

from __future__ import annotations

import struct

from .bytes import SoundBytes
from .chunks import Read, behind_chunks, measure, views_of, walk
from .parts import Parsed, SoundPart, as_it_is


def caf(data: SoundBytes, start: int) -> Parsed | None:
    """Core Audio Format."""

    def read(head: bytes) -> tuple[bytes, int]:
        name, length = struct.unpack(">4sq", head[:12])
        return name, length if name != b"data" or length >= 0 else 2**64 - 1

    shape = b""
    for name, place, declared in walk(data, start + 8, read, 12):
        if name == b"desc":
            shape = data.at(place, 32)
        elif name == b"data" and len(shape) == 32:
            return _caf_sound(data, start, shape, place, declared, read)
    return None


def _caf_sound(data: SoundBytes, start: int, shape: bytes, place: int, declared: int, read: Read) -> Parsed:
    """What the data chunk at `place` holds. shape: the content of desc."""
    block, each = struct.unpack(">II", shape[16:24])
    begin = place + 4
    wanted = None if declared == 2**64 - 1 else max(0, declared - 4)
    extent = measure(data, begin, wanted, lambda at: behind_chunks(data, at, read, 12), bits=64)
    last = extent.end
    if not block:
        return as_it_is(start, last, cut=extent.short)
    samples = None if extent.declared is None else extent.declared // block * each
    if extent.right:
        return as_it_is(start, last, samples)

    def header(length: int) -> bytes:
        desc = b"desc" + struct.pack(">q", 32) + shape
        return data.at(start, 8) + desc + b"data" + struct.pack(">qI", length + 4, 0)

    return Parsed([SoundPart(views_of(extent, block, header), samples, extent.unfinished)], last)
