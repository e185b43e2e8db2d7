"""Kinds of sound files that are taken as they are: what their headers say of the length, where they do."""

from __future__ import annotations

import re
from typing import Literal

from .bytes import SoundBytes
from .parts import SoundPart

_SPHERE_COUNT = re.compile(rb"\nsample_count -i (\d+)")
_MOST_BLOCKS = 100_000
# Fewer bytes than this behind a sound are no other.
_FEW = 16


def whole_file(data: SoundBytes) -> tuple[SoundPart, int]:
    """The file as it is, and how many bytes follow the sound that its header tells of.

    Where this says nothing of a header's length, libsndfile's own count is the promise.
    """
    head = data.at(0, 4096)
    declared = _declared(head)
    end = _end(data, head)
    if end is None:
        return SoundPart((((0, data.size),),), declared, counted=declared is None, whole=True), 0
    rest = data.size - end if data.size - end >= _FEW else 0
    view = (0, data.size - rest)
    return SoundPart(((view,),), declared, cut=end > data.size, counted=declared is None), rest


def _declared(head: bytes) -> int | None:
    """Samples per channel that the header promises."""
    if head[:7] == b"NIST_1A":
        count = _SPHERE_COUNT.search(head)
        return int(count[1]) if count else None
    if head[:4] == b"2BIT":
        return int.from_bytes(head[26:30], "big")
    if head[:4] == b"FORM" and head[8:12] in {b"8SVX", b"16SV"}:
        body = head.find(b"BODY")
        width = 1 if head[8:9] == b"8" else 2
        return int.from_bytes(head[body + 4 : body + 8], "big") // width if body > 0 else None
    if head.startswith(b"ALawSoundFile**\x00"):
        return int.from_bytes(head[18:22], "big")
    if _is_mpc(head):
        return int.from_bytes(head[30:34], "little")
    return None


def _is_mpc(head: bytes) -> bool:
    return len(head) >= 42 and head[:2] == b"\x01\x04" and head[21] in {0, 1}


def _end(data: SoundBytes, head: bytes) -> int | None:
    """The place where the sound ends by the header; None where it does not say."""
    if head.startswith(b"ALawSoundFile**\x00"):
        return 32 + int.from_bytes(head[18:22], "big")
    if _is_mpc(head):
        return 42 + 2 * (head[21] + 1) * int.from_bytes(head[30:34], "little")
    if head.startswith(b"Creative Voice File\x1a"):
        return _voice(data, int.from_bytes(head[20:22], "little"))
    if head.startswith(b"MATLAB 5.0 MAT-file") and head[126:128] in {b"IM", b"MI"}:
        return _matlab(data, "little" if head[126:128] == b"IM" else "big")
    if head.startswith(b"Extended Instrument: ") and len(head) > 338:
        count = int.from_bytes(head[296:298], "little")
        lengths = (head[298 + 40 * at : 302 + 40 * at] for at in range(count))
        length = sum(int.from_bytes(length, "little") for length in lengths)
        # libsndfile writes none.
        return 298 + 40 * count + length if length else None
    return None


def _voice(data: SoundBytes, place: int) -> int:
    """The end of a VOC file: a block of kind 0, or of the last one's size."""
    for _ in range(_MOST_BLOCKS):
        head = data.at(place, 4)
        if not head or head[0] == 0:
            return place + len(head[:1])
        if len(head) < 4:
            return place + 4
        place += 4 + int.from_bytes(head[1:], "little")
    return place


def _matlab(data: SoundBytes, order: Literal["little", "big"]) -> int:
    """The end of the last matrix of a MATLAB 5 file that libsndfile writes: a rate, and the sound."""
    place = 128
    for _ in range(2):
        head = data.at(place, 8)
        if len(head) < 8:
            return place + 8
        place += 8 + int.from_bytes(head[4:], order)
    # The last counts one head too many.
    return place - 8
