"""What an explanation costs on top of classifying: interleaved, one process, medians.

    python benchmarks/method_cost.py BUNDLE CLIP [--repeats 60] [--method mask]...

Each repeat classifies the clip and explains it by each method, in turn: from memory at the model's rate
(front end and classifier are all there is to classifying), then from the file (reading, decoding and
resampling come first). Nothing else should run on the machine.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from measuring import options_of, print_costs

import earmark
from earmark.evaluation.data.folder import load_sound
from earmark.runtime.explainer import engine_of


def main() -> None:
    """Run and print."""
    parser = options_of(__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--method", action="append", default=[])
    options = parser.parse_args()
    explainer = earmark.load(options.bundle, device="cpu")
    rate = engine_of(explainer).manifest.sample_rate
    sounds: dict[str, Any] = {"memory": (load_sound(options.clip, rate), rate), "file": options.clip}
    for where, sound in sounds.items():
        ways = {"classify": partial(explainer.explain, sound, methods=[])}
        for name in options.method or ["mask"]:
            ways[name] = partial(explainer.explain, sound, methods=[name])
        print_costs(f"from {where}", ways, options.repeats)


if __name__ == "__main__":
    main()
