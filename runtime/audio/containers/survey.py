"""Which parts of sound a file holds, whatever its kind."""

from __future__ import annotations

from .aiff import aiff
from .au import au
from .bytes import SoundBytes
from .caf import caf
from .flac import flac
from .headers import whole_file
from .mpeg import is_mpeg, mpeg
from .ogg import ogg
from .parts import MOST_PARTS, Parsed, SoundPart, after_id3, after_zeros, is_padding, is_sound_file
from .wave import riff, w64

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


def survey(data: SoundBytes) -> tuple[list[SoundPart], int]:
    """The parts of a file in order, and how many bytes at its end are of no known kind. Raises AudioError.

    Files that were joined have several parts.
    """
    parts: list[SoundPart] = []
    place = 0
    while place < data.size and len(parts) < MOST_PARTS:
        begin = after_id3(data, place)
        if parts:
            # Zeros and tags between files and at the end are no sound.
            begin = after_id3(data, after_zeros(data, begin))
            if is_padding(data, begin, data.size):
                place = data.size
                break
        found = _parsed(data, begin, data.at(begin, 16))
        if found is None or not found.parts:
            break
        parts += found.parts
        if found.end <= place:
            break
        place = found.end
    if parts:
        return parts, data.size - place
    part, rest = whole_file(data)
    return [part], rest


def _parsed(data: SoundBytes, begin: int, head: bytes) -> Parsed | None:
    parser = _PARSERS.get(head[:4])
    if parser is not None and (is_sound_file(head) or head[:4] == b"dns."):
        return parser(data, begin)
    if is_mpeg(head) or begin > 0:
        return mpeg(data, begin)
    return None
