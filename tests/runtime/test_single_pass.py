"""Recordings are decoded once and checked meanwhile: the same errors and warnings, and an end at any time."""

import numpy as np
import pytest
import soundfile
from runtime_sounds import RATE, cancelled_at

import earmark
from earmark.runtime.audio import scratch, single_pass
from earmark.runtime.audio.containers import bytes as sound_bytes
from earmark.runtime.audio.decoding import FileSource
from earmark.runtime.audio.scratch import ScratchRows
from earmark.runtime.audio.sound import open_once, open_sound
from earmark.runtime.inference.deadline import Deadline


def noise(seconds, channels=1, seed=0):
    return np.random.default_rng(seed).normal(0.0, 0.1, (round(seconds * RATE), channels)).astype(np.float32)


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that were decoded, each time."""
    names, blocks = [], FileSource.blocks

    def counted(self):
        names.append(self.name)
        return blocks(self)

    monkeypatch.setattr(FileSource, "blocks", counted)
    return names


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def offset(path):
    soundfile.write(path, noise(12) + 0.3, RATE)


def silent(path):
    soundfile.write(path, 0.0 * noise(12), RATE)


@pytest.mark.parametrize("spoil", [cut, offset, silent])
def test_what_is_wrong_is_said_as_of_a_sound_that_is_checked_before(shipped, tmp_path, decoded, spoil):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(12), RATE)
    spoil(path)
    expected = open_sound(path, None, RATE)
    decoded.clear()
    found = shipped.detect(path, methods=[])
    assert decoded == [str(path)]
    assert list(found.warnings) == expected.warnings != []
    assert found.duration_s == expected.seconds
    assert not found.partial


@pytest.mark.parametrize("level", ["window", "recording"])
def test_an_error_at_the_end_is_the_same_error(variant, tmp_path, level):
    wave = noise(12)
    wave[-5] = np.nan
    path = tmp_path / "nan.wav"
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    with pytest.raises(earmark.AudioError) as before:
        open_sound(path, None, RATE)
    with pytest.raises(earmark.AudioError) as meanwhile:
        variant(level="peak").detect(path, methods=[], level=level)
    assert str(meanwhile.value) == str(before.value)
    assert "holds NaN at 12.000 s" in str(before.value)


def test_stereo_is_classified_by_its_mean(shipped, tmp_path):
    path = tmp_path / "stereo.flac"
    soundfile.write(path, noise(8, 2), 44100)
    expected = shipped.explain(path, methods=[]).windows
    found = shipped.detect(path, methods=[]).windows
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    np.testing.assert_array_equal(found.end_s, expected.end_s)


def test_opening_ends_when_time_is_over(shipped, tmp_path, monkeypatch):
    monkeypatch.setattr(single_pass, "ASK_EVERY", 3 * RATE)
    monkeypatch.setattr("earmark.runtime.audio.source.LONGEST", RATE)
    path = tmp_path / "long.flac"
    soundfile.write(path, noise(30), RATE)
    result = shipped.explain(path, methods=[], cancel=lambda: True)
    assert result.partial
    assert 3.0 <= result.duration_s < 9.0
    [said] = [line for line in result.warnings if "were read" in line]
    assert said.startswith(f"partial: it was cancelled when {result.duration_s:.2f} s of the sound were read")
    [one] = shipped.explain_many([path], methods=[], cancel=cancelled_at(1))
    assert (one.partial, one.duration_s) == (True, result.duration_s)
    assert not shipped.explain(path, methods=[]).partial


def test_looking_through_a_file_ends_when_time_is_over(tmp_path, monkeypatch):
    path = tmp_path / "long.flac"
    soundfile.write(path, noise(240, 2), RATE)
    monkeypatch.setattr(sound_bytes, "ASK_EVERY", 2**20)
    stop = Deadline(cancel=cancelled_at(2))
    opened = open_once(path, None, RATE, stop)
    first = next(opened.input_blocks())
    whole = next(open_once(path, None, RATE).input_blocks())
    np.testing.assert_array_equal(first, whole)
    assert stop.reason
    assert opened.seconds == 240.0


def test_a_recording_that_is_stopped_says_how_long_it_is(shipped, tmp_path):
    path = tmp_path / "long.flac"
    soundfile.write(path, noise(60), RATE)
    part = shipped.detect(path, methods=[], cancel=cancelled_at(2))
    assert part.partial
    assert part.duration_s == 60.0
    assert part.warnings[-1] == "partial: it was cancelled when 8 of 59 windows were classified, up to 9.00 s"
    at_once = shipped.detect(noise(5)[:, 0], RATE, methods=[], cancel=lambda: True)
    assert (at_once.partial, len(at_once.windows)) == (True, 4)


def test_rows_lie_in_a_file_where_they_are_many(monkeypatch):
    values = np.random.default_rng(3).normal(size=(2500, 3)).astype(np.float32)
    given = {}
    for most in (0, 1 << 20):
        monkeypatch.setattr(scratch, "MEMORY_BYTES", most)
        rows = ScratchRows(3)
        for row in values:
            rows.add(row)
        given[most] = rows.finish()
        np.testing.assert_array_equal(given[most], values)
    assert [isinstance(array, np.memmap) for array in given.values()] == [True, False]
    assert ScratchRows(3).finish().shape == (0, 3)
