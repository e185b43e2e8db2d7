"""What a list of clips costs by `explain_many`, beside a loop of `explain`, by the clock, in turn.

    python benchmarks/many_clips.py [BUNDLE] [--seconds 5] [--clips 64] [--repeats 8]

Noise of one length from memory, the scores alone, each method of the bundle, and all of them; the list
itself, and an iterator over it, of which no more is drawn than is answered. Medians in milliseconds, and how
many times as fast as the loop. Nothing else should run on the machine.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
from measuring import in_turn, run_main

import earmark
from earmark.runtime.explainer import bundle_path, engine_of


def main(bundle: Path | None = None, *, seconds: float = 5.0, clips: int = 64, repeats: int = 8) -> None:
    """Run and print."""
    with earmark.load(bundle_path(bundle), device="cpu") as explainer:
        rate = engine_of(explainer).manifest.sample_rate
        random = np.random.default_rng(0)
        waves = [
            (0.1 * random.standard_normal(round(seconds * rate))).astype(np.float32) for _ in range(clips)
        ]
        for methods in ([], *([name] for name in explainer.methods), explainer.methods):
            explain = partial(explainer.explain, sample_rate=rate, methods=methods)
            many = partial(explainer.explain_many, sample_rate=rate, methods=methods)
            ways = {
                "loop": partial(drop, partial(map, explain, waves)),
                "list": partial(drop, partial(many, waves)),
                "iterator": partial(drop, lambda many=many: many(iter(waves))),
            }
            taken = in_turn(ways, repeats, warm=1, clocks=(time.perf_counter,))
            medians = {name: 1e3 * float(np.median(one)) for name, one in taken.items()}
            faster = "".join(
                f"  {name} {taken:5.0f} ({medians['loop'] / taken:.2f} x)" for name, taken in medians.items()
            )
            print(f"{' '.join(methods) or 'scores alone':<30}{faster}")


def drop(answers: Callable[[], Iterable[object]]) -> None:
    """Draw all answers and keep none."""
    deque(answers(), maxlen=0)


if __name__ == "__main__":
    run_main(main)
