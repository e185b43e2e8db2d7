"""Threads, forks and processes where it is easy to be wrong: locks, lost children, late files."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest
import soundfile
from runtime_sounds import RATE, tone

import earmark

# Threads, forks, processes.


def test_one_residual_for_all_threads(explainer):
    mask = explainer.explain(tone(), RATE).mask
    barrier = threading.Barrier(4)
    seen = []

    def look():
        barrier.wait()
        seen.append(mask.residual)

    threads = [threading.Thread(target=look) for _ in range(4)]
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
        with explainer._sessions._lock:
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
    deadline = time.monotonic() + 60
    while (status := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.05)
    assert os.waitstatus_to_exitcode(status[1]) == 0
    assert explainer.explain(tone(), RATE).predictions == expected.predictions


def test_results_travel_between_processes(explainer, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), RATE, subtype="FLOAT")
    expected = explainer.explain(tmp_path / "a.wav")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply_async(explainer.explain, (tmp_path / "a.wav",)).get(100)
    assert result.predictions == expected.predictions
    np.testing.assert_array_equal(result.mask.audio, expected.mask.audio)
    np.testing.assert_array_equal(result.mask.residual, expected.mask.residual)
