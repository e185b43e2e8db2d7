"""From process start to the first explanation, and what it costs in memory, imports and disk.

    python benchmarks/cold_start.py WORK [--repeats 3] [--json FILE]

WORK is the folder that side_by_side.py filled. Processes run in turn: earmark and PyTorch on the
1.25 GB model, earmark on the shipped bundle, bare imports. Peak memory is the kernel's (ru_maxrss).
"""

from __future__ import annotations

import json
import statistics
import sys
import sysconfig
from pathlib import Path

from measuring import of_a_process, run_main

HERE = Path(__file__).parent
CLIP = (
    "import numpy; wave = numpy.random.default_rng(0).standard_normal((1, 80000)).astype('float32') * 0.1; "
)
EXPLAIN = CLIP + "import earmark; earmark.load({bundle!r}).explain((wave, 16000), methods=['mask'])"


def main(work: Path, *, repeats: int = 3, json_: Path | None = None) -> None:
    """Run and print."""
    work = work.resolve()
    bundle = str(work / "bundle")
    commands = {
        "Cnn14: earmark": [sys.executable, "-c", EXPLAIN.format(bundle=bundle)],
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


if __name__ == "__main__":
    run_main(main)
