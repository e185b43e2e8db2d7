"""How long learning U takes, and how near it comes to a planted rotation.

    python benchmarks/apex_training.py                         # 8 to 128 channels, three seeds, three kinds
    python benchmarks/apex_training.py --channels 512 --clips 1200 --frames 15 --rows 2 --kinds classes

Z = Q S: sources S >= 0 of which few sound in a cell, hidden by a rotation Q. Written to the disk and mapped,
as `earmark train apex` does it. "scattered": any source in any clip; "events": four a clip; "classes": every
source belongs to some of ten classes and sounds in their clips alone, beside faint others. The oracle is
U = Q^T. 512 channels in 15 x 2 cells of 1200 clips are a Cnn14's map, in 512 channels, of three of ESC-50's
folds.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import options_of

from earmark.evaluation.prototypes.purity import Cells, FeatureMaps, identity, purity, random_rotation
from earmark.export.training.apex.rotation import learn_rotation
from earmark.export.training.apex.settings import ApexSettings

KINDS = ("scattered", "events", "classes")


def sources(kind, clips, cells, channels, random):
    """S of one clip after another, [cells, C] float32."""
    belongs = random.random((10, channels)) < max(0.1, 2 / channels)
    for clip in range(clips):
        if kind == "scattered":
            s = random.exponential(1.0, (cells, channels))
            s *= random.random((cells, channels)) < max(0.05, 1.5 / channels)
        elif kind == "events":
            s = np.zeros((cells, channels))
            for channel in random.choice(channels, min(channels, 4), replace=False):
                places = random.choice(cells, random.integers(1, max(2, cells // 4)), replace=False)
                s[places, channel] = 0.2 + random.exponential(1.0, len(places))
        else:
            s = random.exponential(0.5, (cells, channels)) * (
                random.random((cells, channels)) < 0.3 / channels
            )
            own = np.flatnonzero(belongs[clip % 10])
            own = own if len(own) else random.choice(channels, 2, replace=False)
            active = random.random((cells, len(own))) < 0.3
            s[:, own] += random.exponential(1.0, (cells, len(own))) * active
        yield (s + 0.01 * np.abs(random.standard_normal(s.shape))).astype(np.float32)


def planted(kind, clips, frames, rows, channels, seed, folder):
    """Feature maps on the disk, and Q."""
    random = np.random.default_rng((seed, channels))
    q = random_rotation(channels, seed + 1000)
    cells = frames * rows
    table = np.lib.format.open_memmap(folder / "square.npy", "w+", np.float32, (clips * cells, channels))
    for clip, s in enumerate(sources(kind, clips, cells, channels, random)):
        table[clip * cells : (clip + 1) * cells] = s @ q.T
    table.flush()
    mapped = np.load(folder / "square.npy", mmap_mode="r")
    square = Cells(mapped, np.arange(clips + 1) * cells)
    return FeatureMaps({"square": square, "time": square, "frequency": square}, np.arange(clips), rows), q


def main():
    """Read the arguments, learn, print a JSON line a problem."""
    parser = options_of(__doc__)
    parser.add_argument("--channels", type=int, nargs="+", default=[8, 16, 32, 64, 128])
    parser.add_argument("--clips", type=int, default=0, help="0: five a channel, at least 100")
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=ApexSettings.rounds)
    parser.add_argument("--focus", type=float, default=ApexSettings.focus)
    arguments = parser.parse_args()
    settings = ApexSettings(rounds=arguments.rounds, focus=arguments.focus)
    for channels in arguments.channels:
        clips = arguments.clips or max(100, 5 * channels)
        for kind in arguments.kinds:
            for seed in range(arguments.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    maps, q = planted(
                        kind, clips, arguments.frames, arguments.rows, channels, seed, Path(folder)
                    )
                    started, used = time.perf_counter(), time.process_time()
                    u = learn_rotation(maps, settings)
                    seconds, busy = time.perf_counter() - started, time.process_time() - used
                    record = {"channels": channels, "clips": clips, "kind": kind, "seed": seed}
                    record["seconds"], record["cpu_seconds"] = round(seconds, 1), round(busy, 1)
                    for name, one in (("oracle", q.T), ("found", u), ("raw", identity(channels))):
                        record[name] = round(purity(maps, "square", one, 5), 4)
                    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
