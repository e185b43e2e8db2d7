"""Threads, forks and processes where it is easy to be wrong: locks, lost children, late files."""

from __future__ import annotations

import ast
import gc
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from runtime_sounds import RATE, tone

import earmark
from earmark.forks import fork_waits
from earmark.runtime.explainer import engine_of
from earmark.runtime.values.lazy import lazy_property

# Threads, forks, processes.


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_explains_too(tiny_bundle, monkeypatch):
    monkeypatch.setenv("EARMARK_THREADS", "2")
    explainer = earmark.load(tiny_bundle, "cpu")
    expected = explainer.explain(tone(), RATE)
    # The lock is held by another thread while the process forks.
    held, go = threading.Event(), threading.Event()

    def hold():
        with engine_of(explainer).sessions._lock:
            held.set()
            go.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            again = explainer.explain(tone(), RATE)
            code = 0 if np.allclose(again.mask.residual, expected.mask.residual, atol=1e-6) else 2
        finally:
            os._exit(code)
    go.set()
    holder.join(10)
    assert wait_for(child) == 0
    assert explainer.explain(tone(), RATE).predictions == expected.predictions


def test_results_travel_between_processes(explainer, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), RATE, subtype="FLOAT")
    expected = explainer.explain(tmp_path / "a.wav")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply_async(explainer.explain, (tmp_path / "a.wav",)).get(100)
    assert result.predictions == expected.predictions
    np.testing.assert_array_equal(result.mask.audio, expected.mask.audio)
    np.testing.assert_array_equal(result.mask.residual, expected.mask.residual)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_forked_while_others_explain_do_not_hang(monkeypatch):
    """A lock that some thread holds while the process forks stays locked in the child for ever."""
    monkeypatch.setenv("EARMARK_THREADS", "1")
    explainer = earmark.load(earmark_shipped(), "cpu")
    expected = explainer.explain(tone(), RATE).to_dict()
    stop = threading.Event()

    def work():
        while not stop.is_set():
            explainer.explain(tone(2.0), RATE)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(8)]
    for worker in workers:
        worker.start()
    try:
        codes = []
        for _ in range(8):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    code = 0 if same(explainer.explain(tone(), RATE).to_dict(), expected) else 2
                finally:
                    os._exit(code)
            codes.append(wait_for(child))
    finally:
        stop.set()
        for worker in workers:
            worker.join(30)
    assert codes == [0] * 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_leaves_the_sessions_alone_that_are_its_parents_garbage(tiny_bundle, monkeypatch):
    """Destroyed in the child they would wait for threads that it does not have."""
    monkeypatch.setenv("EARMARK_THREADS", "2")
    gc.disable()
    try:
        circle = [earmark.load(tiny_bundle, "cpu")]
        circle[0].explain(tone(), RATE)
        circle.append(circle)
        del circle
        child = os.fork()
        if child == 0:
            code = 1
            try:
                gc.collect()
                code = 0
            finally:
                os._exit(code)
    finally:
        gc.enable()
    assert wait_for(child, 20) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
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
    child = os.fork()
    if child == 0:
        os._exit(Owner(False).value)
    code = wait_for(child, 10)
    go.set()
    worker.join(10)
    assert code == 7


def earmark_shipped():
    from earmark.runtime.explainer import SHIPPED

    return SHIPPED


def same(one, other):
    return all(one[name] == other[name] for name in ("predictions", "mask", "prototypes", "channels"))


def wait_for(child, seconds=40):
    """The child's exit code; "hangs" where it has none after that time, and it is killed."""
    deadline = time.monotonic() + seconds
    while (status := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hangs"
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(status[1])


def test_nothing_of_the_runtime_has_a_lock_that_outlives_a_fork():
    """functools.cached_property has one for all objects before Python 3.12."""
    root = Path(earmark.__file__).parent
    for room in ("runtime", "prototypes_index"):
        for path in (root / room).rglob("*.py"):
            names = {
                alias.name
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.ImportFrom) and node.module == "functools"
                for alias in node.names
            }
            assert "cached_property" not in names, path


def test_a_fork_waits_for_linear_algebra_of_other_threads():
    """The instance of the fault: a child forked while a thread was in BLAS waited for ever."""
    bare = []
    for room in ("runtime", "prototypes_index"):
        for path in (Path(earmark.__file__).parent / room).rglob("*.py"):
            for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
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
    child = fork_waits(os.fork)()
    if child == 0:
        code = 1
        try:
            code = 0 if order == ["multiplied"] and fork_waits(lambda: 3)() == 3 else 2
        finally:
            os._exit(code)
    order.append("forked")
    assert wait_for(child) == 0
    worker.join(20)
    fork_waits(lambda: order.append("again"))()
    assert order == ["multiplied", "forked", "again"]
