"""Everything about earmark that wants a GPU: does it run, agree, and what does it cost; offline.

    python benchmarks/gpu.py OUT [--work DIR] [--part NAME]... [--device cuda:0]

Takes less than ten minutes. Each part runs in a process of its own with a time limit, so that one that fails
or hangs takes no other with it. OUT gets a log a part, report.json and report.md. WORK keeps 3 GB between
runs: a Cnn14 of random weights and its bundles. Needs `pip install ".[gpu,export]"`, without onnxruntime.
With `--device cpu` the same parts run on a CPU, as far as they can: to try this script.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import gpu_answers
import gpu_costs
from gpu_place import GpuPlace, Row
from measuring import run_main

# Parts, and the seconds that each may take; in the order of what matters most.
PARTS: dict[str, tuple[Callable[[GpuPlace], list[Row]], int]] = {
    "machine": (gpu_answers.machine, 30),
    "bundles": (gpu_answers.bundles, 120),
    "parity": (gpu_answers.parity, 60),
    "explain": (gpu_costs.explain, 110),
    "classifier": (gpu_costs.classifier, 90),
    "pytorch": (gpu_costs.pytorch, 130),
    "copies": (gpu_costs.copies, 40),
    "memory": (gpu_costs.memory, 40),
    "segments": (gpu_costs.segments, 40),
    "failures": (gpu_answers.failures, 40),
    "two_processes": (gpu_answers.two_processes, 40),
    "training": (gpu_answers.training, 110),
}

WORK = Path(tempfile.gettempdir()) / "earmark-gpu"


def main(
    out: Path,
    *,
    work: Path = WORK,
    part: Sequence[str] = (),
    device: str = "cuda:0",
    run_: str | None = None,
) -> None:
    """Run every part, or with --run one of them in this process."""
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    if run_:
        rows = PARTS[run_][0](GpuPlace(work, device))
        (out / f"{run_}.json").write_text(json.dumps(rows, indent=1))
        return
    started = time.perf_counter()
    report: dict[str, str | list[Row] | None] = {"date": time.strftime("%Y-%m-%d"), "device": device}
    lines = [f"# {device}, {report['date']}", ""]
    for name in part or PARTS:
        begun = time.perf_counter()
        problem = run_part(name, out, work, device)
        found = out / f"{name}.json"
        rows = json.loads(found.read_text()) if problem is None else []
        report[name] = rows or problem
        taken = time.perf_counter() - begun
        lines += [f"## {name} ({taken:.0f} s)", "", *(table(rows) if rows else [problem or "nothing"]), ""]
        print(f"{name}: {problem or 'done'} in {taken:.0f} s", flush=True)
        (out / "report.json").write_text(json.dumps(report, indent=1))
        (out / "report.md").write_text("\n".join(lines))
    print("\n".join(lines))
    print(f"{time.perf_counter() - started:.0f} s in all")


def run_part(name: str, out: Path, work: Path, device: str) -> str | None:
    """Run a part in a process of its own; what went wrong, or None."""
    (out / f"{name}.json").unlink(missing_ok=True)
    command = [sys.executable, __file__, str(out), "--work", str(work), "--device", device, "--run", name]
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}
    limit = PARTS[name][1]
    with (out / f"{name}.log").open("w") as log:
        try:
            code = subprocess.run(
                command, stdout=log, stderr=log, timeout=limit, env=environment, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return f"did not end within {limit} s"
    return None if code == 0 else f"ended with {code}: see {name}.log"


def table(rows: list[Row]) -> list[str]:
    """Rows as a table in Markdown; their keys are its head."""
    head = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return lines + [f"| {' | '.join(cell(row.get(key, '')) for key in head)} |" for row in rows]


def cell(value: object) -> str:
    """A number with the digits that mean something."""
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "/").replace("\n", " ")


if __name__ == "__main__":
    run_main(main)
