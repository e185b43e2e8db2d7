"""FLAC streams: which frames of each are there, and where its sound ends.

Every frame bears its number. Decoders fill what is missing between two frames with silence and say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .bytes import Piece, SoundBytes
from .mpeg import begins_mpeg
from .parts import Parsed, SoundPart, before_tags, next_file

# The longest header of a frame: 4 bytes, a number of up to 7, sizes of up to 4, a checksum.
_HEADER = 16
_CODED_SIZES = {
    1: 192,
    **{code: 576 << code - 2 for code in range(2, 6)},
    **{code: 256 << code - 8 for code in range(8, 16)},
}
# What a frame may need beside its samples, and the longest that is looked for.
_FRAME_EXTRA, _LONGEST_FRAME = 4096, 2**21
_MOST_BLOCKS = 10_000


def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    """A checksum's table for one byte, highest bit first."""
    values = []
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> bits - 1 else 0)
            value &= (1 << bits) - 1
        values.append(value)
    return tuple(values)


_CRC8, _CRC16 = _table(0x07, 8), _table(0x8005, 16)


@dataclass(frozen=True, slots=True)
class _Info:
    """STREAMINFO: samples a block at least and at most, the largest frame (0: not known), channels, total."""

    least: int
    most: int
    frame: int
    channels: int
    bits: int
    total: int

    @property
    def longest(self) -> int:
        """Bytes of a frame at the most."""
        return self.frame or self.most * self.channels * (self.bits + 1) // 8 + _FRAME_EXTRA


class _FlacFrame(NamedTuple):
    """Where a frame begins, its number (of frame or sample, `by_samples`), and its samples."""

    place: int
    number: int
    size: int
    by_samples: bool

    @property
    def following(self) -> int:
        """The number of the next frame."""
        return self.number + (self.size if self.by_samples else 1)


@dataclass(slots=True)
class _Frames:
    """The last frame of a stream whose numbers run on, and how many samples are missing before it."""

    last: _FlacFrame | None = None
    missing: int = 0


def flac(data: SoundBytes, start: int) -> Parsed:
    """One FLAC stream. What follows it is the next file's.

    Decoders stop where the header says, so they get one that says nothing, unless what it says is there;
    zero there means unknown.
    """
    # 4 bytes of name, 4 of the block's header; the count is 36 bits from byte 13 of the block on.
    head = data.at(start, 26)
    if len(head) < 26:
        return Parsed([], data.size)
    channels, bits = (head[20] >> 1 & 7) + 1, ((head[20] & 1) << 4 | head[21] >> 4) + 1
    declared = (head[21] & 15) << 32 | int.from_bytes(head[22:26], "big")
    sizes = int.from_bytes(head[8:10], "big"), int.from_bytes(head[10:12], "big")
    info = _Info(*sizes, int.from_bytes(head[15:18], "big"), channels, bits, declared)
    begin = _sound(data, start)
    frames, stop = _frames(data, begin, info)
    # A frame that is not the last by the header's count has no end to look for.
    last_frame, counted = frames.last, 0
    if last_frame is not None:
        counted = last_frame.number * (1 if last_frame.by_samples else info.most) + last_frame.size
    end = stop
    if last_frame is not None and declared in {0, counted}:
        end = _end(data, last_frame.place, stop, info)
    last = _without_zeros(data, begin, before_tags(data, begin, end))
    open_end = head[:21] + bytes([head[21] & 0xF0]) + b"\x00" * 4
    lost = f"samples are missing inside it ({frames.missing})" if frames.missing else ""
    # What the header says may stand where it is there.
    intact = declared == counted and not frames.missing
    view: tuple[Piece, ...] = open_end, (start + 26, last - start - 26)
    part = SoundPart(
        (((start, last - start),) if intact else view,),
        declared or None,
        least=0 if declared else counted - frames.missing,
        lost=lost,
        intact=intact,
    )
    return Parsed([part], end)


def _sound(data: SoundBytes, start: int) -> int:
    """The place behind the blocks of metadata."""
    place = start + 4
    for _ in range(_MOST_BLOCKS):
        head = data.at(place, 4)
        if len(head) < 4:
            break
        place += 4 + int.from_bytes(head[1:], "big")
        if head[0] & 0x80:
            break
    return place if place < data.size else start + 26


def _frames(data: SoundBytes, begin: int, info: _Info) -> tuple[_Frames, int]:
    """Follow the numbers of the frames to where another file begins, or to the end: the place of that, too.

    A jump counts where the frame behind it agrees. Files of other kinds are looked for where the numbers do
    not run on, or more lies between two frames than a frame.
    """
    found, due, jumped = _Frames(), 0, None
    last = begin
    for frame in _headers(data, begin, info):
        # Another FLAC stream begins with 0, too.
        if frame.number == 0 and next_file(data, last, frame.place) < frame.place:
            break
        goes_on = frame.number == due
        if not goes_on and (jumped is None or frame.number != jumped.following):
            jumped = frame
            continue
        following = frame if goes_on or jumped is None else jumped
        if not goes_on or following.place - last > info.longest:
            if next_file(data, last, following.place) < following.place:
                break
            found.missing += _between(due, following, info)
        found.last, due, jumped, last = frame, frame.following, None, frame.place
    stop = next_file(data, last, data.size)
    # Nothing follows the last frame that could agree, but its checksum.
    left = 0 if jumped is None else min(_LONGEST_FRAME, stop - jumped.place)
    if jumped is not None and left > 0 and not _checksum(data.at(jumped.place, left)):
        found.missing += _between(due, jumped, info)
        found.last = jumped
    return found, stop


def _headers(data: SoundBytes, begin: int, info: _Info) -> Iterator[_FlacFrame]:
    """What look like headers of frames, in order, to the end."""
    before = -1
    for place, block in data.blocks(begin, data.size, _HEADER):
        for at in _syncs(block):
            # Blocks overlap.
            if place + at > before and (frame := _frame(block[at : at + _HEADER], place + at, info)):
                before = place + at
                yield frame


def _syncs(block: bytes) -> list[int]:
    """Where the bits 11111111 1111100 stand, as at the beginning of each frame, in order.

    In what looks like noise this takes half of a regular expression's time, and other threads run meanwhile.
    """
    places = []
    for shift in range(min(2, len(block) - 1)):
        words = np.frombuffer(block, "<u2", (len(block) - shift) // 2, shift)
        places += (np.flatnonzero(words & 0xFEFF == 0xF8FF) * 2 + shift).tolist()
    return sorted(places)


def _between(due: int, frame: _FlacFrame, info: _Info) -> int:
    """Samples between the frame that was due and the one that came."""
    return max(0, frame.number - due) * (1 if frame.by_samples else info.most)


def _frame(head: bytes, place: int, info: _Info) -> _FlacFrame | None:
    """The frame whose header these bytes are, if its checksum says so and it fits the stream."""
    by_samples = bool(head[1] & 1)
    if len(head) < 6 or ((head[3] >> 4) + 1 != info.channels and not 8 <= head[3] >> 4 <= 10):
        return None
    # Streams of old encoders do not say what they count.
    if not by_samples and info.least != info.most:
        return None
    first, more = head[4], 0
    while more < 7 and first & 0x80 >> more:
        more += 1
    more = max(0, more - 1)
    number = first & (0x7F if more == 0 else 0x3F >> more)
    for byte in head[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    at = 5 + more
    code = head[2] >> 4
    size = _CODED_SIZES.get(code, 0)
    if code in {6, 7}:
        size = int.from_bytes(head[at : at + code - 5], "big") + 1
        at += code - 5
    at += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    checksum = 0
    for byte in head[: at + 1]:
        checksum = _CRC8[checksum ^ byte]
    if len(head) <= at or checksum or not 0 < size <= max(info.most, 16):
        return None
    return _FlacFrame(place, number, size, by_samples)


def _end(data: SoundBytes, frame: int, stop: int, info: _Info) -> int:
    """Where the last frame ends, which begins at `frame`: where its checksum fits, else all belongs to it."""
    last = before_tags(data, frame, stop)
    content = data.at(frame, min(info.longest, _LONGEST_FRAME, last - frame))
    fitting, checksum = [], 0
    for at, byte in enumerate(content, 1):
        checksum = (checksum << 8 & 0xFF00) ^ _CRC16[checksum >> 8 ^ byte]
        # Two bytes of checksum after a header.
        if not checksum and at > 8:
            fitting.append(frame + at)
    if not fitting or last in fitting:
        return stop
    # By chance, others fit too.
    return next((place for place in fitting if begins_mpeg(data, place)), fitting[0])


def _checksum(frame: bytes) -> int:
    """0 for a whole frame."""
    checksum = 0
    for byte in frame:
        checksum = (checksum << 8 & 0xFF00) ^ _CRC16[checksum >> 8 ^ byte]
    return checksum


def _without_zeros(data: SoundBytes, begin: int, end: int) -> int:
    """The place where the zeros before `end` begin; some are kept, a frame may end with them."""
    while end - begin > 4096:
        tail = data.at(end - 4096, 4096)
        if any(tail):
            return min(end, end - 4096 + len(tail.rstrip(b"\x00")) + 2)
        end -= 4096
    return end
