"""explain_many: whatever one item raises is its own answer, and the others are explained."""

import gc
import tempfile
import threading
import traceback
import weakref

import numpy as np
import pytest
import soundfile
from runtime_sounds import RATE, WAVE, noise

import earmark
from earmark.errors import OutOfMemoryError, UnexpectedError
from earmark.runtime import explainer as entry
from earmark.runtime.audio.sound import OpenSound
from earmark.runtime.explaining.batch import Failure
from earmark.runtime.results.result import Result


class Raising:
    """An object every touch of which raises."""

    def __getattr__(self, name):
        raise RuntimeError(f"no {name} on a tensor that requires grad")


class Array:
    def __array__(self, *_, **__):
        raise RuntimeError("Can't call numpy() on a Tensor that requires grad")


class Long:
    """A file whose end cannot be found."""

    name = "long.wav"

    def read(self, _count=-1):
        raise KeyError("read")

    def seek(self, *_):
        return 100


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        (Array, "the array"),
        (lambda: (Array(), RATE), "the array"),
        (Raising, "Raising"),
        (Long, "long.wav"),
        ("x" * 300 + ".wav", "x" * 300 + ".wav"),
        ("a\0b.wav", "a\0b.wav"),
        (None, "NoneType"),
        (object(), "object"),
    ],
)
def test_an_object_that_raises_is_its_own_answer(shipped, bad, name):
    good = (WAVE, RATE)
    bad = bad() if callable(bad) else bad
    answers = list(shipped.explain_many([good, bad, good], methods=[], sample_rate=RATE))
    assert [type(one) for one in answers] == [Result, Failure, Result]
    assert answers[1].input == name
    assert isinstance(answers[1].error, earmark.AudioError)
    with pytest.raises(earmark.AudioError):
        shipped.explain(bad, RATE if isinstance(bad, Array) else None)


def test_an_iterator_that_raises_loses_one_place_and_nothing_that_was_drawn(shipped):
    def load(number):
        if number in {1, 2}:
            raise OSError(5, "Input/output error", f"{number}.wav")
        return WAVE, RATE

    answers = list(shipped.explain_many(map(load, range(5)), methods=[]))
    assert [isinstance(one, Failure) for one in answers] == [False, True, True, False, False]
    assert "1.wav" in str(answers[1].error)

    class Broken:
        def __iter__(self):
            return self

        def __next__(self):
            raise ValueError("for ever")

    with pytest.raises(ValueError, match="for ever"):
        list(shipped.explain_many(Broken(), methods=[]))


def test_a_defect_and_a_lack_of_memory_are_answers_too(shipped, monkeypatch):
    from earmark.runtime.methods.mask.method import Mask

    begin, raised = Mask.begin, [MemoryError("40 GB"), ZeroDivisionError("division by zero")]

    def failing(self, context, sound, target):
        if context.opened.input_samples == len(WAVE):
            return begin(self, context, sound, target)
        raise raised.pop()

    monkeypatch.setattr(Mask, "begin", failing)
    sounds = [(WAVE, RATE), (WAVE[1:], RATE), (WAVE[2:], RATE), (WAVE, RATE)]
    found = list(shipped.explain_many(sounds, methods=["mask"]))
    assert [type(one) for one in found] == [Result, Failure, Failure, Result]
    assert isinstance(found[1].error, UnexpectedError)
    assert isinstance(found[1].error.__cause__, ZeroDivisionError)
    assert isinstance(found[2].error, OutOfMemoryError)


def test_windows_that_fail_together_are_heard_alone(shipped, monkeypatch):
    from earmark.runtime.inference.pipeline import ModelPipeline

    classified = ModelPipeline.classified

    def failing(self, windows, clock, divisor, **more):
        if len(windows) > 1:
            raise RuntimeError("too much at once")
        return classified(self, windows, clock, divisor, **more)

    monkeypatch.setattr(ModelPipeline, "classified", failing)
    assert all(isinstance(one, Result) for one in shipped.explain_many([(WAVE, RATE)] * 3, methods=[]))


def test_a_sound_that_cannot_be_resampled_is_its_own_answer(shipped, monkeypatch):
    windows = OpenSound.windows

    def failing(self, length, hop, **more):
        if self.input_samples == len(WAVE) - 1:
            raise MemoryError("40 GB")
        return windows(self, length, hop, **more)

    monkeypatch.setattr(OpenSound, "windows", failing)
    sounds = [(WAVE, RATE), (WAVE[1:], RATE), (WAVE, RATE)]
    answers = list(shipped.explain_many(sounds, methods=[]))
    assert [type(one) for one in answers] == [Result, Failure, Result]
    assert isinstance(answers[1].error, OutOfMemoryError)


def test_a_failure_keeps_no_sound_alive_and_ends_no_generator(shipped, monkeypatch):
    held = []

    class Stored:
        name = "stored.wav"

        def __init__(self, error):
            self.error = error

        def seek(self, *_):
            raise self.error

        read = seek

    def sounds():
        yield WAVE, RATE
        try:
            raise KeyError("kept for later")
        except KeyError as error:
            stored = Stored(error)
        yield stored
        yield WAVE, RATE

    def failing(_, opened, *_rest, **_how):
        content = np.zeros(10)
        held.append(weakref.ref(content))
        held.append(weakref.ref(opened))
        raise ZeroDivisionError("here")

    monkeypatch.setattr("earmark.runtime.explaining.many.explain", failing)
    answers = list(shipped.explain_many(sounds(), methods=[]))
    assert [type(one.error).__name__ for one in answers] == [
        "UnexpectedError",
        "AudioError",
        "UnexpectedError",
    ]
    gc.collect()
    assert [one() is None for one in held] == [True] * 4
    lines = "".join(traceback.format_exception(answers[0].error))
    assert 'raise ZeroDivisionError("here")' in lines


def test_without_a_temporary_folder_only_long_sound_fails(shipped, monkeypatch):
    def nowhere():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: nowhere())
    monkeypatch.setattr("earmark.runtime.audio.sound.MEMORY_VALUES", RATE)
    long = np.tile(WAVE, 20)
    found = list(shipped.explain_many([(long, RATE), (WAVE, RATE)], methods=["mask"]))
    assert isinstance(found[0], Failure)
    assert "temporary folder" in str(found[0].error)
    assert isinstance(found[1], Result)


def test_files_of_a_batch_are_opened_side_by_side(shipped, tmp_path, monkeypatch):
    paths = [tmp_path / f"{number}.wav" for number in range(2)]
    for number, path in enumerate(paths):
        soundfile.write(path, noise(1.0 + number), RATE)
    alone = [shipped.explain(path, methods=[]).logits for path in paths]
    monkeypatch.setenv("EARMARK_THREADS", "2")
    # Either waits until both are being opened.
    both = threading.Barrier(2, timeout=60)
    open_any = entry.open_any
    monkeypatch.setattr(entry, "open_any", lambda *given, **how: (both.wait(), open_any(*given, **how))[1])
    answers = list(shipped.explain_many(paths, methods=[]))
    assert [one.input for one in answers] == [str(path) for path in paths]
    for one, logits in zip(answers, alone, strict=True):
        np.testing.assert_allclose(one.logits, logits, atol=1e-6)
