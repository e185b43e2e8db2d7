"""One sound by every way in: paths, file objects, standard input, a data folder; and what fails midway."""

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
from command_line import documents, explain
from sound_contents import (
    LAYERS,
    RATE,
    decoded,
    flac_total,
    noise,
    opened,
    samples,
    with_size,
    written,
)

from earmark.errors import AudioError, DataError
from earmark.evaluation.data.events import read_events
from earmark.evaluation.data.folder import list_sounds, load_sound, load_sounds
from earmark.runtime.audio.containers.bytes import PiecedFile
from earmark.runtime.audio.sound import open_sound


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", *LAYERS])
def test_id3_in_front(kind: str, tmp_path: Path) -> None:
    whole = written(kind)
    tag = b"ID3\x04\0\0\0\0\x1f\x20" + bytes(4000)
    path = tmp_path / "tagged"
    path.write_bytes(tag + whole)
    with path.open("rb", buffering=0) as raw:
        for given in (path, raw, io.BytesIO(tag + whole)):
            sound = open_sound(given, None, RATE)
            np.testing.assert_allclose(samples(sound), decoded(whole), atol=1e-6)
            assert sound.warnings == []


def test_explain_by_path_and_from_stdin(tmp_path: Path) -> None:
    content = flac_total(written("FLAC"), 0)
    (tmp_path / "streamed.flac").write_bytes(content)
    by_path, by_stdin = (
        documents(explain(argument, "--jsonl", input=content, code=0))[0]
        for argument in (tmp_path / "streamed.flac", "-")
    )
    assert (by_path["duration_s"], by_path["warnings"]) == (0.75, [])
    for name in ("duration_s", "warnings", "predictions"):
        assert by_path[name] == by_stdin[name]


def test_training_and_evaluation_hear_what_explain_hears(tmp_path: Path) -> None:
    contents = {
        "streamed.flac": flac_total(written("FLAC"), 0),
        "less.wav": with_size("WAV", written("WAV"), 8000),
        "cut.wav": written("WAV")[:-8000],
        "joined.ogg": written("OGG", noise(12000, 2), 44100) * 2,
    }
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for name, content in contents.items():
            (tmp_path / label / name).write_bytes(content)
    good, waveforms, faults = load_sounds(list_sounds(tmp_path).clips, RATE)
    assert len(good) == 8
    for clip, waveform in zip(good, waveforms, strict=True):
        sound = open_sound(clip.path, None, RATE)
        mono = np.concatenate([block.mean(axis=0) for block in sound.model_blocks()])
        np.testing.assert_array_equal(waveform, mono)
    assert {(one.clip.path.name, one.used) for one in faults} == {("less.wav", True), ("cut.wav", True)}
    (tmp_path / "events.csv").write_text("clip,label,start_s,end_s\na/less.wav,a,0.5,0.7\n")
    assert read_events(tmp_path / "events.csv", list_sounds(tmp_path), ["a", "b"])


class Failing(io.BytesIO):
    """Readable up to a place."""

    def __init__(self, content: bytes, problem: BaseException, name: str = "disk.wav") -> None:
        super().__init__(content)
        self.problem, self.name = problem, name

    def readinto(self, buffer) -> int:
        if self.tell() > 4000:
            raise self.problem
        return super().readinto(buffer)


class Slow(io.BytesIO):
    """Gives less than was asked for."""

    def readinto(self, buffer) -> int:
        return super().readinto(memoryview(buffer)[: max(1, len(buffer) // 3)])


class Bare:
    """No more than read, seek and tell; seek gives nothing back."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, count: int = -1) -> bytes:
        return self._file.read(count)

    def seek(self, *where: int) -> None:
        self._file.seek(*where)

    def tell(self) -> int:
        return self._file.tell()


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", *LAYERS])
@pytest.mark.parametrize(
    ("problem", "words"),
    [(OSError(errno.EIO, "Input/output error"), "Input/output error"),
     (RuntimeError("it is gone"), "it is gone"), (ValueError("it is closed"), "it is closed")],
)  # fmt: skip
def test_an_error_of_a_file_object_is_no_damage(kind: str, problem: Exception, words: str) -> None:
    with pytest.raises(AudioError) as caught:
        open_sound(Failing(written(kind, noise(80000)), problem), None, RATE)
    assert str(caught.value) == f"disk.wav cannot be read: {words}"
    assert caught.value.__cause__ is problem


def test_an_interrupt_within_the_decoder_is_passed_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        open_sound(Failing(written("WAV", noise(80000)), KeyboardInterrupt()), None, RATE)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
@pytest.mark.parametrize("door", [Slow, Bare])
def test_plain_file_objects_serve(kind: str, door) -> None:
    whole = written(kind)
    sound = open_sound(door(whole), None, RATE)
    np.testing.assert_allclose(samples(sound), decoded(whole), atol=1e-6)
    assert sound.warnings == []


def test_a_path_that_fails_midway(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(written("WAV", noise(80000)))
    from earmark.runtime.audio.containers import bytes as sound_bytes

    problem = OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(
        sound_bytes, "open", lambda *_, **__: Failing(path.read_bytes(), problem), raising=False
    )
    with pytest.raises(AudioError, match=r"a\.wav cannot be read: Input/output error"):
        open_sound(path, None, RATE)
    with pytest.raises(DataError, match="Input/output error"):
        load_sound(path, RATE)


def test_libsndfile_reads_an_intact_flac_file_by_itself(tmp_path, monkeypatch):
    """Not through Python, where its thread would wait for others; the rest is put together in Python."""
    asked = []
    read = PiecedFile.readinto
    monkeypatch.setattr(PiecedFile, "readinto", lambda view, buffer: asked.append(view) or read(view, buffer))
    intact, joined = tmp_path / "a.flac", tmp_path / "b.flac"
    content = written("FLAC")
    intact.write_bytes(content)
    joined.write_bytes(content + b"something else")
    alone = samples(open_sound(intact, None, RATE))
    assert bool(asked) == (os.name != "posix")
    np.testing.assert_array_equal(alone, decoded(content))
    np.testing.assert_array_equal(samples(open_sound(joined, None, RATE)), alone)
    assert asked
    np.testing.assert_array_equal(samples(opened(content)), alone)
