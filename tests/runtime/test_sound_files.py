"""Files whose headers and sounds disagree: all of a sound is heard, or a warning says what is not."""

import struct
from pathlib import Path

import numpy as np
import pytest
from sound_contents import (
    EXTRA,
    LAYERS,
    RATE,
    SIZES,
    decoded,
    flac_total,
    noise,
    opened,
    samples,
    with_size,
    written,
)

from earmark.errors import AudioError
from earmark.runtime.audio import sound as module
from earmark.runtime.audio.containers import chunks as sound_chunks
from earmark.runtime.audio.containers.bytes import SoundBytes
from earmark.runtime.audio.containers.survey import survey
from earmark.runtime.audio.sound import open_sound

# Lengths in headers.


@pytest.mark.parametrize("kind", SIZES)
def test_a_size_that_is_too_small_hides_nothing(kind: str) -> None:
    whole = written(kind)
    sound = opened(with_size(kind, whole, 8000 + EXTRA.get(kind, 0)))
    np.testing.assert_array_equal(samples(sound), decoded(whole))
    (line,) = sound.warnings
    assert "0.250 s" in line
    assert "0.750 s" in line


@pytest.mark.parametrize("kind", SIZES)
def test_a_header_that_was_never_finished(kind: str) -> None:
    whole = written(kind)
    sound = opened(with_size(kind, whole, 0))
    np.testing.assert_array_equal(samples(sound), decoded(whole))
    (line,) = sound.warnings
    assert "never finished" in line
    assert "0.750 s" in line


@pytest.mark.parametrize(
    ("kind", "size"),
    [("WAV", 0xFFFFFFFF), ("WAV", 0x7FFFFFFF), ("WAV", 0x7FFFF000), ("AU", 0xFFFFFFFF), ("AIFF", 0x7F000008),
     ("CAF", 2**64 - 1), ("W64", 2**63 - 1), ("RF64", 2**64 - 1)],
)  # fmt: skip
def test_sizes_from_a_pipe_are_no_promise(kind: str, size: int) -> None:
    whole = written(kind)
    sound = opened(with_size(kind, whole, size))
    np.testing.assert_array_equal(samples(sound), decoded(whole))
    assert sound.warnings == []


@pytest.mark.parametrize("kind", SIZES)
def test_a_file_that_was_cut_tells_both_lengths(kind: str) -> None:
    whole = written(kind)
    sound = opened(whole[:-12000])
    assert sound.input_samples == 6000
    (line,) = sound.warnings
    assert "cut off" in line
    assert "0.750 s" in line
    assert "0.375 s" in line


def test_a_size_that_wrapped_at_four_gibibytes(monkeypatch) -> None:
    # The same mechanism at 2**12: a true 24,000 bytes leave 3,520 in the header.
    monkeypatch.setattr(sound_chunks, "WRAP", 4096)
    whole = written("WAV")
    wrapped = with_size("WAV", whole, 24000 % 4096)
    listed = wrapped + b"LIST" + struct.pack("<I", 8) + b"INFOabcd"
    for content in (wrapped, listed):
        sound = opened(content)
        np.testing.assert_array_equal(samples(sound), decoded(whole))
        assert "0.750 s" in sound.warnings[0]


def test_a_sparse_file_of_more_than_four_gibibytes(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    header = written("WAV", noise(2))[:44]
    length = 2**32 + 8000
    path.write_bytes(with_size("WAV", header, length % 2**32))
    with path.open("r+b") as file:
        file.truncate(44 + length)
        # Where the header says that the sound ends there are no zeros, which would be looked through.
        file.seek(44 + length % 2**32)
        file.write(b"\x00\x40" * 8)
        file.seek(44 + length - 2)
        file.write(b"\x00\x40")
    with path.open("rb") as file:
        (part,), _ = survey(SoundBytes(file, path.name))
    # Every view stays below what a 32-bit header can tell.
    assert sum(piece[1] for view in part.views for piece in view if not isinstance(piece, bytes)) == length
    assert part.declared == 4000


@pytest.mark.parametrize(
    "coding", ["PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM"]
)
def test_every_coding_of_a_short_wav(coding: str, monkeypatch) -> None:
    # Several headers for one sound.
    monkeypatch.setattr(sound_chunks, "VIEW_BYTES", 8192)
    whole = written("WAV", subtype=coding)
    sound = opened(with_size("WAV", whole, 2048))
    np.testing.assert_array_equal(samples(sound), decoded(whole))
    assert "promises" in sound.warnings[0]


# What may follow a sound.


@pytest.mark.parametrize(
    "tail",
    [b"LIST" + struct.pack("<I", 8) + b"INFOabcd", b"id3 " + struct.pack("<I", 5) + b"abcde",
     bytes(3000), b"TAG" + bytes(125), b"<?xml version='1.0'?>\n" * 100,
     b"LIST" + struct.pack("<I", 999) + b"cut", b"x"],
    ids=["LIST", "odd id3", "zeros", "ID3v1", "XML", "cut LIST", "one byte"],
)  # fmt: skip
def test_what_may_follow_is_no_sound(tail: bytes) -> None:
    sound = opened(written("WAV") + tail)
    assert (sound.input_samples, sound.warnings) == (12000, [])


@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", *LAYERS])
@pytest.mark.parametrize("between", [b"", b"ID3\x03\0\0\0\0\x01\x00" + bytes(128)], ids=["", "ID3"])
def test_joined_files_are_heard_one_after_the_other(kind: str, between: bytes) -> None:
    first, second = written(kind), written(kind, noise(9000))
    sound = opened(first + between + second)
    np.testing.assert_allclose(samples(sound), np.concatenate([decoded(first), decoded(second)]), atol=1e-6)
    assert sound.warnings == []


def test_joined_opus() -> None:
    first = written("OGG", subtype="OPUS")
    sound = opened(first * 3)
    np.testing.assert_allclose(samples(sound), np.tile(decoded(first), (3, 1)), atol=1e-6)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_a_stream_that_does_not_fit_is_told(kind: str) -> None:
    sound = opened(written(kind) + written(kind, noise(9000, 2), 44100))
    assert sound.input_samples == 12000
    (line,) = sound.warnings
    assert "0.750 s" in line
    assert "44100 Hz" in line


# Coded streams.


@pytest.mark.parametrize("length", [10, 4000, 12000, 70000])
def test_streamed_flac_is_whole(length: int) -> None:
    whole = written("FLAC", noise(length))
    sound = opened(flac_total(whole, 0))
    np.testing.assert_array_equal(samples(sound), decoded(whole))
    assert (sound.warnings, sound.long) == ([], False)


@pytest.mark.parametrize("total", [1, 4096, 11999])
def test_flac_with_too_small_a_count(total: int) -> None:
    whole = written("FLAC")
    for tail in (b"", b"TAG" + bytes(125), b"junk" * 50):
        sound = opened(flac_total(whole, total) + tail)
        np.testing.assert_array_equal(samples(sound), decoded(whole))
        assert "promises" in sound.warnings[0]


def test_tags_behind_flac_are_no_damage() -> None:
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 37, 1, 0xA0000000) + bytes(8)
    ape += b"hello" + b"APETAGEX" + struct.pack("<IIII", 2000, 37, 1, 0x80000000) + bytes(8)
    for content in (written("FLAC"), flac_total(written("FLAC"), 0)):
        for tail in (b"TAG" + bytes(125), ape):
            sound = opened(content + tail)
            assert (sound.input_samples, sound.warnings) == (12000, [])
    sound = opened(written("FLAC") + bytes(9000))
    assert (sound.input_samples, sound.warnings) == (12000, [])


@pytest.mark.parametrize("coding", ["VORBIS", "OPUS"])
def test_ogg_without_its_end(coding: str) -> None:
    whole = written("OGG", noise(80000), subtype=coding)
    assert opened(whole).warnings == []
    last = whole.rindex(b"OggS")
    for content in (whole[:last], whole[:-5]):
        sound = opened(content)
        assert 0 < sound.input_samples < 80000
        assert "cut off" in sound.warnings[0]
        assert f"{sound.input_samples / RATE:.3f} s" in sound.warnings[0]


def test_an_ogg_page_that_the_decoder_drops() -> None:
    whole = written("OGG", noise(80000))
    places = [at for at in range(len(whole)) if whole.startswith(b"OggS", at)]
    hurt = bytearray(whole)
    hurt[places[3] + 200] ^= 0xFF
    sound = opened(bytes(hurt))
    assert sound.input_samples < 80000
    assert "damaged" in sound.warnings[0]


@pytest.mark.skipif(not LAYERS, reason="this libsndfile reads no MP3")
class TestMpeg:
    @pytest.fixture
    def tagged(self) -> bytes:
        return written("MP3", noise(30000))

    @staticmethod
    def plain(tagged: bytes) -> bytes:
        """The same frames without the one that counts them."""
        return tagged[tagged.index(b"\xff", 4 + tagged.index(b"LAME")) :]

    @pytest.mark.parametrize("count", [0, 5, 2**32 - 1])
    def test_a_wrong_count(self, tagged: bytes, count: int) -> None:
        at = (tagged.find(b"Xing") if b"Xing" in tagged[:200] else tagged.index(b"Info")) + 8
        sound = opened(tagged[:at] + struct.pack(">I", count) + tagged[at + 4 :])
        np.testing.assert_allclose(samples(sound), decoded(tagged), atol=1e-6)
        assert bool(sound.warnings) is (count > 0)

    def test_frames_without_a_count(self) -> None:
        # Silence first: by the size of its first frames the sound would be long over.
        wave = np.concatenate([np.zeros((30000, 1), np.float32), noise(30000)])
        tagged = written("MP3", wave, bitrate_mode="VARIABLE", compression_level=0.5)
        frames = self.plain(tagged)
        sound = opened(frames)
        assert sound.warnings == []
        assert 60000 <= sound.input_samples <= 60000 + 4 * 576
        loud = np.abs(samples(sound)[-28000:-3000]).max(axis=1).reshape(-1, 100).max(axis=1)
        assert loud.min() > 0.1

    def test_junk_within_is_passed_over(self, tagged: bytes) -> None:
        middle = tagged.index(b"\xff\xf3", len(tagged) // 2)
        sound = opened(tagged[:middle] + bytes(range(1, 201)) * 10 + tagged[middle:])
        assert sound.input_samples == 30000
        assert "2000 bytes" in sound.warnings[0]

    def test_cut(self, tagged: bytes) -> None:
        sound = opened(tagged[: len(tagged) // 2])
        assert 10000 < sound.input_samples < 20000
        assert "cut off" in sound.warnings[0]


# What a sound lacks.


def test_what_a_sound_lacks_is_told(monkeypatch) -> None:
    wave = noise(RATE)[:, 0]
    for limit in (module.MEMORY_VALUES, 0):
        monkeypatch.setattr(module, "MEMORY_VALUES", limit)

        def told(channels, rate: int = RATE) -> list[str]:
            return open_sound(np.asarray(channels, np.float32), rate, RATE).warnings

        assert told(wave) == told([wave, wave]) == told([wave, noise(RATE, 2)[:, 1]]) == []
        assert told(wave * 4.0) == told(np.sign(wave) * 0.9) == []
        assert told(wave, 44100) == []
        (low,) = told(wave, 8000)
        assert "4000 Hz" in low
        assert "8000 Hz" in low
        (offset,) = told(wave + 0.2)
        assert "DC offset of +0.20" in offset
        (silent,) = told([wave, 0 * wave, wave])
        assert "channel 2 of 3 is silent" in silent
        (inverted,) = told([wave, wave, -0.7 * wave])
        assert "inverted" in inverted
        assert "-1.00" in inverted
        (clipped,) = told(np.clip(8 * wave, -1, 1))
        assert "clipped" in clipped


# Hostile files: bounded work, one clear line.


@pytest.mark.parametrize(
    "content",
    [
        b"RIFF\xff\xff\xff\xffWAVE" + b"fmt \0\0\0\0" * 50_000,
        b"FORM\xff\xff\xff\xffAIFF" + b"COMM\0\0\0\0" * 50_000,
        b"caff\0\1\0\0" + b"free" + struct.pack(">q", 2**63 - 1) + bytes(64),
        b"caff\0\1\0\0" + b"desc" + struct.pack(">q", -(2**63)) + bytes(64),
        b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb" + bytes(28) + b"\xff" * 4000,
        b"OggS\0\2" + bytes(22) + b"OggS\0\2" * 100_000,
        b"fLaC\0\0\0\x22" * 20_000,
        b"\xff\xfb\x90\x00" * 50_000,
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(100),
        (b"ID3\x04\0\0\0\0\0\0") * 10_000,
        b"RIFF\xff\xff\xff\xffWAVE" + b"data\x04\0\0\0abcd" * 50_000,
    ],
    ids=["wav", "aiff", "caf far", "caf back", "w64", "ogg", "flac", "mp3", "id3", "id3 many", "data"],
)  # fmt: skip
@pytest.mark.timeout(20)
def test_hostile_structures(content: bytes) -> None:
    with pytest.raises(AudioError) as refused:
        opened(content)
    assert "\n" not in str(refused.value)
