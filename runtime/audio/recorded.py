"""When a recording began, as its metadata or its name say; never guessed.

Read are, in this order: the `guan` chunk (GUANO: Timestamp), the `wamd` chunk (Wildlife Acoustics: tag 5),
the comment of an AudioMoth ("Recorded at 06:00:00 01/05/2024 (UTC+2) by AudioMoth ..."), the `bext` chunk
(EBU Tech 3285: OriginationDate, OriginationTime), and the name of the file (20240501_060000, with what
stands before and behind, and a zone where it has one).
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import islice

from .containers.bytes import SoundBytes
from .containers.chunks import walk

# Metadata is small; a chunk of another size is not looked into.
_MOST_BYTES = 1 << 20
_MOST_CHUNKS = 1000
_RIFF = frozenset((b"RIFF", b"RF64", b"BW64"))
# Kinds whose comment libsndfile gives without decoding: recordings that were converted keep it there.
_COMMENTED = frozenset((b"fLaC", b"OggS", b"FORM", b"riff", b"caff"))
_WAMD_VERSION, _WAMD_START = 0, 5
# bext: Description, Originator, OriginatorReference, then date and time of 10 and 8 characters.
_BEXT_DATE = 256 + 32 + 32
# Clocks that were never set begin there.
_UNSET_YEAR = 1970

# Year, month, day, hour, minute, second; `{date}` and `{clock}` stand for what parts them.
_DATE = r"(?P<year>\d{4}){date}(?P<month>\d\d){date}(?P<day>\d\d)"
_CLOCK = r"(?P<hour>\d\d){clock}(?P<minute>\d\d){clock}(?P<second>\d\d)"
_ZONE = r"(?P<zone>Z|[+-]\d{2}:?\d{2})"
_ISO = re.compile(
    _DATE.replace("{date}", "-")
    + "[T ]"
    + _CLOCK.replace("{clock}", ":")
    + rf"(?P<part>\.\d{{1,6}})?\s*{_ZONE}?",
    re.ASCII,
)
_NAMED = re.compile(
    r"(?<!\d)"
    + _DATE.replace("{date}", "(?P<dash>[-_.]?)", 1).replace("{date}", "(?P=dash)")
    + "[T_ -]{1,2}"
    + _CLOCK.replace("{clock}", "(?P<mark>[-_:.]?)", 1).replace("{clock}", "(?P=mark)")
    + rf"(?!\d)(?P<part>\.\d{{3}})?(?:_?{_ZONE}(?![0-9A-Za-z]))?",
    re.ASCII,
)
# EBU Tech 3285 has no zone and allows these separators.
_BEXT = re.compile(_DATE.replace("{date}", "[-_:./ ]") + _CLOCK.replace("{clock}", "[-_:./ ]"), re.ASCII)
_AUDIOMOTH = re.compile(
    "Recorded at "
    + _CLOCK.replace("{clock}", ":")
    + r"(?P<part>\.\d{3})? (?P<day>\d\d)/(?P<month>\d\d)/(?P<year>\d{4})"
    r"(?P<utc> \(UTC(?P<sign>[+-]?)(?P<hours>\d{0,2})(?::(?P<minutes>\d\d))?\))?",
    re.ASCII,
)


def recorded_at(path: str | os.PathLike[str]) -> datetime | None:
    """When the recording in a file began.

    Args:
        path: The sound file; what cannot be read says nothing.

    Returns:
        With a zone where metadata or name give one, else as the recorder's clock said it, without; None where
        nothing says it, where two times in a name contradict each other, and where the clock was never set.

    """
    name = os.path.basename(os.fspath(path))  # noqa: PTH119 (a name of any bytes)
    return next((time for time in (*_in_metadata(path), _in_name(name)) if time is not None), None)


def _in_metadata(path: str | os.PathLike[str]) -> Iterator[datetime | None]:
    """What each kind of metadata says, the most exact kind first."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            kind = file.read(12)[:4]
            held = dict(_chunks(SoundBytes(file, ""))) if kind in _RIFF else {}
        comment = _comment(path) if kind in _COMMENTED else _info_comment(held.get(b"LIST", b""))
    except (OSError, ValueError):
        return
    for name, read in _READERS.items():
        if name in held:
            yield read(held[name])
    yield _audiomoth(comment)
    if b"bext" in held:
        yield _bext(held[b"bext"])


def _chunks(data: SoundBytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each chunk of metadata in a RIFF file."""
    long = 0

    def read(head: bytes) -> tuple[bytes, int]:
        name, length = head[:4], int.from_bytes(head[4:], "little")
        return name, long if name == b"data" and length == 2**32 - 1 else length

    for name, place, length in islice(walk(data, 12, read, 8), _MOST_CHUNKS):
        if name == b"ds64":
            long = int.from_bytes(data.at(place, 16)[8:], "little")
        elif name in _WANTED and length <= _MOST_BYTES:
            content = data.at(place, length)
            if name != b"LIST" or content.startswith(b"INFO"):
                yield name, content


def _info_comment(content: bytes) -> str:
    """The comment (ICMT) in a LIST chunk of the kind INFO."""
    place = 4
    while place + 8 <= len(content):
        length = int.from_bytes(content[place + 4 : place + 8], "little")
        if content[place : place + 4] == b"ICMT":
            return _text(content[place + 8 : place + 8 + length])
        place += 8 + length + (length & 1)
    return ""


def _comment(path: str | os.PathLike[str]) -> str:
    """The comment of a file of another kind."""
    import soundfile

    try:
        with soundfile.SoundFile(os.fsencode(path) if os.name == "posix" else path) as sound:
            return str(sound.comment)
    except (soundfile.LibsndfileError, RuntimeError, UnicodeError):
        return ""


def _text(content: bytes) -> str:
    return content.split(b"\0", 1)[0].decode("utf-8", "replace").strip()


def _guano(content: bytes) -> datetime | None:
    """The field Timestamp of GUANO: lines `key: value` in UTF-8."""
    for line in content.decode("utf-8", "replace").split("\n"):
        key, colon, value = line.partition(":")
        if colon and key.strip(" \0\r\t\ufeff") == "Timestamp":
            return _iso(value.strip(" \0\r\t"))
    return None


def _wamd(content: bytes) -> datetime | None:
    """The start time in Wildlife Acoustics' metadata: items of tag [2 bytes], length [4 bytes], content."""
    place, version = 0, b""
    while place + 6 <= len(content):
        tag, length = struct.unpack_from("<HI", content, place)
        item = content[place + 6 : place + 6 + length]
        if tag == _WAMD_VERSION:
            version = item
        elif tag == _WAMD_START and version == b"\1\0":
            return _iso(_text(item))
        place += 6 + length
    return None


def _bext(content: bytes) -> datetime | None:
    """Date and time of a Broadcast WAV."""
    found = _BEXT.match(content[_BEXT_DATE:].decode("ascii", "replace"))
    return _time(found, None) if found else None


def _audiomoth(comment: str) -> datetime | None:
    """What an AudioMoth wrote; the first firmware said no zone."""
    found = _AUDIOMOTH.match(comment)
    if found is None or not found["utc"]:
        return _time(found, None) if found else None
    away = timedelta(hours=int(found["hours"] or 0), minutes=int(found["minutes"] or 0))
    return _time(found, -away if found["sign"] == "-" else away)


def _iso(text: str) -> datetime | None:
    found = _ISO.fullmatch(text)
    return _time(found, _away(found["zone"])) if found else None


def _in_name(name: str) -> datetime | None:
    """The time in a file's name, where all that it has agree."""
    times = {_time(found, _away(found["zone"])) for found in _NAMED.finditer(name)} - {None}
    return times.pop() if len(times) == 1 else None


def _away(zone: str | None) -> timedelta | None:
    """How far "Z" or "+hh:mm" is from UTC; None where there is none."""
    if not zone:
        return None
    if zone == "Z":
        return timedelta(0)
    away = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
    return -away if zone[0] == "-" else away


def _time(found: re.Match[str], away: timedelta | None) -> datetime | None:
    """The time of a match's parts, `away` from UTC; None where there is no such time."""
    parts = (int(found[name]) for name in ("year", "month", "day", "hour", "minute", "second"))
    try:
        time = datetime(*parts, tzinfo=None if away is None else timezone(away))  # type: ignore[misc, arg-type]
    except ValueError:
        return None
    fraction = found.groupdict().get("part")
    time += timedelta(seconds=float(fraction or 0))
    return None if time.year <= _UNSET_YEAR else time


_READERS: dict[bytes, Callable[[bytes], datetime | None]] = {b"guan": _guano, b"wamd": _wamd}
_WANTED = frozenset((*_READERS, b"LIST", b"bext"))
