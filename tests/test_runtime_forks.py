"""Threads, forks and processes where it is easy to be wrong: locks, lost children, late files."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
import soundfile

import earmark

RATE = 16000


@pytest.fixture(scope="module")
def explainer(tiny_bundle):
    return earmark.load(tiny_bundle, "cpu")


@pytest.fixture(scope="module")
def variant(tiny_bundle, tmp_path_factory):
    """Makes a bundle of the tiny model whose manifest says something else about window or level."""

    def make(**changes):
        path = tmp_path_factory.mktemp("variant") / "bundle"
        shutil.copytree(tiny_bundle, path)
        manifest = json.loads((path / "bundle.json").read_text())
        manifest["window"] |= changes.pop("window", {})
        (path / "bundle.json").write_text(json.dumps(manifest | changes))
        return earmark.load(path, "cpu")

    return make


def tone(seconds=1.0, rate=RATE, channels=None, seed=3, peak=0.5):
    """A gliding tone in noise, [samples] or [channels, samples]."""
    rng = np.random.default_rng(seed)
    time_ = np.arange(round(seconds * rate)) / rate
    glide = np.sin(2 * np.pi * (300 + 500 * time_ / max(seconds, 1)) * time_)
    rows = [0.6 * glide + 0.4 * rng.uniform(-1, 1, len(time_)) for _ in range(channels or 1)]
    sound = (peak * np.stack(rows)).astype(np.float32)
    return sound if channels else sound[0]


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
