"""How many threads an operator may use here."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from ...errors import EarmarkError

_MOST_THREADS = 1024
# A graph with fewer bytes, its weights included, has operators so small that a second thread only waits for
# the first: measured for decoders and interpreters of compact classifiers, up to batches of 8.
_SMALL_BYTES = 4 << 20


def thread_count() -> int:
    """Threads within one operator: EARMARK_THREADS, else CPU affinity bounded by the cgroup's quota."""
    wanted = os.environ.get("EARMARK_THREADS", "").strip()
    if wanted:
        if not re.fullmatch(r"[0-9]{1,4}", wanted) or not 1 <= int(wanted) <= _MOST_THREADS:
            raise EarmarkError(
                f"EARMARK_THREADS={wanted}: is no number of threads; give 1 to {_MOST_THREADS}"
            )
        return int(wanted)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, math.ceil(quota)) if quota else cores)


def is_small(graph: Path) -> bool:
    """Whether a graph behind the classifier runs on one thread: a second would only wait for the first."""
    weights = graph.with_name(f"{graph.name}.data")
    return graph.stat().st_size + (weights.stat().st_size if weights.is_file() else 0) < _SMALL_BYTES


def _cgroup_quota() -> float | None:
    """CPUs that the container may use, or None."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        limit = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        return limit / int((folder / "cpu.cfs_period_us").read_text(encoding="ascii")) if limit > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
