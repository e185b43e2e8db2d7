"""From process start to the first explanation, and what it costs in memory, imports and disk.

    python benchmarks/cold_start.py [WORK] [--disk BUNDLE...] [--repeats 3] [--method mask] [--json FILE]

WORK is the folder that side_by_side.py filled. Processes run in turn: earmark and PyTorch on the
1.25 GB model, earmark on the shipped bundle, bare imports. Peak memory is the kernel's (ru_maxrss).

--disk: out of the page cache, and from the disk: every file of the bundle and of this environment's packages
leaves the page cache first. What another process has mapped stays, so use an environment of its own. Medians,
minima in brackets. The bundles are examined before, so no hash is computed.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from measuring import of_a_process, run_main

HERE = Path(__file__).parent
EXPLAIN = """
import numpy, earmark
from earmark.runtime.explainer import engine_of
explainer = earmark.load({bundle!r}, device="cpu")
manifest = engine_of(explainer).manifest
samples = round(manifest.window.seconds * manifest.sample_rate)
wave = 0.1 * numpy.random.default_rng(0).standard_normal(samples).astype("float32")
explainer.explain(wave, sample_rate=manifest.sample_rate, methods={methods!r})
"""


def main(
    work: Path | None = None,
    *,
    disk: Sequence[Path] = (),
    method: Sequence[str] = (),
    repeats: int = 3,
    json_: Path | None = None,
) -> None:
    """Run and print."""
    if work is not None:
        beside_pytorch(work.resolve(), repeats, json_)
    for bundle in disk:
        from_disk(bundle, list(method) or None, repeats)


def beside_pytorch(work: Path, repeats: int, json_: Path | None) -> None:
    """Print a row for each kind of process, and sizes."""
    bundle = str(work / "bundle")
    commands = {
        "Cnn14: earmark": [sys.executable, "-c", EXPLAIN.format(bundle=bundle, methods=["mask"])],
        "Cnn14: PyTorch": [sys.executable, str(HERE / "pytorch_side.py"), str(work / "recipe")],
        "shipped: earmark explain": [sys.executable, "-m", "earmark.cli", "explain"],
        "import numpy": [sys.executable, "-c", "import numpy"],
        "import earmark": [sys.executable, "-c", "import numpy, earmark"],
        "import earmark, load": [sys.executable, "-c", "import numpy, earmark; earmark.load"],
        "earmark --help": [sys.executable, "-m", "earmark.cli", "--help"],
        "import torch": [sys.executable, "-c", "import numpy, torch"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    peak: dict[str, float] = {}
    for repeat in range(repeats + 1):
        for name, command in commands.items():
            taken, memory = of_a_process(command, cwd=HERE)
            if repeat:  # the first round fills the disk cache and remembers hashes
                seconds[name].append(taken)
            peak[name] = memory
    print(f"{'':<28}{'seconds':>10}{'peak MB':>10}")
    for name, runs in seconds.items():
        print(f"{name:<28}{statistics.median(runs):>10.2f}{peak[name]:>10.0f}")
    ratio = statistics.median(seconds["Cnn14: PyTorch"]) / statistics.median(seconds["Cnn14: earmark"])
    print(f"cold start, PyTorch / earmark: {ratio:.2f}")
    sizes = installed_sizes()
    for name, size in sizes.items():
        print(f"{name:<28}{size / 1e6:>10.0f} MB on disk")
    if json_:
        medians = {name: statistics.median(runs) for name, runs in seconds.items()}
        json_.write_text(json.dumps({"seconds": medians, "peak_mb": peak, "bytes": sizes}, indent=2))


def installed_sizes() -> dict[str, int]:
    """Bytes in site-packages of what the runtime needs, and of torch."""
    site = Path(sysconfig.get_paths()["purelib"])
    runtime = ["numpy", "scipy", "onnxruntime", "onnx", "faiss", "soxr", "soundfile", "msgspec", "click"]
    runtime += ["PIL", "google"]
    extras = ["numpy.libs", "scipy.libs", "faiss_cpu.libs", "pillow.libs", "_soundfile_data", "ml_dtypes"]

    def size(names: list[str]) -> int:
        return sum(
            file.stat().st_size for name in names for file in (site / name).rglob("*") if file.is_file()
        )

    return {"runtime's packages": size(runtime + extras), "torch": size(["torch"])}


def from_disk(bundle: Path, methods: list[str] | None, repeats: int) -> None:
    """Print a row for a bundle."""
    command = [sys.executable, "-c", EXPLAIN.format(bundle=str(bundle), methods=methods)]
    of_a_process(command)
    packages, cached, evicted = Path(sysconfig.get_paths()["purelib"]), [], []
    for _ in range(repeats):
        cached.append(of_a_process(command)[0])
        evict(bundle)
        evict(packages)
        evicted.append(of_a_process(command)[0])
    held = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    print(
        f"{bundle.name} ({held / 1e6:.0f} MB): page cache {shown(cached)}, disk {shown(evicted)}",
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
