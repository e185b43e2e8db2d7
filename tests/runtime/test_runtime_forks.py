"""Threads, forks and processes where it is easy to be wrong: locks, lost children, late files."""

import ast
import gc
import multiprocessing
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from forked import forks, in_a_child
from runtime_sounds import RATE, noise, tone

import earmark
from earmark.forks import fork_waits
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.inference import session
from earmark.runtime.inference.threads import thread_count
from earmark.runtime.values.lazy import lazy_property


def test_threads_by_the_environment(monkeypatch):
    monkeypatch.setenv("EARMARK_THREADS", "3")
    assert thread_count() == 3
    monkeypatch.delenv("EARMARK_THREADS")
    assert 1 <= thread_count() <= (os.cpu_count() or 1)


def test_threads_share_an_explainer(tiny_bundle):
    explainer = earmark.load(tiny_bundle, "cpu")
    waves = [noise(0.3 + 0.1 * index, seed=index) for index in range(6)]
    found = {}

    def work(index):
        found[index] = explainer.explain(waves[index], RATE, methods=["mask"]).mask.audio

    workers = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    for index, wave in enumerate(waves):
        alone = explainer.explain(wave, RATE, methods=["mask"]).mask.audio
        np.testing.assert_allclose(found[index], alone, atol=1e-6)


def test_closed_explainers_start_again(tiny_bundle):
    with earmark.load(tiny_bundle, "cpu") as explainer:
        explainer.warm_up()
    assert explainer.explain(noise(), RATE, methods=["mask"]).mask is not None


def test_one_residual_for_all_threads(explainer):
    mask = explainer.explain(tone(), RATE).mask
    barrier = threading.Barrier(4)
    seen = []

    def look():
        barrier.wait()
        seen.append(mask.residual)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all(np.shares_memory(one, seen[0]) for one in seen)


@forks
def test_a_forked_child_explains_too(tiny_bundle, monkeypatch):
    monkeypatch.setenv("EARMARK_THREADS", "2")
    explainer = earmark.load(tiny_bundle, "cpu")
    expected = explainer.explain(tone(), RATE)
    explainer.close()
    # Another thread creates a session, and so holds the lock, while the process forks.
    held, go, parent, activate = threading.Event(), threading.Event(), os.getpid(), session.activate

    def slow(*arguments):
        if os.getpid() == parent:
            held.set()
            go.wait(60)
        return activate(*arguments)

    monkeypatch.setattr(session, "activate", slow)

    def same():
        return np.allclose(explainer.explain(tone(), RATE).mask.residual, expected.mask.residual, atol=1e-6)

    holder = threading.Thread(target=explainer.warm_up)
    holder.start()
    held.wait(10)
    assert in_a_child(same) == 0
    go.set()
    holder.join(10)
    assert explainer.explain(tone(), RATE).predictions == expected.predictions


def test_results_travel_between_processes(explainer, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), RATE, subtype="FLOAT")
    expected = explainer.explain(tmp_path / "a.wav")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply_async(explainer.explain, (tmp_path / "a.wav",)).get(100)
    assert result.predictions == expected.predictions
    np.testing.assert_array_equal(result.mask.audio, expected.mask.audio)
    np.testing.assert_array_equal(result.mask.residual, expected.mask.residual)


@forks
def test_children_forked_while_others_explain_do_not_hang(monkeypatch):
    """A lock that some thread holds while the process forks stays locked in the child for ever."""
    monkeypatch.setenv("EARMARK_THREADS", "1")
    explainer = earmark.load(SHIPPED, "cpu")
    stop = threading.Event()

    def answer():
        record = explainer.explain(tone(), RATE).to_dict()
        return [record[name] for name in ("predictions", "mask", "prototypes", "channels")]

    def work():
        while not stop.is_set():
            explainer.explain(tone(2.0), RATE)

    expected = answer()
    workers = [threading.Thread(target=work, daemon=True) for _ in range(8)]
    for worker in workers:
        worker.start()
    try:
        codes = [in_a_child(lambda: answer() == expected) for _ in range(8)]
    finally:
        stop.set()
        for worker in workers:
            worker.join(30)
    assert codes == [0] * 8


@forks
def test_a_child_leaves_the_sessions_alone_that_are_its_parents_garbage(tiny_bundle, monkeypatch):
    """Destroyed in the child they would wait for threads that it does not have."""
    monkeypatch.setenv("EARMARK_THREADS", "2")
    gc.disable()
    try:
        circle = [earmark.load(tiny_bundle, "cpu")]
        circle[0].explain(tone(), RATE)
        circle.append(circle)
        del circle
        assert in_a_child(lambda: gc.collect() >= 0, 20) == 0
    finally:
        gc.enable()


@forks
def test_a_lazy_property_that_is_being_computed_does_not_stop_a_forked_child():
    """The instance of the fault: with functools.cached_property of Python 3.11 the child waits for ever."""
    inside, go = threading.Event(), threading.Event()

    class Owner:
        def __init__(self, wait):
            self.wait = wait

        @lazy_property
        def value(self):
            if self.wait:
                inside.set()
                go.wait(60)
            return 7

    worker = threading.Thread(target=lambda: Owner(True).value)
    worker.start()
    inside.wait(10)
    assert in_a_child(lambda: Owner(False).value == 7, 10) == 0
    go.set()
    worker.join(10)


def trees():
    """Of every file of the runtime, parsed."""
    for room in ("runtime", "prototypes_index"):
        for path in (Path(earmark.__file__).parent / room).rglob("*.py"):
            yield path, ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def test_nothing_of_the_runtime_has_a_lock_that_outlives_a_fork():
    """functools.cached_property has one for all objects before Python 3.12."""
    for path, nodes in trees():
        of_functools = [one for one in nodes if isinstance(one, ast.ImportFrom) and one.module == "functools"]
        assert not [
            one for one in of_functools if "cached_property" in {alias.name for alias in one.names}
        ], path


def test_a_fork_waits_for_linear_algebra_of_other_threads():
    """The instance of the fault: a child forked while a thread was in BLAS waited for ever."""
    bare = []
    for path, nodes in trees():
        for function in nodes:
            if isinstance(function, ast.FunctionDef) and not waited_for(function):
                bare += [(path.name, function.name) for node in ast.walk(function) if in_blas(node)]
    assert bare == []


def waited_for(function):
    return any(isinstance(one, ast.Name) and one.id == "fork_waits" for one in function.decorator_list)


def in_blas(node):
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.MatMult)
    names = {"dot", "vdot", "inner", "matmul", "tensordot", "linalg"}
    return isinstance(node, ast.Attribute) and node.attr in names


@forks
def test_a_thread_in_linear_algebra_forks_and_others_go_on():
    inside, go = threading.Event(), threading.Event()
    order = []

    @fork_waits
    def multiply():
        inside.set()
        go.wait(20)
        order.append("multiplied")

    worker = threading.Thread(target=multiply)
    worker.start()
    inside.wait(20)
    threading.Timer(0.2, go.set).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fork", fork_waits(os.fork))
        assert in_a_child(lambda: order == ["multiplied"] and fork_waits(lambda: 3)() == 3) == 0
    order.append("forked")
    worker.join(20)
    fork_waits(lambda: order.append("again"))()
    assert order == ["multiplied", "forked", "again"]
