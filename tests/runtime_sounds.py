"""Sounds that tests of the runtime explain, and interpreters that start from nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np

RATE = 16000


def noise(seconds=0.8, rate=RATE, channels=None, seed=0, level=0.1):
    """White noise, [samples] or [channels, samples]."""
    shape = int(seconds * rate) if channels is None else (channels, int(seconds * rate))
    return (level * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


WAVE = noise(0.5, seed=5)


def tone(seconds=1.0, rate=RATE, channels=None, seed=3, peak=0.5):
    """A gliding tone in noise, [samples] or [channels, samples]."""
    rng = np.random.default_rng(seed)
    time_ = np.arange(round(seconds * rate)) / rate
    glide = np.sin(2 * np.pi * (300 + 500 * time_ / max(seconds, 1)) * time_)
    rows = [0.6 * glide + 0.4 * rng.uniform(-1, 1, len(time_)) for _ in range(channels or 1)]
    sound = (peak * np.stack(rows)).astype(np.float32)
    return sound if channels else sound[0]


def run_python(code, *arguments, env=None, timeout=240):
    """Run `code` in a fresh interpreter, outside of any checkout; its stdout."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        cwd="/",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
