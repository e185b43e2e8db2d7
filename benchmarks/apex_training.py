"""How long learning U takes, and how near it comes to a planted rotation.

    python benchmarks/apex_training.py                         # 8 to 128 channels, three seeds, three kinds
    python benchmarks/apex_training.py --channels 512 --clips 1200 --frames 15 --rows 2 --kinds classes

Z = Q S: sources S >= 0 of which few sound in a cell, hidden by a rotation Q. Written to the disk and mapped,
as `earmark train apex` does it. "scattered": any source in any clip; "events": four a clip; "classes": every
source belongs to some of ten classes and sounds in their clips alone, beside faint others. The oracle is
U = Q^T. 512 channels in 15 x 2 cells of 1200 clips are a Cnn14's map, in 512 channels, of three of ESC-50's
folds. --clips 0: five a channel, at least 100.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from measuring import run_main

from earmark.evaluation.prototypes.purity import Cells, FeatureMaps, purity, random_rotation
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


def main(
    *,
    channels: Sequence[int] = (8, 16, 32, 64, 128),
    clips: int = 0,
    frames: int = 6,
    rows: int = 4,
    kinds: Sequence[str] = KINDS,
    seeds: int = 3,
    rounds: int = ApexSettings.rounds,
    focus: float = ApexSettings.focus,
) -> None:
    """Read the arguments, learn, print a JSON line a problem."""
    settings = ApexSettings(rounds=rounds, focus=focus)
    for count in channels:
        several = clips or max(100, 5 * count)
        for kind in kinds:
            for seed in range(seeds):
                with tempfile.TemporaryDirectory() as folder:
                    maps, q = planted(kind, several, frames, rows, count, seed, Path(folder))
                    started, used = time.perf_counter(), time.process_time()
                    u = learn_rotation(maps, settings)
                    seconds, busy = time.perf_counter() - started, time.process_time() - used
                    record = {"channels": count, "clips": several, "kind": kind, "seed": seed}
                    record["seconds"], record["cpu_seconds"] = round(seconds, 1), round(busy, 1)
                    for name, one in (
                        ("oracle", q.T),
                        ("found", u),
                        ("raw", np.eye(count, dtype=np.float32)),
                    ):
                        record[name] = round(purity(maps, "square", one, 5), 4)
                    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    run_main(main)
