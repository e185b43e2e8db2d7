"""Steps side by side: their order, their errors, steps within steps; and explanations by several threads."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from runtime_sounds import RATE, tone

import earmark
from earmark.runtime.document import Origin
from earmark.runtime.explainer import engine_of
from earmark.runtime.explaining.batch import explained
from earmark.runtime.values.workers import Workers


def test_answers_are_in_order_of_the_steps():
    both = threading.Barrier(2, timeout=20)
    # Each waits for the other: they do run side by side.
    assert Workers(2).each([lambda: both.wait() * 0 + 1, lambda: both.wait() * 0 + 2]) == [1, 2]
    assert Workers().each([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]


def test_the_first_error_is_raised_after_all_have_ended():
    ended = []

    def fails(name):
        ended.append(name)
        raise ValueError(name)

    with pytest.raises(ValueError, match="a"):
        Workers(2).each([lambda: ended.append("begun"), lambda: fails("a"), lambda: fails("b")])
    assert sorted(ended) == ["a", "b", "begun"]


def test_steps_may_have_steps():
    workers = Workers(2)

    def inner():
        return sum(workers.each([lambda: 1, lambda: 2, lambda: 3]))

    assert workers.each([inner] * 5) == [6] * 5
    workers.close()
    assert workers.each([inner] * 2) == [6] * 2


@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_explanations_do_not_depend_on_the_threads(shipped, monkeypatch, seconds):
    wave = np.resize(tone(), round(seconds * RATE)).astype(np.float32)
    found = {}
    for count in ("1", "2"):
        monkeypatch.setenv("EARMARK_THREADS", count)
        with earmark.load(engine_of(shipped).bundle.path, "cpu") as explainer:
            found[count] = explainer.explain(wave, RATE)
    one, two = found["1"], found["2"]
    np.testing.assert_allclose(two.mask.values, one.mask.values, atol=1e-6)
    np.testing.assert_allclose(two.mask.audio, one.mask.audio, atol=1e-6)
    assert two.prototypes.keys() == one.prototypes.keys()
    for view, nearest in one.prototypes.items():
        assert [match.clip for match in two.prototypes[view]] == [match.clip for match in nearest]
    assert two.warnings == one.warnings
    assert two.timings.keys() == one.timings.keys()


def test_both_threads_classify_what_one_would_wait_for():
    free = threading.Event()

    def together(items, clocks):
        if threading.current_thread().name.startswith("earmark-ahead"):
            # Until the other thread, which explains, has classified a batch as well.
            assert free.wait(10)
        else:
            free.set()
        return [item.number for item in items]

    def opened(number):
        return SimpleNamespace(number=number, resample=lambda: None)

    def answer(item, clock, window):
        return [(item.number, window)]

    answers = explained(iter(range(9)), 2, opened, together, answer, Origin, ahead=3)
    assert list(answers) == [(number, number) for number in range(9)]


def test_a_list_is_classified_ahead_and_answers_alike(shipped, monkeypatch):
    clips = [np.roll(tone(), 100 * number) for number in range(7)]
    clips[3] = clips[3] * np.float32("nan")
    monkeypatch.setenv("EARMARK_THREADS", "2")
    with earmark.load(engine_of(shipped).bundle.path, "cpu") as explainer:
        drawn = list(explainer.explain_many(iter(clips), RATE, batch_size=2, methods=["mask"]))
        ahead = list(explainer.explain_many(clips, RATE, batch_size=4, methods=["mask"]))
        # The generator is left while a batch is classified.
        early = explainer.explain_many(clips, RATE, batch_size=2, methods=["mask"])
        assert next(early).ok
        early.close()
        assert not [one for one in threading.enumerate() if one.name.startswith("earmark-ahead")]
    assert [one.ok for one in ahead] == [number != 3 for number in range(7)]
    # The decoder was asked of two at once, each of which took half of the time.
    assert ahead[0].timings["decoder"] == ahead[1].timings["decoder"] > 0.0
    for one, other in zip(drawn, ahead, strict=True):
        if one.ok:
            np.testing.assert_allclose(other.logits, one.logits, atol=1e-5)
            np.testing.assert_allclose(other.mask.audio, one.mask.audio, atol=1e-6)
