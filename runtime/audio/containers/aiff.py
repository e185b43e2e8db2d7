"""AIFF and AIFC."""

from __future__ import annotations

import struct

from .bytes import SoundBytes
from .chunks import Read, behind_chunks, is_unknown, measure, views_of, walk
from .parts import Parsed, SoundPart, as_it_is


def aiff(data: SoundBytes, start: int) -> Parsed | None:
    """AIFF and AIFC."""

    def read(head: bytes) -> tuple[bytes, int]:
        name, length = struct.unpack(">4sI", head[:8])
        return name, length

    common = b""
    for name, place, declared in walk(data, start + 12, read, 8):
        if name == b"COMM":
            common = data.at(place, min(declared, 512))
        elif name == b"SSND" and len(common) >= 18:
            return _aiff_sound(data, start, common, place, declared, read)
    return None


def _aiff_sound(data: SoundBytes, start: int, common: bytes, place: int, declared: int, read: Read) -> Parsed:
    """What the SSND chunk at `place` holds. common: the content of COMM."""
    channels, frames, bits = struct.unpack(">HIH", common[:8])
    coding = common[18:22] if data.at(start + 8, 4) == b"AIFC" else b"NONE"
    block, each = _aiff_block(coding, channels, bits)
    lead = int.from_bytes(data.at(place, 4), "big")
    begin = place + 8 + lead
    wanted = None if is_unknown(declared, 32) else max(0, declared - 8 - lead)
    extent = measure(data, begin, wanted, lambda at: behind_chunks(data, at, read, 8))
    held = extent.held // max(1, block)
    last = extent.end
    if not block:
        return as_it_is(start, last, counted=True)
    if extent.right and held == frames:
        return as_it_is(start, last, frames * each)

    def header(length: int) -> bytes:
        comm = common[:2] + struct.pack(">I", length // block) + common[6:]
        comm += b"\x00" * (len(comm) & 1)
        inner = data.at(start + 8, 4) + b"COMM" + struct.pack(">I", len(comm)) + comm
        inner += b"SSND" + struct.pack(">III", 8 + length, 0, 0)
        return b"FORM" + struct.pack(">I", len(inner) + length) + inner

    told_frames = None
    if extent.declared is not None:
        # Two counts that ought to agree: the higher tells what is missing, else the lower what is left out.
        counts = (frames, extent.declared // block)
        told_frames = max(counts) if max(counts) > held else min(counts)
    unfinished = held > 0 and told_frames == 0
    told_samples = None if told_frames is None else told_frames * each
    return Parsed([SoundPart(views_of(extent, block, header), told_samples, unfinished)], last)


def _aiff_block(coding: bytes, channels: int, bits: int) -> tuple[int, int]:
    """Bytes of a block for all channels, and its samples per channel; (0, 0) where unknown."""
    kind = coding.lower()
    if kind in {b"none", b"twos", b"sowt", b"raw ", b"in24", b"in32", b"fl32", b"fl64", b"42ni", b"23ni"}:
        return channels * ((bits + 7) // 8), 1
    if kind in {b"ulaw", b"alaw"}:
        return channels, 1
    return (channels * 34, 64) if kind == b"ima4" else (0, 0)
