"""The table of docs/robustness.md from the reports of runs.

    python benchmarks/fuzz/report.py FOLDER...

Each FOLDER is what a fuzzer was given as `--out`. Exits with 1 where a run had a fault.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from harness import HEADER, Report


def main() -> int:
    """Print it."""
    folders = sys.argv[1:] or [""]
    reports = [Report(**json.loads((Path(one) / "report.json").read_text())) for one in folders]
    print(HEADER)
    for report in reports:
        print(report.row())
    for report in reports:
        for signature, cases in report.faults.items():
            print(f"\n{len(cases)} x {signature}\n  {report.name}.py --seed {report.seed} --case {cases[0]}")
    return 1 if any(report.failures for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
