"""From process start to the first explanation: out of the page cache, and from the disk.

    python benchmarks/first_answer.py BUNDLE... [--repeats 5] [--method mask]

For the disk, every file of the bundle and of this environment's packages leaves the page cache first. What
another process has mapped stays, so use an environment of its own. Processes run in turn; medians, minima in
brackets. The bundles are examined before, so no hash is computed.
"""

from __future__ import annotations

import os
import statistics
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from measuring import of_a_process, run_main

EXPLAIN = """
import numpy, earmark
from earmark.runtime.explainer import engine_of
explainer = earmark.load({bundle!r}, device="cpu")
manifest = engine_of(explainer).manifest
samples = round(manifest.window.seconds * manifest.sample_rate)
wave = 0.1 * numpy.random.default_rng(0).standard_normal(samples).astype("float32")
explainer.explain(wave, sample_rate=manifest.sample_rate, methods={methods!r})
"""


def main(bundles: Sequence[Path], *, repeats: int = 5, method: Sequence[str] = ()) -> None:
    """Print a row for each bundle."""
    packages = Path(sysconfig.get_paths()["purelib"])
    for bundle in bundles:
        command = [sys.executable, "-c", EXPLAIN.format(bundle=str(bundle), methods=list(method) or None)]
        of_a_process(command)
        cached, from_disk = [], []
        for _ in range(repeats):
            cached.append(of_a_process(command)[0])
            evict(bundle)
            evict(packages)
            from_disk.append(of_a_process(command)[0])
        held = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
        print(
            f"{bundle.name} ({held / 1e6:.0f} MB): page cache {shown(cached)}, disk {shown(from_disk)}",
            flush=True,
        )


def evict(folder: Path) -> None:
    """Write what is dirty of the folder's files, and let the kernel forget their pages."""
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.fdatasync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def shown(taken: list[float]) -> str:
    """Median and minimum."""
    return f"{statistics.median(taken):.2f} ({min(taken):.2f}) s"


if __name__ == "__main__":
    run_main(main)
