"""Damage to sound files, each with what may be expected of a reader that says what it leaves out."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import byte_damage
import numpy as np

# What a reader is held to, unless it refuses the file or warns.
#   same: the samples as written, and no warning; nor may it refuse
#   streamed: the same, for sizes that writers to a pipe leave open
#   longer: at least as many samples as were written, and no warning; nor may it refuse
#   whole: the samples as written
#   twice: at least as many samples as both sounds have
#   length: at least as many samples as were written
#   anything: nothing but to come back with finite numbers
Expect = Literal["same", "streamed", "longer", "whole", "twice", "length", "anything"]


@dataclass(frozen=True)
class WrittenSound:
    """A sound file as libsndfile wrote it, and the samples [channels, n] that it decodes to."""

    kind: str
    coding: str
    ending: str
    rate: int
    samples: np.ndarray
    content: bytes

    @property
    def lossless(self) -> bool:
        """Whether every sample is a number in the file."""
        return self.kind not in ("FLAC", "OGG", "MP3") and self.coding not in ("IMA_ADPCM", "ALAC_16")

    @property
    def data(self) -> int:
        """Where the sound begins, of containers with chunks."""
        mark = {"AIFF": b"SSND", "CAF": b"data", "AU": b"", "W64": b"data\xf3\xac"}.get(self.kind, b"data")
        after = {"AIFF": 16, "CAF": 16, "W64": 24}.get(self.kind, 8)
        if self.kind == "AU":
            order: Literal["big", "little"] = "big" if self.content[:4] == b".snd" else "little"
            return int.from_bytes(self.content[4:8], order)
        return self.content.index(mark) + after if mark in self.content else 0


@dataclass(frozen=True)
class Damage:
    """A damaged file; slack: samples that may be missing unsaid."""

    content: bytes
    done: str
    expect: Expect
    slack: int = 0


def _bytes(one: WrittenSound, draw: random.Random) -> Damage:
    content, done = byte_damage.damage(one.content, draw)
    if one.kind == "FLAC" and content == one.content:
        return Damage(content, done, "same")
    return Damage(content, f"bytes {done}", "anything")


def _payload(one: WrittenSound, draw: random.Random) -> Damage:
    """Bytes of the sound itself change, none go: codings with checks show it, others keep the length."""
    start = max(one.data, 200 if not one.lossless else one.data)
    if start >= len(one.content):
        return _bytes(one, draw)
    made = bytearray(one.content)
    for _ in range(draw.choice([1, 3])):
        made[draw.randrange(start, len(made))] ^= 1 << draw.randrange(8)
    # FLAC and Ogg have checksums; their metadata lie before the first 200 bytes of tiny files, or after.
    return Damage(bytes(made), "bits of the sound flipped", "length" if one.kind != "MP3" else "anything")


def _cut(one: WrittenSound, draw: random.Random) -> Damage:
    at = draw.randrange(1, max(2, len(one.content)))
    # At the border of a page all that is left is sound.
    border = one.content.find(b"OggS", at)
    if border > 0 and draw.random() < 0.5:
        at = border
    return Damage(one.content[:at], f"cut at {at} of {len(one.content)}", "length")


def _cut_and_mended(one: WrittenSound, draw: random.Random) -> Damage:
    """Cut, then filled up with zeros to its old size, as downloads leave it."""
    at = draw.randrange(one.data, len(one.content)) if one.data < len(one.content) else 0
    made = one.content[:at] + bytes(len(one.content) - at)
    return Damage(made, f"zeros from {at} of {len(made)}", "length")


def _sizes(one: WrittenSound, draw: random.Random) -> Damage:
    """A size in the header that is not the sound's."""
    made = bytearray(one.content)
    value = draw.choice([0, 1, 4, 1000, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, len(made) // 2, len(made) * 3])
    places = {"RIFF": (4, "<I"), "data": (one.data - 4, "<I")}
    if one.kind == "AIFF":
        places = {
            "FORM": (4, ">I"),
            "SSND": (one.data - 12, ">I"),
            "COMM": (one.content.find(b"COMM") + 10, ">I"),
        }
    elif one.kind == "AU":
        little = one.content[:4] != b".snd"
        places = {"data": (8, "<I" if little else ">I")}
    elif one.kind == "W64":
        places = {"riff": (16, "<Q"), "data": (one.data - 8, "<Q")}
    elif one.kind == "RF64":
        at = one.content.find(b"ds64")
        places = {"RIFF": (at + 8, "<Q"), "data": (at + 16, "<Q"), "frames": (at + 24, "<Q")}
    elif one.kind == "CAF":
        places = {"data": (one.data - 12, ">q")}
    elif one.kind == "FLAC":
        return _flac_total(one, draw)
    elif one.kind in ("OGG", "MP3"):
        return _bytes(one, draw)
    name, (place, form) = draw.choice(list(places.items()))
    limit = 2 ** (8 * struct.calcsize(form)) // (2 if form.islower() and form[-1] == "q" else 1)
    struct.pack_into(form, made, place, value % limit)
    # Frames written one after the other are found; blocks of a coding need the header's number.
    return Damage(bytes(made), f"{name} = {value:#x}", "length" if one.lossless else "anything")


def _flac_total(one: WrittenSound, draw: random.Random) -> Damage:
    """Another count of samples in STREAMINFO; 0 is "unknown" and valid."""
    made = bytearray(one.content)
    total = one.samples.shape[1]
    value = draw.choice([0, 0, 1, total // 2, total - 1, total + 1, total * 2, 2**36 - 1])
    made[21] = made[21] & 0xF0 | value >> 32 & 0x0F
    made[22:26] = (value & 0xFFFFFFFF).to_bytes(4, "big")
    return Damage(bytes(made), f"FLAC total {value}", "streamed" if value in (0, total) else "whole")


def _streamed(one: WrittenSound, draw: random.Random) -> Damage:
    """Sizes as a writer to a pipe leaves them."""
    if one.kind in ("WAV", "WAVEX"):
        # Up to the sound's last byte: without sizes, padding would be a sample.
        made = bytearray(
            one.content[: one.data + int.from_bytes(one.content[one.data - 4 : one.data], "little")]
        )
        value = draw.choice([0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
        struct.pack_into("<I", made, 4, value)
        struct.pack_into("<I", made, one.data - 4, value)
        return Damage(bytes(made), f"streamed {value:#x}", "streamed" if one.lossless else "anything")
    if one.kind == "AU":
        made = bytearray(one.content)
        made[8:12] = b"\xff" * 4
        return Damage(bytes(made), "streamed", "streamed")
    if one.kind == "CAF" and one.lossless:
        made = bytearray(one.content)
        size = int.from_bytes(made[one.data - 12 : one.data - 4], "big")
        made[one.data - 12 : one.data - 4] = b"\xff" * 8
        # Unknown is allowed of the last chunk.
        last = one.data - 4 + size == len(made)
        return Damage(bytes(made), "streamed", "streamed" if last else "anything")
    return _flac_total(one, draw) if one.kind == "FLAC" else _tag(one, draw)


def _joined(one: WrittenSound, draw: random.Random) -> Damage:
    """Two files written one after the other."""
    return Damage(one.content * 2, "joined", "twice", slack=4000 if one.kind in ("MP3", "OGG") else 0)


def _prefix(one: WrittenSound, draw: random.Random) -> Damage:
    """Something before the header."""
    size = draw.choice([1, 3, 16, 200, 3000])
    kinds = {
        "zeros": bytes(size),
        "noise": draw.randbytes(size),
        "text": b"HTTP/1.1 200 OK\r\n\r\n",
        "BOM": b"\xef\xbb\xbf",
        "ID3": id3(size),
    }
    name = draw.choice(list(kinds))
    usual = name == "ID3" and one.kind in ("WAV", "WAVEX", "AIFF", "FLAC", "MP3")
    return Damage(kinds[name] + one.content, f"after {name} x{size}", "same" if usual else "whole")


def id3(size: int) -> bytes:
    """An ID3v2.3 tag with a comment of `size` bytes."""
    frame = b"COMM" + struct.pack(">I", size + 5) + b"\0\0" + b"\0eng\0" + b"x" * size
    length = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + length + frame


def _tag(one: WrittenSound, draw: random.Random) -> Damage:
    """Something after the sound that is not sound."""
    kinds = {
        "ID3v1": b"TAG" + b"title".ljust(125, b"\0"),
        "zeros": bytes(draw.choice([1, 512, 5000])),
        "noise": draw.randbytes(300),
        "LIST": b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf58.29.100\0",
    }
    name = draw.choice(list(kinds))
    usual = name == "ID3v1" and one.kind == "MP3"
    return Damage(one.content + kinds[name], f"before {name}", "same" if usual else "whole")


def _chunks(one: WrittenSound, draw: random.Random) -> Damage:
    """A chunk that is no sound, or a second one of sound, where the format allows chunks."""
    if one.kind not in ("WAV", "WAVEX", "AIFF"):
        return _tag(one, draw)
    order: Literal["big", "little"] = "big" if one.kind == "AIFF" else "little"
    mark = b"SSND" if one.kind == "AIFF" else b"data"
    at, size = one.content.index(mark), draw.choice([0, 4, 7, 600])
    chunk = draw.choice([b"JUNK", b"LIST", b"bext", b"APPL", b"ID3 "]) + size.to_bytes(4, order)
    chunk += bytes(size + size % 2)
    length = int.from_bytes(one.content[at + 4 : at + 8], order)
    end = at + 8 + length + length % 2
    what = draw.choice(["before", "behind", "second"])
    if what == "second":
        chunk = one.content[at:end]
    place = at if what == "before" else end
    made = bytearray(one.content[:place] + chunk + one.content[place:])
    made[4:8] = (len(made) - 8).to_bytes(4, order)
    # Codings that count their samples in a chunk of their own say how many there are.
    second: Expect = "twice" if one.lossless else "anything"
    return Damage(bytes(made), f"chunk {chunk[:4]!r} {what}", second if what == "second" else "same")


def _without_count(one: WrittenSound, draw: random.Random) -> Damage:
    """An MP3 without the frame that counts the others: what encoders to a pipe write."""
    if one.kind != "MP3" or (at := max(one.content.find(b"Xing"), one.content.find(b"Info"))) < 0:
        return _streamed(one, draw)
    start = one.content.rfind(b"\xff", 0, at)
    following = one.content.find(one.content[start : start + 2], at)
    if following < 0:
        return _streamed(one, draw)
    return Damage(one.content[following:], "without Xing", "longer")


def _middle(one: WrittenSound, draw: random.Random) -> Damage:
    """A piece is missing in the middle, or stands there too much."""
    at = draw.randrange(one.data, len(one.content)) if one.data < len(one.content) else 1
    size = draw.choice([1, 2, 64, 1000])
    if draw.random() < 0.5:
        return Damage(one.content[:at] + one.content[at + size :], f"{size} bytes gone at {at}", "length")
    return Damage(
        one.content[:at] + draw.randbytes(size) + one.content[at:], f"{size} bytes more at {at}", "length"
    )


def _values(one: WrittenSound, draw: random.Random) -> Damage:
    """NaN or infinity among the samples of a coding that holds them."""
    if one.coding not in ("FLOAT", "DOUBLE"):
        return _bytes(one, draw)
    size = 8 if one.coding == "DOUBLE" else 4
    big = one.kind in ("AIFF", "CAF") or (one.kind == "AU" and one.content[:4] == b".snd")
    value = draw.choice([float("nan"), float("inf"), float("-inf"), 1e30])
    number = struct.pack((">" if big else "<") + ("d" if size == 8 else "f"), value)
    at = one.data + size * draw.randrange(max(1, one.samples.size))
    return Damage(one.content[:at] + number + one.content[at + size :], f"{value} at {at}", "anything")


def _ending(one: WrittenSound, draw: random.Random) -> Damage:
    """The whole file under a strange size: an odd byte is added, as some recorders do."""
    return Damage(one.content + b"\0", "one byte more", "whole")


DAMAGES: tuple[Callable[[WrittenSound, random.Random], Damage], ...] = (
    _bytes,
    _bytes,
    _payload,
    _cut,
    _cut,
    _cut_and_mended,
    _sizes,
    _sizes,
    _streamed,
    _joined,
    _prefix,
    _tag,
    _middle,
    _values,
    _ending,
    _chunks,
    _without_count,
)
