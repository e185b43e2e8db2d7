"""Memory of several processes that explain with the same bundle: what each holds, and what they share.

python benchmarks/processes.py BUNDLE [--processes 1 2 4] [--method mask]...

RSS is what a process has in memory, PSS its part of what it shares with others. Both are read in each of the
processes while all have just explained a sound of one window.
"""

from __future__ import annotations

import multiprocessing
import re
import statistics
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

from measuring import run_main


def explain(
    bundle: Path, methods: list[str] | None, together: Barrier, answers: multiprocessing.Queue
) -> None:
    """Open, explain, wait for the others, and measure."""
    import numpy as np

    import earmark
    from earmark.runtime.explainer import engine_of

    explainer = earmark.load(bundle, device="cpu")
    manifest = engine_of(explainer).manifest
    samples = round(manifest.window.seconds * manifest.sample_rate)
    wave = (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)
    explainer.explain(wave, sample_rate=manifest.sample_rate, methods=methods)
    together.wait()
    text = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8")
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    answers.put(
        (
            *(int(re.search(rf"^{name}:\s+(\d+)", text, re.M)[1]) / 1024 for name in ("Rss", "Pss")),
            int(re.search(r"^VmHWM:\s+(\d+)", status, re.M)[1]) / 1024,
        )
    )
    together.wait()


def main(bundle: Path, *, processes: Sequence[int] = (1, 2, 4), method: Sequence[str] = ()) -> None:
    """Print a row for each number of processes."""
    # As programs start workers: nothing is inherited but what the files share.
    spawning = multiprocessing.get_context("spawn")
    print(f"{'processes':>9} {'RSS, MB':>9} {'PSS, MB':>9} {'peak, MB':>9} {'all, MB':>9}")
    for count in processes:
        together, answers = spawning.Barrier(count), spawning.Queue()
        workers = [
            spawning.Process(target=explain, args=(bundle, list(method) or None, together, answers))
            for _ in range(count)
        ]
        for worker in workers:
            worker.start()
        rows = [answers.get() for _ in workers]
        for worker in workers:
            worker.join()
        rss, pss, peak = (statistics.mean(column) for column in zip(*rows, strict=True))
        print(
            f"{count:>9} {rss:>9.0f} {pss:>9.0f} {peak:>9.0f} {sum(row[1] for row in rows):>9.0f}", flush=True
        )


if __name__ == "__main__":
    run_main(main)
