"""What a sound file holds: its parts, and the tags around them that are no sound."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .bytes import Piece, SoundBytes

# More streams or stretches in one file than this are not looked for: no file is read for ever.
MOST_PARTS = 4000
# How a sound file begins, so that nothing else does by chance.
# Each expression begins with one byte: so the whole of a file is searched at the speed of memory.
_BEGINNINGS = (
    re.compile(rb"R(?:IFF|IFX|F64)....WAVE", re.DOTALL),
    re.compile(rb"BW64....WAVE", re.DOTALL),
    re.compile(rb"FORM....AIF[FC]", re.DOTALL),
    re.compile(rb"fLaC[\x00\x80]\x00\x00\x22"),
    re.compile(rb"OggS\x00\x02\x00{8}"),
    re.compile(rb"caff\x00\x01\x00\x00"),
    re.compile(rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb"),
)
_LONGEST_BEGINNING = 14
# Zeros that are looked for by one small read.
_FEW_ZEROS = 64
# Zeros behind a sound up to this count are padding.
_PADDING = 4096


@dataclass(frozen=True, slots=True)
class SoundPart:
    """One stream of sound in a file, and what its header says of it.

    Attributes:
        views: The files that libsndfile decodes one after the other, each as pieces of the real one.
        declared: Samples per channel that the header promises; None where it says nothing that can be
            trusted.
        unfinished: Its writer never came back to fill in the length.
        cut: The container shows that the end is missing.
        least: Samples that decoding must give, else some were lost.
        counted: Libsndfile's own count is a promise too.
        skipped: Bytes inside that are no sound.
        lost: What is missing inside, of which a decoder says nothing.
        whole: All of a file of a kind that is not looked into.
        intact: Every byte has been read, and all that the header promises is there.

    """

    views: tuple[tuple[Piece, ...], ...]
    declared: int | None = None
    unfinished: bool = False
    cut: bool = False
    least: int = 0
    counted: bool = False
    skipped: int = 0
    lost: str = ""
    whole: bool = False
    intact: bool = False


@dataclass(frozen=True, slots=True)
class Parsed:
    """The parts that one parser found, and where in the file it stopped."""

    parts: list[SoundPart]
    end: int


def as_it_is(
    start: int, end: int, declared: int | None = None, *, cut: bool = False, counted: bool = False
) -> Parsed:
    """One part that needs no other header, from `start` to `end`, where parsing stopped."""
    return Parsed([SoundPart((((start, end - start),),), declared, cut=cut, counted=counted)], end)


def after_id3(data: SoundBytes, place: int) -> int:
    """The place behind the ID3v2 tags that begin at `place`."""
    for _ in range(16):
        head = data.at(place, 10)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 127:
            break
        length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        # A footer repeats the header.
        place += 10 + length + (10 if head[5] & 0x10 else 0)
    return place


def after_zeros(data: SoundBytes, place: int) -> int:
    """The place behind the zeros that begin at `place`."""
    head = data.at(place, _FEW_ZEROS)
    # Most often there are none or a few: no block is read for them.
    if rest := head.lstrip(b"\x00"):
        return place + len(head) - len(rest)
    for at, block in data.blocks(place + len(head), data.size, 0):
        rest = block.lstrip(b"\x00")
        if rest:
            return at + len(block) - len(rest)
    return data.size


def before_tags(data: SoundBytes, begin: int, end: int) -> int:
    """The place, not before `begin`, where ID3v1, APE and Lyrics3 tags at `end` begin."""
    for _ in range(8):
        tail = data.at(max(begin, end - 128), min(128, end - begin))
        if len(tail) == 128 and tail[:3] == b"TAG":
            end -= 128
            if data.at(end - 227, 4) == b"TAG+":
                end -= 227
        elif tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
            end -= 15 + int(tail[-15:-9])
        elif len(tail) >= 32 and tail[-32:-24] == b"APETAGEX":
            end -= int.from_bytes(tail[-20:-16], "little")
            # The header looks like the footer.
            if data.at(end - 32, 8) == b"APETAGEX":
                end -= 32
        else:
            break
        end = max(begin, end)
    return end


def is_padding(data: SoundBytes, begin: int, end: int) -> bool:
    """Whether only tags and a little zero padding lie there."""
    end = before_tags(data, begin, end)
    return end - begin <= _PADDING and not any(data.at(begin, end - begin))


def is_sound_file(head: bytes) -> bool:
    """Whether a sound file of a kind that is looked into begins with these bytes (12 or more)."""
    return (
        (head[:4] in {b"RIFF", b"RIFX", b"RF64", b"BW64"} and head[8:12] == b"WAVE")
        or (head[:4] == b"FORM" and head[8:12] in {b"AIFF", b"AIFC"})
        or head[:8] in {b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22"}
        or head[:8] == b"caff\x00\x01\x00\x00"
        or head[:5] == b"OggS\x00"
        or head[:12] == b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb"
        or (head[:4] == b".snd" and head[4:6] == b"\x00\x00")
    )


def next_file(data: SoundBytes, begin: int, end: int) -> int:
    """The first place from `begin` on where another sound file begins; `end` where none does."""
    for place, block in data.blocks(begin, end, _LONGEST_BEGINNING - 1):
        matches = [match.start() for one in _BEGINNINGS if (match := one.search(block)) is not None]
        if matches:
            return place + min(matches)
    return end
