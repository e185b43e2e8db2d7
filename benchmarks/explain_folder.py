"""Explains every sound of a folder of class folders, and counts: without PyTorch.

    python benchmarks/explain_folder.py BUNDLE DATA [--json FILE]

Prints accuracy, the mask's area, how the classifier hears kept and removed sound, the share of the
five nearest prototypes that carry the input's label, and milliseconds a stage (median).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import numpy as np

import earmark
from earmark.runtime.explaining.batch import Failure


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    clips = sorted(path for path in options.data.glob("*/*") if path.is_file())
    explainer = earmark.load(options.bundle)
    explainer.warm_up()
    right, areas, unheard = [], [], 0
    scores: dict[str, list[float]] = {}
    same: dict[str, list[float]] = {}
    times: dict[str, list[float]] = {}
    for clip in clips:
        for result in explainer.explain_many([clip], rescore=True):
            if isinstance(result, Failure):
                unheard += 1
                print(f"{clip}: {result.error}", file=sys.stderr)
                continue
            right.append(result.predictions[0][0] == clip.parent.name)
            if result.mask is not None:
                areas.append(result.mask.area)
            for domain, found in (result.rescored or {}).items():
                for name in ("mask_in", "mask_out"):
                    scores.setdefault(f"{domain} {name}", []).append(found[name])
                kept = found["mask_in_label"] == result.target
                scores.setdefault(f"{domain} keeps its label", []).append(float(kept))
            for view, found in (result.prototypes or {}).items():
                same.setdefault(view, []).append(
                    float(np.mean([one.label == clip.parent.name for one in found]))
                )
            for stage, taken in result.timings.items():
                times.setdefault(stage, []).append(taken)
    report = {
        "clips": len(clips),
        "failed": unheard,
        "accuracy": float(np.mean(right)),
        "area": float(np.mean(areas)) if areas else None,
        "rescored": {name: float(np.mean(values)) for name, values in scores.items()},
        "prototypes with the input's label": {view: float(np.mean(values)) for view, values in same.items()},
        "milliseconds": {stage: statistics.median(values) for stage, values in times.items()},
        "torch imported": "torch" in sys.modules,
    }
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
