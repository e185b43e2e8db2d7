"""AU (.snd), which is one chunk."""

from __future__ import annotations

import struct

from .bytes import SoundBytes
from .chunks import is_text, is_unknown, measure, next_begins, views_of
from .parts import Parsed, SoundPart, as_it_is, is_padding


def au(data: SoundBytes, start: int) -> Parsed | None:
    """AU (.snd), of either byte order."""
    head = data.at(start, 24)
    if len(head) < 24:
        return None
    order = "<" if head[:4] == b"dns." else ">"
    offset, declared, coding, _, channels = struct.unpack(order + "5I", head[4:24])
    width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}.get(coding)
    begin = start + max(24, offset)
    bits = {23: 4, 25: 3, 26: 5}.get(coding)
    if bits and start == 0 and not is_unknown(declared, 32):
        # Samples of fewer bits than a byte: as they are.
        return as_it_is(0, data.size, cut=begin + declared > data.size, counted=True)
    if not width or not 1 <= channels <= 1024:
        return None
    extent = measure(data, begin, declared, lambda at: _behind_au(data, at))
    last = extent.end
    block = width * channels
    samples = None if extent.declared is None else extent.declared // block
    if extent.right:
        return as_it_is(start, last, samples)

    def header(length: int) -> bytes:
        return head[:4] + struct.pack(order + "II", 24, length) + head[12:24]

    return Parsed([SoundPart(views_of(extent, block, header), samples, extent.unfinished)], last)


def _behind_au(data: SoundBytes, place: int) -> int | None:
    if (following := next_begins(data, place)) is not None:
        return following
    known = data.size - place < 2 or is_padding(data, place, data.size) or is_text(data, place)
    return data.size if known else None
