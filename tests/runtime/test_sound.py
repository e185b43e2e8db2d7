import errno
import gc
import io
import os
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refuses

from earmark.errors import AudioError, EarmarkError
from earmark.runtime.audio import sound as module
from earmark.runtime.audio.scratch import release, scratch
from earmark.runtime.audio.sound import OpenSound, Restored, open_sound, residual

RATE = 16000


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (channels, samples)).astype(np.float32)


def heard(opened: OpenSound) -> np.ndarray:
    return np.concatenate(list(opened.model_blocks()), axis=1)


def given_sound(opened: OpenSound) -> np.ndarray:
    return np.concatenate(list(opened.input_blocks()), axis=1)


def restored(opened: OpenSound) -> np.ndarray:
    back = Restored(opened)
    for block in opened.model_blocks():
        back.push(block)
    return back.finish()


@pytest.fixture(params=[False, True], ids=["short", "long"])
def long(request, monkeypatch) -> bool:
    if request.param:
        monkeypatch.setattr(module, "MEMORY_VALUES", 0)
    return request.param


def refused(sound, *words: str, rate: int | None = None, model_rate: int = RATE) -> None:
    with pytest.raises(AudioError) as caught:
        open_sound(sound, rate, model_rate)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


# What is refused, and how it is said.


def test_files_that_are_no_sound(tmp_path: Path) -> None:
    refused(tmp_path / "missing.wav", "missing.wav", "does not exist")
    refused(str(tmp_path), "folder")
    (tmp_path / "empty.wav").touch()
    refused(tmp_path / "empty.wav", "empty.wav", "empty")
    (tmp_path / "text.wav").write_text("this is a text file\n" * 50)
    refused(tmp_path / "text.wav", "text.wav", "not a sound")
    (tmp_path / "cut.wav").write_bytes(b"RIFF\x00")
    refused(tmp_path / "cut.wav", "cut.wav")
    (tmp_path / "plain.raw").write_bytes(bytes(4000))
    refused(tmp_path / "plain.raw", "plain.raw", "headerless")
    refused("nul\0byte.wav", "cannot be read")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    refused(tmp_path / "none.wav", "none.wav", "no samples")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    refused(tmp_path / "pipe.wav", "not a regular file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(10), RATE)
    (tmp_path / "a.wav").chmod(0)
    refused(tmp_path / "a.wav", "a.wav")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_says_where(tmp_path: Path, bad: float, long: bool) -> None:
    wave = noise(3 * RATE, 2)
    wave[1, 2 * RATE] = bad
    soundfile.write(tmp_path / "bad.wav", wave.T, RATE, subtype="FLOAT")
    refused(tmp_path / "bad.wav", "bad.wav", "2.000 s", "NaN" if np.isnan(bad) else "infinite")
    refused(wave, "2.000 s", rate=RATE)


def test_float64_beyond_float32_is_not_finite() -> None:
    refused(np.array([0.0, 1e300]), "infinite", rate=RATE)


def test_arrays_that_are_no_sound() -> None:
    refused(np.zeros(100), "sample rate")
    refused(np.zeros((48000, 2)), "array.T", rate=RATE)
    refused(np.zeros((2, 2, 100)), "shape", rate=RATE)
    refused(np.float32(1.0).reshape(()), "shape", rate=RATE)
    refused(np.zeros(0), "no samples", rate=RATE)
    refused(np.zeros((0, 100)), "no samples", rate=RATE)
    refused(np.zeros(100, complex), "complex", rate=RATE)
    refused(np.zeros(100, bool), "bool", rate=RATE)
    refused(np.array(["a", "b"]), "not sound", rate=RATE)
    refused(np.array([None]), "not sound", rate=RATE)
    for rate in (0, -1, 999, 44100.5, 10**7, float("nan"), "44100 Hz"):
        refused((np.zeros(100), rate), "rate")
    refused((np.zeros(100), RATE), "two rates", rate=8000)
    refused((np.zeros(100),), "array, rate")
    refused(None, "NoneType")
    refused(b"RIFF", "bytes")


def test_a_rate_that_contradicts_the_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 8000)
    refused(tmp_path / "a.wav", "8000", "44100", rate=44100)
    assert open_sound(tmp_path / "a.wav", 8000, RATE).input_rate == 8000


def test_open_files_that_are_no_sound(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    with (tmp_path / "a.txt").open() as text:
        refused(text, "a.txt", "text")
    refused(io.StringIO("words"), "text")
    refused(io.BytesIO(), "empty")
    refused(io.BytesIO(b"words"), "not a sound")
    closed = io.BytesIO(b"words")
    closed.close()
    refused(closed, "cannot be read")
    read, write = os.pipe()
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        refused(pipe, "cannot be read")


# What is heard.


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_every_rate_and_channel_count(tmp_path: Path, rate: int, channels: int, long: bool) -> None:
    wave = noise(rate // 3 + 1, channels)
    soundfile.write(tmp_path / "a.wav", wave.T, rate, subtype="FLOAT")
    opened = open_sound(tmp_path / "a.wav", None, RATE)
    assert (opened.input_rate, opened.input_channels, opened.input_samples) == (rate, *wave.shape)
    assert opened.samples == -(-wave.shape[1] * RATE // rate)
    assert opened.long is long
    assert opened.peak == np.abs(wave).max()
    np.testing.assert_array_equal(given_sound(opened), wave)
    ours = heard(opened)
    assert ours.shape == (channels, opened.samples)
    theirs = soxr.resample(wave.T, rate, RATE, quality="HQ").T[:, : opened.samples]
    np.testing.assert_allclose(ours[:, : theirs.shape[1]], theirs, atol=1e-6)

    kept = restored(opened)
    assert kept.shape == wave.shape
    assert isinstance(kept, np.memmap) is long
    np.testing.assert_allclose(residual(opened, kept) + kept, wave, atol=1e-6)


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_a_tone_comes_back_where_it_was(rate: int, long: bool) -> None:
    time = np.arange(rate) / rate
    tone = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    opened = open_sound((tone, rate), None, RATE)
    model_time = np.arange(opened.samples) / RATE
    middle = slice(800, -800)
    np.testing.assert_allclose(
        heard(opened)[0, middle], 0.5 * np.sin(2 * np.pi * 440 * model_time)[middle], atol=1e-4
    )
    np.testing.assert_allclose(restored(opened)[0, middle], tone[middle], atol=1e-4)


def test_same_rate_makes_no_copy() -> None:
    wave = noise(1000, 2)
    opened = open_sound(wave, RATE, RATE)
    (_, window), *_ = opened.windows(5000, 5000)
    assert np.shares_memory(window, wave)
    assert not window.flags.writeable
    assert wave.flags.writeable


@pytest.mark.parametrize("kind", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_sample_formats(tmp_path: Path, kind: str) -> None:
    wave = noise(500)[0]
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype=kind)
    tolerance = {"PCM_U8": 1 / 127, "ULAW": 0.02}.get(kind, 1e-4)
    np.testing.assert_allclose(
        given_sound(open_sound(tmp_path / "a.wav", None, RATE))[0], wave, atol=tolerance
    )


@pytest.mark.parametrize("container", ["flac", "ogg", "mp3", "aiff", "caf"])
def test_containers(tmp_path: Path, container: str, long: bool) -> None:
    if container.upper() not in soundfile.available_formats():
        pytest.skip("this libsndfile cannot")
    soundfile.write(tmp_path / f"a.{container}", noise(40000)[0], RATE)
    opened = open_sound(tmp_path / f"a.{container}", None, RATE)
    assert abs(opened.input_samples - 40000) < 2400
    assert opened.warnings == []
    assert heard(opened).shape == (1, opened.samples)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.float16, np.float64])
def test_array_types(dtype: type) -> None:
    wave = noise(500)[0]
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        half = (int(info.max) - int(info.min) + 1) / 2
        array = np.round(wave.astype(float) * half + (half if info.min == 0 else 0)).astype(dtype)
        tolerance = 0.6 / half + 1e-6
    else:
        array, tolerance = wave.astype(dtype), 1e-3
    np.testing.assert_allclose(given_sound(open_sound(array, RATE, RATE))[0], wave, atol=tolerance)


def test_full_scale_integers_are_ones() -> None:
    ends = given_sound(open_sound(np.array([-32768, 0, 32767], np.int16), RATE, RATE))
    np.testing.assert_allclose(ends, [[-1.0, 0.0, 1.0]], atol=1e-4)


def test_open_file_is_rewound_and_stays_open(tmp_path: Path, long: bool) -> None:
    wave = noise(3000, 2)
    store = io.BytesIO()
    soundfile.write(store, wave.T, RATE, format="WAV", subtype="FLOAT")
    opened = open_sound(store, None, RATE)  # it stands at its end
    for _ in range(2):
        np.testing.assert_array_equal(given_sound(opened), wave)
        np.testing.assert_array_equal(heard(opened), wave)
    assert not store.closed


@pytest.mark.parametrize("samples", [1, 2, 3, 100])
@pytest.mark.parametrize("rate", [8000, 16000, 192000])
def test_very_short_sound(samples: int, rate: int, long: bool) -> None:
    opened = open_sound(noise(samples, 2), rate, RATE)
    assert heard(opened).shape == (2, opened.samples)
    assert opened.samples >= 1
    assert restored(opened).shape == (2, samples)
    assert [offset for offset, _ in opened.windows(8000, 4000)] == [0]


def test_silence_is_heard_with_a_warning(long: bool) -> None:
    opened = open_sound(np.zeros(RATE), RATE, RATE)
    assert opened.silent
    assert opened.peak == 0.0
    assert "silent" in opened.warnings[0]
    assert not open_sound(noise(100), RATE, RATE).silent


@pytest.mark.parametrize("container", ["wav", "aiff", "flac", "w64"])
def test_cut_off_files_warn(tmp_path: Path, container: str, long: bool) -> None:
    whole, cut = tmp_path / f"whole.{container}", tmp_path / f"cut.{container}"
    soundfile.write(whole, noise(200_000)[0], RATE)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    assert open_sound(whole, None, RATE).warnings == []
    opened = open_sound(cut, None, RATE)
    assert 50_000 < opened.input_samples < 121_000
    assert "cut off" in opened.warnings[0]
    assert restored(opened).shape == (1, opened.input_samples)


# Windows and memory.


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5000), st.integers(1, 1500), st.integers(1, 1500), st.sampled_from([8000, 16000, 44100]),
    st.booleans(),
)  # fmt: skip
def test_windows_cover_the_sound(samples: int, length: int, hop: int, rate: int, long: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("earmark.runtime.audio.source.LONGEST", 300)
        patch.setattr(module, "MEMORY_VALUES", 0 if long else 10**9)
        opened = open_sound(noise(samples, 2), rate, RATE)
        everything = heard(opened)
        windows = list(opened.windows(length, hop))
    assert len(windows) == opened.window_count(length, hop)
    for index, (offset, window) in enumerate(windows):
        expected = min(index * hop, max(0, opened.samples - length))
        assert offset == expected
        assert window.shape == (2, min(length, opened.samples))
        np.testing.assert_array_equal(window, everything[:, offset : offset + length])
    assert windows[-1][0] + windows[-1][1].shape[1] == opened.samples


def test_long_sound_is_heard_as_short_sound(tmp_path: Path, monkeypatch) -> None:
    soundfile.write(tmp_path / "a.flac", noise(150_000, 2).T, 44100)
    short = open_sound(tmp_path / "a.flac", None, RATE)
    monkeypatch.setattr(module, "MEMORY_VALUES", 0)
    long = open_sound(tmp_path / "a.flac", None, RATE)
    assert (short.long, long.long) == (False, True)
    np.testing.assert_array_equal(heard(short), heard(long))
    np.testing.assert_array_equal(restored(short), restored(long))


def test_memory_does_not_grow_with_the_sound(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "MEMORY_VALUES", 10_000)
    path = tmp_path / "a.wav"
    peaks = []
    for minutes in (1, 5):
        soundfile.write(path, (noise(RATE * 60)[0].repeat(minutes) * 20000).astype(np.int16), RATE)
        tracemalloc.start()
        opened = open_sound(path, None, 22050)
        back = Restored(opened)
        for _, window in opened.windows(22050, 22050):
            back.push(window)
        kept = back.finish()
        residual(opened, kept)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2 < 8e6


def test_file_that_changes_between_passes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "MEMORY_VALUES", 0)
    soundfile.write(tmp_path / "a.wav", noise(3000)[0], RATE)
    opened = open_sound(tmp_path / "a.wav", None, RATE)
    soundfile.write(tmp_path / "a.wav", noise(2000)[0], RATE)
    with pytest.raises(AudioError, match="changed"):
        list(opened.windows(1000, 1000))


def test_scratch_files_vanish(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "MEMORY_VALUES", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened = open_sound(noise(1000), RATE, RATE)
    array = scratch((100, 513), np.float16, long=opened.long)
    assert isinstance(array, np.memmap)
    assert array.dtype == np.float16
    assert not array.any()
    array[:] = 0.5
    release(array)
    assert (array == 0.5).all()
    view = array[3:5]
    del array
    gc.collect()
    assert (view == 0.5).all()
    del view
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_one_line(monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "MEMORY_VALUES", 0)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    opened = open_sound(noise(1000), RATE, RATE)
    assert tempfile.gettempdir() in refuses(EarmarkError, "TMPDIR", Restored, opened)
