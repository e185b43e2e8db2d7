"""What the method `segments` costs beside the model: its own time, and its share where a batch costs 20 ms.

    python benchmarks/segments_cost.py [--repeats 5]

The model here sleeps, so that what is measured is the explainer alone. `own` is wall-clock time outside the
model, `cpu` the processor's time for it, which other programs on the machine do not lengthen.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
from measuring import run_main

import earmark
from earmark.runtime.audio.lengths import samples_of


def measure(seconds: float, rate: int, batch_ms: float, **options: object) -> tuple[float, float, float, int]:
    """Own wall time, own CPU time and total wall time in ms, and the calls, of one explanation."""
    random = np.random.default_rng(0)
    waveform = 0.05 * random.standard_normal(samples_of(seconds, rate)).astype(np.float32)
    start, end = int(0.4 * len(waveform)), int(0.5 * len(waveform))
    waveform[start:end] *= 6.0
    inside = 0.0

    def score(sounds: np.ndarray) -> np.ndarray:
        nonlocal inside
        begin = time.thread_time()
        energy = np.einsum("ij,ij->i", sounds[:, start:end], sounds[:, start:end]) / (end - start)
        # Noise in the answer, so that the search goes on to its budget.
        answer = 1.0 / (1.0 + np.exp(-40.0 * energy + 1.0 + random.standard_normal(len(sounds))))
        inside += time.thread_time() - begin
        time.sleep(batch_ms / 1e3)
        return answer

    wall, cpu = time.perf_counter(), time.thread_time()
    result = earmark.segments(score, waveform, rate, **options)
    wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
    return result.seconds * 1e3, (cpu - inside) * 1e3, wall * 1e3, result.calls


def main(*, repeats: int = 5) -> None:
    """Print a line a case."""
    measure(1.0, 8000, 0.0)
    print(f"{'case':<34}{'calls':>6}{'own ms':>9}{'cpu ms':>9}{'share':>8}")
    for seconds, rate in ((1.0, 8000), (2.0, 16000), (5.0, 16000), (10.0, 16000), (10.0, 32000)):
        for batch_ms in (0.0, 20.0, 50.0):
            runs = [measure(seconds, rate, batch_ms, early_stop=False) for _ in range(repeats)]
            own, cpu, wall = (statistics.median(run[index] for run in runs) for index in range(3))
            name = f"{seconds:g} s at {rate} Hz, {batch_ms:g} ms a batch"
            print(f"{name:<34}{runs[0][3]:>6}{own:>9.1f}{cpu:>9.1f}{cpu / max(wall - own + cpu, 1e-9):>8.1%}")


if __name__ == "__main__":
    run_main(main)
