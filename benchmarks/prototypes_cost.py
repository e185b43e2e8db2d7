"""What prototypes cost on top of classifying, by the size of the index: interleaved, one process.

    python benchmarks/prototypes_cost.py BUNDLE CLIP [--entries 10000 --entries 100000] [--repeats 100]

BUNDLE has prototypes; in copies of it every view's index is multiplied to that many entries (each a real
embedding moved by noise of a tenth of its length). Each repeat classifies CLIP, from memory, explains it by
prototypes, and does so with every record looked at (what `to_dict` does), in turn. Medians, by the clock and
of the processor's time, which other processes disturb less; shares are of the latter. Nothing else should run
on the machine; pin the benchmark to one core (taskset -c 0) where something does.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measuring import options_of, print_costs

import earmark
from earmark.evaluation.data.folder import load_sound
from earmark.export.prototypes.generation_folder import GenerationFolder
from earmark.export.prototypes.generation_writer import Graph, open_writer
from earmark.prototypes_index.generation import Generation
from earmark.prototypes_index.table import IndexedClip, Table
from earmark.prototypes_index.views import Places, View
from earmark.runtime.explainer import Explainer, engine_of
from earmark.runtime.methods.prototypes.generation import open_generation

PER_CLIP = 40
NOISE = 0.1


def main() -> None:
    """Run and print."""
    parser = options_of(__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--entries", type=int, action="append", default=[])
    parser.add_argument("--repeats", type=int, default=100)
    options = parser.parse_args()
    for entries in options.entries or [10_000, 100_000]:
        with tempfile.TemporaryDirectory() as temporary:
            bundle = Path(temporary) / "bundle"
            shutil.copytree(options.bundle, bundle)
            multiply(bundle, entries)
            measure(earmark.load(bundle, device="cpu"), options.clip, options.repeats, entries)


def measure(explainer: Explainer, clip: Path, repeats: int, entries: int) -> None:
    """Print a line for classifying, explaining, and reading all of it."""
    rate = engine_of(explainer).manifest.sample_rate
    sound = load_sound(clip, rate), rate
    ways: dict[str, Callable[[], object]] = {
        "classify": lambda: explainer.explain(sound, methods=[]),
        "prototypes": lambda: explainer.explain(sound, methods=["prototypes"]),
        "prototypes, all read": lambda: explainer.explain(sound, methods=["prototypes"]).to_dict(),
    }
    print_costs(f"{entries} entries per view", ways, repeats)


def multiply(bundle: Path, entries: int, seed: int = 0) -> None:
    """Put a generation of that many entries a view in force, made of the one there."""
    random = np.random.default_rng(seed)
    with GenerationFolder.hold(bundle) as generations:
        old = open_generation(bundle, generations.manifest)
        with generations.building() as building:
            writer = open_writer(bundle, building, generations.manifest, Graph.of(old), seed)
            try:
                for number in range(-(-entries // PER_CLIP)):
                    name = f"{number:064x}"
                    clip = IndexedClip(name, f"{number}.wav", old.info.labels[0], 0.0, 1.0, name, name)
                    drawn = {view: places(old, view, random) for view in old.views}
                    passages = {view: known for view, (_, known) in drawn.items() if known is not None}
                    writer.add(clip, {view: one for view, (one, _) in drawn.items()}, passages=passages)
                info = writer.finish()
            finally:
                writer.close()
            generations.publish(building, info)


def places(old: Generation, view: View, random: np.random.Generator) -> tuple[Places, Table | None]:
    """As many places as a clip has here, drawn from all, moved a little; and the passages around them."""
    count, channels = PER_CLIP, old.info.channels
    rows = random.integers(0, old.info.views[view].entries, count)
    vectors = old.index(view).vectors_at(rows)
    noise = random.standard_normal(vectors.shape, dtype=np.float32) * (NOISE / np.sqrt(vectors.shape[1]))
    records = old.entries(view)[rows]
    passages = old.passages(view)
    moved = Places(
        np.stack((records["frame"], records["row"]), axis=1).astype(np.int32),
        # Every place has a channel that peaks there.
        random.permutation(np.arange(channels) % count).astype(np.int32),
        random.random(channels, dtype=np.float32),
        vectors + noise,
    )
    return moved, None if passages is None else passages[rows]


if __name__ == "__main__":
    main()
