"""Sound that is missing or follows where a decoder says nothing: it is heard, or told of."""

import io
import re
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from sound_contents import RATE, noise, opened, written

from earmark.errors import AudioError
from earmark.evaluation.data.folder import load_sound
from earmark.runtime.audio.containers import chunks, mpeg, ogg, survey
from earmark.runtime.audio.containers.bytes import SoundBytes
from earmark.runtime.audio.decoding import find_source
from earmark.runtime.audio.sound import open_sound


def told(content: bytes, rate: int = RATE) -> tuple[int, list[str]]:
    sound = open_sound(io.BytesIO(content), None, rate)
    return sound.input_samples, sound.warnings


def _refused(content: bytes) -> AudioError | None:
    try:
        opened(content)
    except AudioError as problem:
        return problem
    return None


def pages(content: bytes) -> list[int]:
    return [match.start() for match in re.finditer(b"OggS", content)]


def frames(flac: bytes) -> list[int]:
    first = flac.index(b"\xff\xf8")
    return [match.start() for match in re.finditer(re.escape(flac[first : first + 4]), flac)]


@pytest.mark.parametrize("total", [True, False])
@pytest.mark.parametrize("at", [1, 5, -3])
def test_frames_that_a_flac_lost(total: bool, at: int) -> None:
    whole = written("FLAC", 40960)
    if not total:
        whole = whole[:21] + bytes([whole[21] & 0xF0]) + bytes(4) + whole[26:]
    places = frames(whole)
    count, (line,) = told(whole[: places[at]] + whole[places[at + 2] :])
    # libFLAC fills them with silence.
    assert count == 40960
    assert line == "the file is damaged: samples are missing inside it (8192)"


def test_a_flac_without_its_beginning() -> None:
    whole = written("FLAC", 40960)
    places = frames(whole)
    assert "damaged" in told(whole[: places[0]] + whole[places[2] :])[1][0]


@pytest.mark.parametrize("coding", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("at", [2, 3, -2])
def test_a_page_that_an_ogg_lost(coding: str, at: int) -> None:
    whole = written("OGG", 80000, subtype=coding)
    places = pages(whole)
    count, (line,) = told(whole[: places[at]] + whole[places[at + 1] :])
    assert count < 80000
    assert "damaged" in line


@pytest.mark.parametrize("second", ["WAV", "FLAC", "OGG", "AIFF", "MP3"])
@pytest.mark.parametrize("first", ["WAV", "FLAC", "OGG", "AIFF", "AU", "W64", "MP3"])
def test_another_kind_of_sound_that_follows_is_heard(first: str, second: str) -> None:
    one, other = written(first), written(second)
    both = opened(one).input_samples + opened(other).input_samples
    for between in (b"", bytes(512)):
        assert told(one + between + other) == (both, [])


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3"])
@pytest.mark.parametrize("length", [200, 3000])
def test_bytes_that_follow_are_told(kind: str, length: int) -> None:
    whole = written(kind)
    junk = np.random.default_rng(1).bytes(length)
    count, (line,) = told(whole + junk)
    assert count == opened(whole).input_samples
    assert f"{length} bytes" in line


@pytest.mark.parametrize("coding", ["IMA_ADPCM", "MS_ADPCM", "GSM610"])
@pytest.mark.parametrize("speed", [None, 16000])
def test_packed_wav_promises_by_its_blocks(coding: str, speed: int | None) -> None:
    whole = written("WAV", 16000, subtype=coding)
    if speed is not None:
        # The bytes a second are often wrong.
        whole = whole[:28] + struct.pack("<I", speed) + whole[32:]
    all_of_it = opened(whole).input_samples
    assert opened(whole).warnings == []
    count, (line,) = told(whole[: len(whole) * 2 // 3])
    assert count < all_of_it
    assert line.startswith("the file is cut off or damaged")
    assert f"{all_of_it / RATE:.3f} s" in line
    assert "cut off" in told(whole[:-1])[1][0]


@pytest.mark.parametrize(
    ("kind", "coding"),
    [("VOC", None), ("WVE", "ALAW"), ("MPC2K", None), ("MAT5", None)],
)
def test_kinds_that_are_taken_as_they_are(kind: str, coding: str | None) -> None:
    whole = written(kind, subtype=coding)
    rate = 8000 if kind == "WVE" else RATE
    assert told(whole, rate) == (12000, [])
    for cut in (0.5, 0.75):
        count, (line,) = told(whole[: int(cut * len(whole))], rate)
        assert count < 12000
        assert "cut off" in line
    count, (line,) = told(whole + whole, rate)
    assert count == 12000
    assert f"{len(whole)} bytes follow" in line


def test_an_ape_tag_with_a_footer_alone_is_no_damage() -> None:
    whole = written("MP3")
    item = struct.pack("<II", 5, 0) + b"Title\0Hello"
    ape = item + b"APETAGEX" + struct.pack("<IIII", 1000, len(item) + 32, 1, 0) + bytes(8)
    tags = ape + b"TAG" + bytes(125) + b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)
    assert told(whole + tags + whole) == (2 * opened(whole).input_samples, [])


def test_lengths_that_round_to_the_same_are_told_in_samples() -> None:
    (line,) = told(written("WAV")[:-2])[1]
    assert "promises 12000 samples, and 11999 samples" in line


def test_chunks_behind_a_size_that_is_too_small_are_no_sound() -> None:
    whole = written("WAV")
    small = whole[:40] + struct.pack("<I", 8000) + whole[44:]
    listed = small + b"LIST" + struct.pack("<I", 10) + b"INFOabcdef"
    assert told(listed)[0] == 12000


def test_very_many_streams_are_bounded(monkeypatch) -> None:
    for module in (mpeg, survey, ogg):
        monkeypatch.setattr(module, "MOST_PARTS", 20)
    for kind in ("MP3", "FLAC", "OGG", "WAV"):
        whole = written(kind, 4000)
        count, (line,) = told(whole * 21)
        assert count == 20 * opened(whole).input_samples
        assert f"{len(whole)} bytes follow" in line


@pytest.mark.timeout(20)
def test_single_frames_of_two_kinds_in_turn_are_no_sound() -> None:
    turned = []
    for channels in (1, 2):
        store = io.BytesIO()
        soundfile.write(store, noise(8000, channels), RATE, format="MP3")
        whole = store.getvalue()
        first = whole.index(b"\xff\xf3", 4)
        turned.append(whole[first : whole.index(b"\xff\xf3", first + 4)])
    with pytest.raises(AudioError):
        opened((turned[0] + turned[1]) * 5000)


def test_a_part_of_few_samples_holds_no_more_memory() -> None:
    source = find_source(io.BytesIO(written("WAV", 100) * 3), None)
    for block in source.blocks():
        assert block.base is None or block.base.nbytes == block.nbytes


def test_a_file_that_leads_libsndfile_astray_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "._").touch()
    whole = written("MP3")
    # Some releases look for that file, others do not.
    found = [f"{problem}" for problem in [_refused(whole)] if problem is not None]
    assert all("._ in the working folder" in text for text in found)


@pytest.mark.parametrize("gone", [100, 176])
def test_an_mp3_whose_first_frame_is_damaged(gone: int) -> None:
    whole = written("MP3")
    _, (line,) = told(whole[:gone] + whole[gone + 1000 :])
    assert "damaged" in line


def test_every_reader_tells_what_a_sound_lacks(tmp_path) -> None:
    wave = noise(RATE)
    sounds = {
        "inverted": np.hstack([wave, -wave * 0.999]),
        "silent": np.hstack([wave, 0 * wave]),
        "DC": wave + 0.3,
    }
    for name, content in sounds.items():
        soundfile.write(tmp_path / f"{name}.wav", content, RATE, subtype="FLOAT")
        lines: list[str] = []
        load_sound(tmp_path / f"{name}.wav", RATE, lines.append)
        assert [name in line for line in lines] == [True]


def test_a_rate_a_little_below_the_models_loses_nothing() -> None:
    assert open_sound(noise(RATE)[:, 0], 15999, RATE).warnings == []
    (line,) = open_sound(noise(RATE)[:, 0], 15000, RATE).warnings
    assert "7500 Hz" in line


def test_a_single_sample_is_told() -> None:
    (line,) = open_sound(np.full(1, 0.5, np.float32), RATE, RATE).warnings
    assert "single sample" in line


def test_a_peak_whose_square_overflows_is_told() -> None:
    lines = open_sound(noise(RATE)[:, 0] * 1e30, RATE, RATE).warnings
    assert any("overflow" in line for line in lines)
    assert open_sound(noise(RATE)[:, 0] * 1e6, RATE, RATE).warnings == []


def test_pages_that_are_not_good_ask_for_another_file_once(monkeypatch) -> None:
    whole = written("OGG")
    read = 0
    at = SoundBytes.at

    def counted(self: SoundBytes, start: int, count: int) -> bytes:
        nonlocal read
        content = at(self, start, count)
        read += len(content)
        return content

    monkeypatch.setattr(SoundBytes, "at", counted)
    content = whole + bytes(2**20) + (b"OggS" + bytes(23)) * 2000
    parts, _ = survey.survey(SoundBytes(io.BytesIO(content), "many pages"))
    assert parts[0].views == (((0, len(whole)),),)
    # Each look anew would read 2 GB.
    assert read < 200 * 2**20


def test_good_pages_with_gaps_are_read_a_few_times(monkeypatch) -> None:
    read = 0
    into = SoundBytes.into

    def counted(self: SoundBytes, start: int, target: memoryview) -> int:
        nonlocal read
        read += len(target)
        return into(self, start, target)

    page = b"OggS" + bytes(10) + b"serial" + bytes(2) + bytes(4) + b"\0"
    page = page[:22] + ogg.checksum(page) + page[26:]
    # A byte between two pages: what follows the first might be another file.
    content = written("OGG") + (page + b"x") * 20_000
    monkeypatch.setattr(SoundBytes, "into", counted)
    survey.survey(SoundBytes(io.BytesIO(content), "many gaps"))
    # What is left of the file, anew for each gap, would be 5 GB.
    assert read < 20 * len(content)


@pytest.mark.parametrize(
    ("kind", "coding", "channels", "block"),
    [
        ("IRCAM", "PCM_16", 2, 4),
        ("IRCAM", "ULAW", 3, 3),
        ("PAF", "PCM_16", 1, 2),
        ("PAF", "PCM_24", 1, 32),
        ("PVF", "PCM_32", 1, 4),
        ("XI", "DPCM_16", 1, 2),
    ],
)
def test_a_part_of_a_block_shows_that_a_file_without_a_length_was_cut(kind, coding, channels, block) -> None:
    store = io.BytesIO()
    soundfile.write(store, noise(8000, channels), RATE, format=kind, subtype=coding)
    whole = store.getvalue()
    assert told(whole) == (8000, [])
    for missing in range(1, block):
        assert any("cut off or damaged" in line for line in told(whole[:-missing])[1]), missing
    # Of whole blocks nothing is known: no header says how many there were.
    assert told(whole[:-block])[1] == []


@pytest.mark.timeout(20)
def test_a_single_mpeg_frame_of_another_kind_before_a_tag_hides_nothing() -> None:
    whole = written("MP3")
    # Layer II, 64 kb/s, 16 kHz, mono, silence: mpg123 takes no single frame, which is told.
    single = b"\xff\xf5\x88\xc0" + bytes(572)
    for tag in (b"TAG" + bytes(125), b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)):
        count, (line,) = told(whole + single + tag + whole)
        assert count == 2 * opened(whole).input_samples
        assert "cut off or damaged" in line


def test_chunks_are_walked_once(monkeypatch) -> None:
    class Names(frozenset):
        asked = 0

        def __contains__(self, name: object) -> bool:
            Names.asked += 1
            return super().__contains__(name)

    monkeypatch.setattr(chunks, "KNOWN", Names(chunks.KNOWN))
    whole = written("WAV")
    small = whole[:40] + struct.pack("<I", 8000) + whole[44:]
    assert told(small + (b"LIST" + bytes(4)) * 3000 + b"junk")[0] == 12000 + 12002
    # Every chunk is the beginning of a walk: 9 million names, each walked anew.
    assert Names.asked < 20_000


def test_frames_are_read_by_many_threads() -> None:
    heads = [bytes((0xFF, 0xE0 | second % 32, third, 0)) for second in range(32) for third in range(256)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            read = list(pool.map(lambda _: sum(map(mpeg.is_mpeg, heads)), range(8)))
    finally:
        sys.setswitchinterval(before)
    # Versions, layers and checksums of 18, rates of 14, frequencies of 3, of padding and private bits 4.
    assert read == [3 * 3 * 2 * 14 * 3 * 4] * 8
