"""What an explanation costs on top of classifying: interleaved, one process, medians.

    python benchmarks/method_cost.py BUNDLE CLIP [--repeats 60] [--method mask]...

Each repeat classifies the clip and explains it by each method, in turn: once from memory at the model's
rate (front end and classifier are all there is to classifying), once from the file (reading, decoding and
resampling come first). Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import earmark
from earmark.evaluation.data.folder import load_sound
from earmark.runtime.explainer import engine_of


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--method", action="append", default=[])
    options = parser.parse_args()
    explainer = earmark.load(options.bundle, device="cpu")
    rate = engine_of(explainer).manifest.sample_rate
    sounds: dict[str, Any] = {"memory": (load_sound(options.clip, rate), rate), "file": options.clip}
    wanted = [[], *([name] for name in options.method or ["mask"])]
    taken: dict[tuple[str, str], list[float]] = {}
    for repeat in range(options.repeats + 5):
        for where, sound in sounds.items():
            for methods in wanted:
                start = time.perf_counter()
                explainer.explain(sound, methods=methods)
                if repeat >= 5:  # warm
                    spent = (time.perf_counter() - start) * 1e3
                    taken.setdefault((where, "".join(methods) or "classify"), []).append(spent)
    print(f"{'ms, median of ' + str(options.repeats):<24}{'time':>10}{'by classifying':>16}")
    for (where, name), times in taken.items():
        base = statistics.median(taken[where, "classify"])
        own = statistics.median(times)
        print(f"{name + ' from ' + where:<24}{own:>10.2f}{own / base:>16.3f}")


if __name__ == "__main__":
    main()
