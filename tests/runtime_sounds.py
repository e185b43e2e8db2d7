"""Sounds that tests of the runtime explain, and interpreters that start from nothing."""

import itertools
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


def cancelled_at(call):
    """A `cancel` that says True from the call of that number on."""
    numbers = itertools.count(1)
    return lambda: next(numbers) >= call


def run_python(program, *arguments, env=None, timeout=240, cwd="/", code=0):
    """Run a program in a fresh interpreter, outside of any checkout, to that exit code; what it said.

    Of one that ends well what stands on its stdout, else on its stderr.
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        cwd=cwd,
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done.stderr if code else done.stdout
