"""Which parts of sound a file holds, whatever its kind."""

from __future__ import annotations

import re

from .bytes import SoundBytes
from .chunks import aiff, au, caf, riff, w64
from .mpeg import is_mpeg, mpeg
from .parts import MOST_PARTS, Found, Part, after_id3, is_padding, is_sound_file
from .streams import flac, ogg

_SPHERE_COUNT = re.compile(rb"\nsample_count -i (\d+)")
_PARSERS = {
    b"RIFF": riff,
    b"RIFX": riff,
    b"RF64": riff,
    b"BW64": riff,
    b"riff": w64,
    b"FORM": aiff,
    b"caff": caf,
    b".snd": au,
    b"dns.": au,
    b"fLaC": flac,
    b"OggS": ogg,
}


def survey(data: SoundBytes) -> tuple[list[Part], int]:
    """The parts of a file in order, and how many bytes at its end are of no known kind.

    Files that were joined have several parts. Raises AudioError where the file cannot be read.
    """
    parts: list[Part] = []
    place = 0
    while place < data.size and len(parts) < MOST_PARTS:
        begin = after_id3(data, place)
        if parts and is_padding(data, begin, data.size):
            place = data.size
            break
        found = _parsed(data, begin, data.at(begin, 16))
        if found is None or not found.parts:
            break
        parts += found.parts
        if found.end <= place:
            break
        place = found.end
    return (parts, data.size - place) if parts else ([_whole(data)], 0)


def _parsed(data: SoundBytes, begin: int, head: bytes) -> Found | None:
    parser = _PARSERS.get(head[:4])
    if parser is not None and (is_sound_file(head) or head[:4] == b"dns."):
        return parser(data, begin)
    if is_mpeg(head) or begin > 0:
        return mpeg(data, begin)
    return None


def _whole(data: SoundBytes) -> Part:
    """A file of another kind, as it is. What it promises is in its header, or libsndfile says it."""
    head = data.at(0, 4096)
    told = None
    if head[:7] == b"NIST_1A":
        count = _SPHERE_COUNT.search(head)
        told = int(count[1]) if count else None
    elif head[:4] == b"2BIT":
        told = int.from_bytes(head[26:30], "big")
    elif head[:4] == b"FORM" and head[8:12] in {b"8SVX", b"16SV"}:
        body = head.find(b"BODY")
        width = 1 if head[8:9] == b"8" else 2
        told = int.from_bytes(head[body + 4 : body + 8], "big") // width if body > 0 else None
    return Part((((0, data.size),),), told, counted=told is None, whole=True)
