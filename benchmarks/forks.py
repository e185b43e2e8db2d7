"""Processes made while threads explain: fork, spawn, pools, pickling; counts hangs and wrong answers.

    python benchmarks/forks.py [--rounds 20] [--methods mask prototypes] [--seconds 60]

Each round, threads of the parent explain without pause while a child is made in one way or another and
explains too; its scores must be the parent's. A child that has not answered within `--seconds` hangs.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pickle
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("EARMARK_THREADS", "1")

import numpy as np
from measuring import run_main

import earmark
from earmark.runtime.explainer import Explainer, engine_of

RATE = 16000
THREADS = 4
Scores = list[float]


def sound() -> np.ndarray:
    """Two seconds of a decaying tone."""
    times = np.arange(2 * RATE) / RATE
    return (0.5 * np.sin(2 * np.pi * 440 * times) * np.exp(-3 * times)).astype(np.float32)


def scores(explainer: Explainer, methods: list[str]) -> Scores:
    """The scores, after every method has run."""
    result = explainer.explain((sound(), RATE), methods=methods)
    if result.mask is not None:
        result.mask.residual.sum()
    return [score for _, score in sorted(result.predictions)]


def in_fork(explainer: Explainer, methods: list[str], seconds: float) -> Scores:
    """A plain fork: the child explains with the explainer that it inherits."""
    return _forked(lambda: scores(explainer, methods), seconds)


def in_fork_afresh(explainer: Explainer, methods: list[str], seconds: float) -> Scores:
    """A plain fork: the child loads the bundle itself."""
    return _forked(lambda: scores(earmark.load(engine_of(explainer).bundle.path, "cpu"), methods), seconds)


def in_grandchild(explainer: Explainer, methods: list[str], seconds: float) -> Scores:
    """A fork of a fork that has explained."""

    def child() -> Scores:
        scores(explainer, methods)
        return _forked(lambda: scores(explainer, methods), seconds)

    return _forked(child, seconds)


def in_fork_many(explainer: Explainer, methods: list[str], seconds: float) -> Scores:
    """A fork that explains several sounds in threads of its own."""

    def child() -> Scores:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda _: scores(explainer, methods), range(4)))
        assert all(np.allclose(one, found[0]) for one in found)
        return found[0]

    return _forked(child, seconds)


def in_pool(start: str) -> Callable[[Explainer, list[str], float], Scores]:
    """A pool of one process; the explainer travels by pickling."""

    def run(explainer: Explainer, methods: list[str], seconds: float) -> Scores:
        with multiprocessing.get_context(start).Pool(1) as pool:
            try:
                return pool.apply_async(scores, (explainer, methods)).get(seconds)
            except multiprocessing.TimeoutError:
                raise TimeoutError from None

    return run


def pickled(explainer: Explainer, methods: list[str], _: float) -> Scores:
    """The explainer and a result, there and back."""
    again = pickle.loads(pickle.dumps(explainer))
    result = pickle.loads(pickle.dumps(again.explain((sound(), RATE), methods=methods)))
    return [score for _, score in sorted(result.predictions)]


WAYS: dict[str, Callable[[Explainer, list[str], float], Scores]] = {
    "fork, inherited explainer": in_fork,
    "fork, own explainer": in_fork_afresh,
    "fork, several threads": in_fork_many,
    "fork of a fork": in_grandchild,
    "pool of forks": in_pool("fork"),
    "pool of spawned": in_pool("spawn"),
    "pool of a fork server": in_pool("forkserver"),
    "pickled": pickled,
}


def _forked(function: Callable[[], Scores], seconds: float) -> Scores:
    """What `function` gives in a forked child. Raises TimeoutError, ChildProcessError."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(writer, pickle.dumps(function()))
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    try:
        if not select.select([reader], [], [], seconds)[0]:
            os.kill(pid, signal.SIGKILL)
            raise TimeoutError
        content = os.read(reader, 1 << 16)
    finally:
        os.close(reader)
        os.waitpid(pid, 0)
    if not content:
        raise ChildProcessError("the child ended without an answer")
    return pickle.loads(content)


def main(
    *,
    rounds: int = 20,
    methods: Sequence[str] = ("mask", "prototypes"),
    bundle: Path | None = None,
    seconds: float = 60.0,
) -> int:
    """Run the matrix and print it. Returns 1 where anything hung, died or differed."""
    warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
    explainer = earmark.load(bundle, "cpu")
    expected = scores(explainer, methods)
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            scores(explainer, methods)

    threads = [threading.Thread(target=busy) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    faults = 0
    print(f"| way, {rounds} times beside {THREADS} threads | right | differs | dies | hangs | seconds |")
    print("|---|---:|---:|---:|---:|---:|")
    try:
        for name, way in WAYS.items():
            count = dict.fromkeys(("right", "differs", "dies", "hangs"), 0)
            start = time.monotonic()
            for _ in range(rounds):
                try:
                    same = np.allclose(way(explainer, methods, seconds), expected, atol=1e-5)
                    count["right" if same else "differs"] += 1
                except TimeoutError:
                    count["hangs"] += 1
                except Exception as error:
                    count["dies"] += 1
                    print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            taken = (time.monotonic() - start) / rounds
            print(f"| {name} | {' | '.join(map(str, count.values()))} | {taken:.2f} |", flush=True)
            faults += rounds - count["right"]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return 1 if faults else 0


if __name__ == "__main__":
    run_main(main)
