"""MPEG audio (MP3): frames one after the other, with tags between, in front and behind.

The decoder's count of samples is an estimate unless a Xing, Info or VBRI frame tells it, and it stops there.
So the frames are counted here, and the decoder is given the count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from .bytes import Piece, SoundBytes
from .parts import MOST_PARTS, Parsed, SoundPart, after_id3, after_zeros, next_file

# Kilobits per second by (MPEG 1, layer).
_RATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HERTZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_SYNC = re.compile(rb"\xff[\xe2-\xff][\x10-\xef]")
_BLOCK = 2**20
# Between a tag and the first frame there may be padding.
_SEARCH = 2**20
# Encoders count the frame with the tag or not, and decoders swallow a first frame.
_SLACK = 3
# Frames that are no chance.
_AGREEING = 4
_LONGEST_TAG = 2**16
# Fewer bytes than this behind the last frame are nobody's sound.
_FEW = 128
# Samples that decoders are late by.
_LATE = 529


@dataclass(frozen=True, slots=True)
class _MpegFrame:
    """What a frame's header of four bytes says."""

    length: int
    samples: int
    # Version, layer, rate, one channel or two: what one decoder can go on with.
    kind: tuple[int, int, int, bool]
    # Bytes of header and side information, behind which a tag would stand.
    lead: int


@dataclass
class _Stream:
    """Frames that belong together."""

    first: bytes
    frame: _MpegFrame
    pieces: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0
    skipped: int = 0
    tag: bytes = b""
    cut: bool = False


def is_mpeg(head: bytes) -> bool:
    """Whether a frame begins with these bytes."""
    return _frame(head[:4]) is not None


def begins_mpeg(data: SoundBytes, place: int) -> bool:
    """Whether frames of one stream begin at `place`, one behind the other; no other sound looks so."""
    kind = None
    for _ in range(_AGREEING):
        frame = _frame(data.at(place, 4))
        if frame is None or kind not in {None, frame.kind}:
            return False
        kind = frame.kind
        place += frame.length
    return True


@lru_cache(maxsize=4096)
def _frame(head: bytes) -> _MpegFrame | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate, hertz = head[2] >> 4, head[2] >> 2 & 3
    # A rate of 0 is free format, whose frames cannot be counted by their headers.
    if version == 1 or layer == 4 or rate in {0, 15} or hertz == 3:
        return None
    one = version == 3
    kilobits, frequency, padding = _RATES[one, layer][rate], _HERTZ[version][hertz], head[2] >> 1 & 1
    if layer == 1:
        length, samples = (12000 * kilobits // frequency + padding) * 4, 384
    else:
        samples = 1152 if layer == 2 or one else 576
        length = samples // 8 * 1000 * kilobits // frequency + padding
    mono = head[3] >> 6 == 3
    side = (17 if mono else 32) if one else (9 if mono else 17)
    # A tag stands where it would without a checksum, also in a frame with one.
    return _MpegFrame(length, samples, (version, layer, frequency, mono), 4 + side)


def mpeg(data: SoundBytes, start: int, stop: int | None = None) -> Parsed | None:
    """MPEG streams up to `stop`, one after the other. None where no frame is found, as in free format."""
    search = _FrameSearch(data)
    begin = after_id3(data, start)
    end = data.size if stop is None else stop
    first = search.find(begin, min(end, begin + _SEARCH))
    if first is None:
        return None
    place = first
    streams: list[_Stream] = []
    block, at = b"", 0
    pieces, other = 0, -1
    while place < end:
        if not at <= place <= at + len(block) - 4096 and (place < at or at + len(block) < end):
            at, block = place, data.some(place, _BLOCK)
            if not block:
                break
        head = block[place - at : place - at + 4]
        frame = _frame(head)
        if frame is None or (streams and not _goes_on(data, place, frame, streams[-1].frame)):
            following = _behind(data, place)
            if following >= end:
                break
            if other < following:
                other = next_file(data, following, end)
            found = search.find(following, other) if pieces < MOST_PARTS else None
            if found is None:
                streams[-1].skipped += other - following if other - following > _FEW else 0
                end = other
                break
            streams[-1].skipped += found - following
            place = found
            continue
        body = block[place - at : place - at + frame.length]
        tag = _tag(frame, body)
        if tag or not streams or frame.kind != streams[-1].frame.kind:
            if len(streams) >= MOST_PARTS:
                end = place
                break
            streams.append(_Stream(head, frame, tag=tag))
        stream = streams[-1]
        length = min(frame.length, end - place)
        # A tag right behind a frame that was cut off is no part of it.
        stream.cut = length < frame.length
        if not tag:
            stream.frames += not stream.cut
            if stream.pieces and sum(stream.pieces[-1]) == place:
                stream.pieces[-1] = (stream.pieces[-1][0], stream.pieces[-1][1] + length)
            else:
                stream.pieces.append((place, length))
                pieces += 1
        place += length
    streams[0].skipped += _passed(data, begin, first)
    return Parsed([_part(stream) for stream in streams if stream.frames], end)


def _passed(data: SoundBytes, begin: int, first: int) -> int:
    """Bytes before the first frame that are no sound: a frame whose end is missing, or many."""
    passed = first - after_zeros(data, begin)
    return passed if passed > _FEW or (passed > 0 and is_mpeg(data.at(begin, 4))) else 0


def _goes_on(data: SoundBytes, place: int, frame: _MpegFrame, before: _MpegFrame) -> bool:
    """Whether the frame fits the one before it, or what is behind it: else it is none."""
    end = place + frame.length
    return frame.kind == before.kind or _fits(frame, data.at(end, 4), last=end == data.size)


def _fits(frame: _MpegFrame, following: bytes, *, last: bool) -> bool:
    """Whether a frame that agrees follows, or a tag, or nothing because the frame is the file's last."""
    second = _frame(following)
    agrees = second is not None and second.kind == frame.kind
    return agrees or last or following[:3] in {b"ID3", b"TAG", b"APE"}


def _behind(data: SoundBytes, place: int) -> int:
    """The place behind the tags and zeros that begin at `place`; `place` where there are none."""
    before = -1
    while before < place < data.size:
        before, place = place, _behind_one(data, place)
    return place


def _behind_one(data: SoundBytes, place: int) -> int:
    head = data.at(place, 32)
    end = place
    if head[:3] == b"ID3":
        end = after_id3(data, place)
    elif head[:3] == b"TAG":
        end += 227 if head[3:4] == b"+" else 128
    elif head[:8] == b"APETAGEX" and len(head) == 32:
        # The length counts the footer and what is between, not the header, if this is one.
        is_header = head[23] >> 5 & 1
        end += 32 + (int.from_bytes(head[12:16], "little") if is_header else 0)
    elif head[:11] == b"LYRICSBEGIN":
        end += max(0, data.at(place, 65536).find(b"LYRICS200") + 9)
    if end > place:
        return end
    end = after_zeros(data, place)
    return end if end > place else _behind_ape(data, place)


def _behind_ape(data: SoundBytes, place: int) -> int:
    """The place behind the APE tag without a header that begins at `place`; its footer tells its length."""
    some = data.at(place, _LONGEST_TAG)
    at = some.find(b"APETAGEX")
    fits = at >= 0 and at + 32 == int.from_bytes(some[at + 12 : at + 16], "little")
    return place + at + 32 if fits else place


class _FrameSearch:
    """Looks for frames in what is none; not for ever where everything looks like one."""

    def __init__(self, data: SoundBytes) -> None:
        self._data = data
        self._tries = 500_000

    def find(self, start: int, stop: int) -> int | None:
        """The first place where frames begin: two that agree, or one before a tag or the file's end."""
        for place, block in self._data.blocks(start, stop, 3):
            for match in _SYNC.finditer(block):
                self._tries -= 1
                if self._tries < 0:
                    return None
                at = match.start()
                frame = _frame(block[at : at + 4])
                if frame is None:
                    continue
                end = at + frame.length
                following = block[end : end + 4]
                if len(following) < 4:
                    following = self._data.at(place + end, 4)
                if _fits(frame, following, last=place + end == self._data.size):
                    return place + at
        return None


def _tag(frame: _MpegFrame, body: bytes) -> bytes:
    """The frame's own text where it is a Xing, Info or VBRI frame, else nothing."""
    if frame.kind[1] != 3:
        return b""
    if body[frame.lead : frame.lead + 4] in {b"Xing", b"Info"} or body[36:40] == b"VBRI":
        return body
    return b""


def _part(stream: _Stream) -> SoundPart:
    """A stream with a first frame that tells the decoder the number of frames."""
    frame, declared = stream.frame, None
    pieces: tuple[Piece, ...] = tuple(stream.pieces)
    trimmed = 0
    if frame.kind[1] == 3:
        first = _plain_tag(stream)
        lead, tag = frame.lead, stream.tag
        if tag[36:40] == b"VBRI":
            declared = int.from_bytes(tag[50:54], "big") or None
        elif tag and tag[lead + 7] & 1:
            declared = int.from_bytes(tag[lead + 8 : lead + 12], "big") or None
            first = _filled_tag(stream)
            trimmed = 2 * 4096
        pieces = (first, *pieces)
    count = stream.frames
    least = (count - _SLACK) * frame.samples - trimmed
    # Some count the frame with the tag; LAME and FFmpeg do not.
    slack = 0 if stream.tag[frame.lead + 120 :][:3] in {b"LAM", b"Lav"} else 1
    short = declared is not None and declared > count + slack
    wrong = declared is not None and (short or declared < count - slack)
    return SoundPart(
        (pieces,),
        declared=declared * frame.samples if wrong and declared is not None else None,
        cut=stream.cut or short,
        least=max(0, least),
        skipped=stream.skipped,
    )


def _filled_tag(stream: _Stream) -> bytes:
    """The stream's own Xing or Info frame, with the counts of frames and bytes that are there."""
    lead, tag = stream.frame.lead, bytearray(stream.tag)
    tag[lead + 8 : lead + 12] = stream.frames.to_bytes(4, "big")
    if tag[lead + 7] & 2:
        size = len(tag) + sum(length for _, length in stream.pieces)
        tag[lead + 12 : lead + 16] = min(size, 2**32 - 1).to_bytes(4, "big")
    return bytes(tag)


def _plain_tag(stream: _Stream) -> bytes:
    """A Xing frame with the count of frames, for a stream that has none, and a silent frame.

    Where frames are counted, mpg123 leaves out what decoders are late by: so much as a frame of silence
    holds, by the encoder's delay that is given here.
    """
    head = bytearray(stream.first)
    # Without a checksum, at a rate whose frames have room.
    head[1] |= 1
    head[2] = 9 << 4 | head[2] & 0x0C
    frame = _frame(bytes(head)) or stream.frame
    body = bytes(head) + bytes(frame.lead - 4) + b"Xing" + (1).to_bytes(4, "big")
    body += (stream.frames + 1).to_bytes(4, "big")
    body += b"LAME3.100" + bytes(12) + ((frame.samples - _LATE) << 12).to_bytes(3, "big")
    return body + bytes(frame.length - len(body)) + bytes(head) + bytes(frame.length - 4)
