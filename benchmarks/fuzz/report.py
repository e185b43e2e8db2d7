"""The table of docs/robustness.md from the reports of runs.

    python benchmarks/fuzz/report.py FOLDER...

Each FOLDER is what a fuzzer was given as `--out`. Exits with 1 where a run had a fault.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

# What may become of a case. All but the first two are faults.
KINDS = ("ok", "refused", "unclear", "defect", "silent", "crash", "hang", "memory")
GOOD = KINDS[:2]


@dataclass
class FuzzReport:
    """Counts of a run, and the first cases of every fault."""

    name: str
    seed: int
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    faults: dict[str, list[int]] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)

    @property
    def cases(self) -> int:
        """How many cases were run."""
        return sum(self.counts.values())

    @property
    def failures(self) -> int:
        """How many were faults."""
        return self.cases - sum(self.counts[kind] for kind in GOOD)

    def row(self) -> str:
        """A row of the table in docs/robustness.md."""
        counts = " | ".join(f"{self.counts[kind]:,}" for kind in KINDS)
        return f"| {self.name} | {self.seed} | {self.cases:,} | {counts} |"


HEADER = f"| fuzzer | seed | cases | {' | '.join(KINDS)} |\n|---|---:|---:|{'---:|' * len(KINDS)}"


def main() -> int:
    """Print it."""
    folders = sys.argv[1:] or [""]
    reports = [FuzzReport(**json.loads((Path(one) / "report.json").read_text())) for one in folders]
    print(HEADER)
    for report in reports:
        print(report.row())
    for report in reports:
        for signature, cases in report.faults.items():
            print(f"\n{len(cases)} x {signature}\n  {report.name}.py --seed {report.seed} --case {cases[0]}")
    return 1 if any(report.failures for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
