"""Room in the temporary folder, and memory, that a long sound takes, and many short ones.

python benchmarks/footprint.py --minutes 60 --rate 44100 --channels 2
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from measuring import run_main

RUNS = {
    "detect, no explanations": "answer = explainer.detect(sound, methods=[])",
    "detect, masks": 'answer = explainer.detect(sound, methods=["mask"])',
    "explain, scores alone": "answer = explainer.explain(sound, methods=[])",
    "explain, prototypes": 'answer = explainer.explain(sound, methods=["prototypes"])',
    **{
        f"explain_many, {size} a batch": (
            "import numpy; waves = numpy.random.default_rng(0).standard_normal((64, 32_000)) * 0.1; "
            f"list(explainer.explain_many(waves, sample_rate=16_000, methods=['mask'], batch_size={size}))"
        )
        for size in (1, 8, 32)
    },
    "explain, mask": 'answer = explainer.explain(sound, methods=["mask"])',
}


def record(path: Path, minutes: float, rate: int, channels: int) -> None:
    """Faint noise with a louder second in every ten."""
    random = np.random.default_rng(0)
    second = random.standard_normal((rate, channels)).astype(np.float32)
    with soundfile.SoundFile(path, "w", rate, channels) as file:
        for number in range(round(60 * minutes)):
            file.write((0.2 if number % 10 == 5 else 0.005) * second)


def mapped(pid: int, folder: str) -> int:
    """Bytes of the files in a folder that a process has mapped, deleted ones among them."""
    total = 0
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
        if folder in line:
            start, end = line.split()[0].split("-")
            total += int(end, 16) - int(start, 16)
    return total


def measure(code: str, sound: Path) -> tuple[float, float, float]:
    """Seconds, most MB in the temporary folder, and peak MB of memory of one run in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="disk-", dir=sound.parent) as folder:
        script = (
            "import resource, sys, earmark\n"
            "sound = sys.argv[1]\n"
            f"explainer = earmark.load(device='cpu')\n{code}\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
        )
        began, most = time.monotonic(), 0
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(sound)],
            env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.PIPE,
            text=True,
        )
        while process.poll() is None:
            lying = sum(path.stat().st_size for path in Path(folder).glob("*") if path.exists())
            most = max(most, mapped(process.pid, folder) + lying)
            time.sleep(0.05)
        assert process.stdout is not None
        return time.monotonic() - began, most / 1e6, float(process.stdout.read())


def main(*, minutes: float = 60.0, rate: int = 44100, channels: int = 2, only: str | None = None) -> None:
    """Print a line a run."""
    with tempfile.TemporaryDirectory(prefix="earmark-disk-") as folder:
        sound = Path(folder, "sound.flac")
        record(sound, minutes, rate, channels)
        size = sound.stat().st_size / 1e6
        print(f"{minutes:g} min, {rate} Hz, {channels} channels: {size:.0f} MB of FLAC")
        for name, code in RUNS.items() if only is None else [(only, RUNS[only])]:
            seconds, disk, memory = measure(code, sound)
            print(
                f"{name:<26} {disk:8.0f} MB of disk {memory:8.0f} MB of memory {seconds:8.1f} s", flush=True
            )


if __name__ == "__main__":
    run_main(main)
