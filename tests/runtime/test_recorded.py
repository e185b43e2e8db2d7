"""When a recording began: metadata as recorders lay it out, and the names that they give."""

import struct
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
import soundfile
from runtime_sounds import noise

from earmark.runtime.audio.recorded import recorded_at

MORNING = datetime(2024, 5, 1, 6, 0, 0)


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def wave(path, *before, after=()):
    """A WAV of 16 bits with chunks before and behind its sound."""
    data = struct.pack("<100h", *range(100))
    shape = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16))
    inner = b"WAVE" + shape + b"".join(before) + chunk(b"data", data) + b"".join(after)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(inner)) + inner)
    return path


def audiomoth(comment):
    """LIST chunk of the firmware: ICMT and IART of fixed size, filled up with NUL."""
    icmt = chunk(b"ICMT", comment.encode().ljust(384, b"\0"))
    iart = chunk(b"IART", b"AudioMoth 24F319055FDF2F5B".ljust(32, b"\0"))
    return chunk(b"LIST", b"INFO" + icmt + iart)


def item(tag, content):
    return struct.pack("<HI", tag, len(content)) + content


def bext(date, time):
    """EBU Tech 3285: 256 + 32 + 32 characters, then date and time; 602 bytes in all."""
    return chunk(b"bext", (b"\0" * 320 + date.encode() + time.encode()).ljust(602, b"\0"))


@pytest.mark.parametrize(
    ("said", "zone"),
    [
        ("(UTC)", UTC),
        ("(UTC+2)", timezone(timedelta(hours=2))),
        ("(UTC-3:30)", timezone(-timedelta(hours=3, minutes=30))),
        ("(UTC-0:30)", timezone(-timedelta(minutes=30))),
        ("(UTC+10)", timezone(timedelta(hours=10))),
        (None, None),
    ],
)
def test_audiomoth(tmp_path, said, zone):
    words = "by AudioMoth 24F319055FDF2F5B at medium gain while battery was 4.2V and temperature was 11.2C."
    comment = " ".join(filter(None, ["Recorded at 06:00:00 01/05/2024", said, words]))
    # The comment counts, not the name.
    path = wave(tmp_path / "20200101_120000.WAV", audiomoth(comment))
    found = recorded_at(path)
    assert found == MORNING.replace(tzinfo=zone)
    assert (found.utcoffset() is None) == (zone is None)


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".aiff"])
def test_a_converted_recording_keeps_its_comment(tmp_path, suffix):
    path = tmp_path / f"converted{suffix}"
    with soundfile.SoundFile(path, "w", 16000, 1) as file:
        file.comment = "Recorded at 06:00:00 01/05/2024 (UTC+2) by AudioMoth 24F319055FDF2F5B"
        file.write(noise(0.1))
    assert recorded_at(path) == datetime(2024, 5, 1, 4, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T06:00:00+04:00", MORNING.replace(tzinfo=timezone(timedelta(hours=4)))),
        ("2024-05-01T06:00:00.250Z", MORNING.replace(microsecond=250000, tzinfo=UTC)),
        ("2024-05-01T06:00:00", MORNING),
        ("some time in May", None),
    ],
)
def test_guano_stands_behind_the_sound(tmp_path, text, expected):
    content = f"GUANO|Version:  1.0\nNote: Timestamp: none\nTimestamp:  {text}\nLoc Position: 37.1 -86.1\n"
    assert recorded_at(wave(tmp_path / "bat.wav", after=[chunk(b"guan", content.encode())])) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01 06:00:00.500-05:00", datetime.fromisoformat("2024-05-01T06:00:00.500-05:00")),
        ("2024-05-01 06:00:00\0", MORNING),
    ],
)
def test_song_meter(tmp_path, text, expected):
    content = item(0, b"\1\0") + item(1, b"SM4\0") + item(5, text.encode()) + item(6, b"WGS84,42.4,N,71.2,W")
    path = wave(tmp_path / "S4A01234_20240501_060000.wav", after=[chunk(b"wamd", content)])
    found = recorded_at(path)
    assert found == expected
    assert found.tzinfo == expected.tzinfo


def test_metadata_of_another_version_says_nothing(tmp_path):
    content = item(0, b"\2\0") + item(5, b"2024-05-01 06:00:00")
    assert recorded_at(wave(tmp_path / "a.wav", after=[chunk(b"wamd", content)])) is None


def test_broadcast_wav_has_no_zone(tmp_path):
    path = wave(tmp_path / "a.wav", bext("2024-05-01", "06:00:00"), chunk(b"LIST", b"adtlnote"))
    assert recorded_at(path) == MORNING
    assert recorded_at(path).tzinfo is None
    assert recorded_at(wave(tmp_path / "b.wav", bext("2024:05:01", "06.00.00"))) == MORNING


def test_long_files_of_64_bit_sizes(tmp_path):
    data = bytes(1000)
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, len(data), 500, 0))
    shape = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16))
    guano = chunk(b"guan", b"Timestamp: 2024-05-01T06:00:00Z\n")
    path = tmp_path / "long.wav"
    path.write_bytes(b"RF64\xff\xff\xff\xffWAVE" + sizes + shape + b"data\xff\xff\xff\xff" + data + guano)
    assert recorded_at(path) == MORNING.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("20240501_060000.WAV", MORNING),
        ("20240501_060000T.WAV", MORNING),
        ("S4A01234_20240501_060000.wav", MORNING),
        ("SBT-6-76-18_0+1_0_20240501_060000.wav", MORNING),
        ("SwiftOne_20240501_060000_-0400.wav", MORNING.replace(tzinfo=timezone(timedelta(hours=-4)))),
        ("20240501T060000+1000_REC.flac", MORNING.replace(tzinfo=timezone(timedelta(hours=10)))),
        ("2024-05-01T06:00:00Z.wav", MORNING.replace(tzinfo=UTC)),
        ("OWL_123456_2024-05-01_T06-00-00.WAV", MORNING),
        ("20240501_060000_20240501_060000.wav", MORNING),
        ("20240501_060000_20240501_070000.wav", None),
        ("20241301_060000.wav", None),
        ("120240501_060000.wav", None),
        ("20240501.wav", None),
        ("19700101_000000.WAV", None),
        ("20240501_060000_+9900.wav", None),
        ("clip.wav", None),
    ],
)
def test_names(tmp_path, name, expected):
    found = recorded_at(wave(tmp_path / name))
    assert found == expected
    assert expected is None or found.tzinfo == expected.tzinfo


def test_what_cannot_be_read_says_what_its_name_says(tmp_path):
    assert recorded_at(tmp_path / "gone_20240501_060000.wav") == MORNING
    broken = wave(tmp_path / "cut.wav", audiomoth("Recorded at 25:00:00 01/05/2024 (UTC+99)"))
    assert recorded_at(broken) is None
    for length in range(0, broken.stat().st_size, 7):
        part = tmp_path / "part.wav"
        part.write_bytes(broken.read_bytes()[:length])
        assert recorded_at(part) is None
    random = tmp_path / "random.wav"
    random.write_bytes(b"RIFF\0\0\0\0WAVE" + np.random.default_rng(0).bytes(4000))
    assert recorded_at(random) is None
