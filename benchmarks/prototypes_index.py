"""An index of prototypes at a given size: recall, time, memory, disk.

    python benchmarks/prototypes_index.py --bundle BUNDLE [BUNDLE]... --data FOLDERS
        --held-out FOLDERS [--channels 192] [--entries 100000] --out DIR

Every bundle embeds the clips of DATA, and the channels of their feature maps stand side by side
(cut at --channels): that is how three models of 192 channels make real embeddings of 512. They are
multiplied up to --entries a view: each copy is a real embedding, its channels' gains off by 15 %, and
mixed with up to 30 % of another, as sounds overlap. Queries are embeddings of the held-out clips, as
they are, two a view as an explanation asks; processor time is what they take where nothing else runs.
Written as `earmark index` writes: the same writer. With --keep what was built stays and is not built again.

Recall@10 counts neighbours within 1e-3 of the tenth's similarity, over 200 queries a view (some asked again
where there are fewer), against all stored vectors.
Memory is what the process holds itself (anonymous, the benchmark's own arrays among it);
mapped files are the system's. --random takes vectors without any structure instead, the worst there is.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from measuring import given

from earmark.evaluation.data.folder import list_sounds
from earmark.export.prototypes.clip_embedder import ClipEmbedder
from earmark.prototypes_index.faiss_files import IndexInfo
from earmark.prototypes_index.generation import Generation
from earmark.prototypes_index.index_build import exact_tenth, recall
from earmark.prototypes_index.info import read_info
from earmark.prototypes_index.opening import read_generation
from earmark.prototypes_index.table import IndexedClip
from earmark.prototypes_index.views import VIEWS, Grid, Places, View, find_places, normalise
from earmark.prototypes_index.writer import GenerationWriter
from earmark.runtime.opening import open_bundle

FloatArray = npt.NDArray[np.float32]
PER_CLIP = 80
QUERIES = 200
GAIN, MIX = 0.15, 0.3


@dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """What is built and searched; step, view: the part that this process does."""

    bundle: Sequence[Path]
    data: Path
    held_out: Path
    channels: int = 192
    entries: int = 100_000
    random: bool = False
    out: Path
    keep: bool = False
    step: Literal["embed", "build", "search"] | None = None
    view: View = "square"

    @property
    def embeddings(self) -> Path:
        """The real embeddings, or the random ones."""
        return self.out / f"{'random' if self.random else 'real'}_{self.channels}.npz"

    def folder(self, view: View) -> Path:
        """Each view is a generation of its own, built by a process of its own."""
        return self.out / f"{'random_' if self.random else ''}{self.channels}_{self.entries}_{view}"


def main(settings: IndexSettings) -> None:
    """Build and search, each in a process of its own, and print."""
    steps = {"embed": embed, "build": build, "search": search}
    if settings.step:
        print(msgspec.json.encode(steps[settings.step](settings)).decode())
        return
    settings.out.mkdir(parents=True, exist_ok=True)

    def run(step: str, *more: str) -> Any:
        arguments = [sys.executable, __file__, *sys.argv[1:], "--step", step, *more]
        done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout)

    run("embed")
    built = {}
    for view in VIEWS:
        file = settings.folder(view) / "built.json"
        if not file.exists():
            file.write_text(json.dumps(run("build", "--view", view)), encoding="utf-8")
        built[view] = json.loads(file.read_text(encoding="utf-8"))
    found = {"entries": settings.entries, "channels": settings.channels, "build": built, **run("search")}
    print(json.dumps(found, indent=2))
    if not settings.keep:
        for view in VIEWS:
            shutil.rmtree(settings.folder(view))


def embed(settings: IndexSettings) -> None:
    """The real embeddings of every view, of DATA and of the held-out clips."""
    path = settings.embeddings
    if path.exists():
        return
    if settings.random:
        random = np.random.default_rng(2)
        sizes = {view: settings.channels * (2 if view == "time_frequency" else 1) for view in VIEWS}
        np.savez(
            path,
            **{f"data_{view}": random.standard_normal((20_000, size), "f4") for view, size in sizes.items()},
            **{
                f"held_out_{view}": random.standard_normal((2_000, size), "f4")
                for view, size in sizes.items()
            },
        )
        return
    listeners = [ClipEmbedder(open_bundle(one), one / "embeddings.onnx") for one in settings.bundle]
    arrays = {}
    for part, folder in (("data", settings.data), ("held_out", settings.held_out)):
        found: dict[str, list[FloatArray]] = {view: [] for view in VIEWS}
        for file in list_sounds(folder, fewest_classes=1).clips:
            for embedded in zip(*(one.listen(one.open(file.path)) for one in listeners), strict=True):
                maps = {
                    name: np.concatenate([one.maps[name] for one in embedded], axis=-1)[
                        ..., : settings.channels
                    ]
                    for name in ("square", "time", "frequency")
                }
                for view in VIEWS:
                    places = find_places(view, maps, embedded[0].frames)
                    found[view].append(places.vectors)
        arrays |= {f"{part}_{view}": np.concatenate(vectors) for view, vectors in found.items()}
    np.savez(path, **arrays)


def build(settings: IndexSettings) -> dict[str, float]:
    """Write a generation of that many entries in one view; the costs by their names."""
    view = settings.view
    base = normalise(np.load(settings.embeddings)[f"data_{view}"])
    folder = settings.folder(view)
    shutil.rmtree(folder, ignore_errors=True)
    graph = settings.out / "graph.onnx"
    graph.write_bytes(b"no graph is needed here")
    channels = settings.channels
    writer = GenerationWriter(
        folder,
        embeddings=graph,
        model_sha256="",
        labels=["a"],
        views=[view],
        channels=channels,
        grid=Grid(1.0, ((0.0, 1.0), (1.0, 2.0))),
    )
    random = np.random.default_rng(0)
    # Drawing a gain for each number would take longer than the index.
    gains = np.exp(GAIN * random.standard_normal((1024, base.shape[1]), dtype=np.float32))
    of_channel = np.arange(channels, dtype=np.int32) % PER_CLIP
    cells = np.zeros((PER_CLIP, 2), dtype=np.int32)
    spent: dict[str, float] = {}
    with _measured(spent, "add"):
        for number in range(settings.entries // PER_CLIP):
            rows = np.arange(number * PER_CLIP, (number + 1) * PER_CLIP) % len(base)
            share = random.uniform(0, MIX, (PER_CLIP, 1)).astype(np.float32)
            vectors = base[rows] * gains[random.integers(0, len(gains), PER_CLIP)]
            vectors += share * (base[random.integers(0, len(base), PER_CLIP)] - vectors)
            scores = random.random(channels, dtype=np.float32)
            name = str(number)
            clip = IndexedClip(name, name, "a", 0.0, 1.0, name, name)
            writer.add(clip, {view: Places(cells, of_channel, scores, vectors)})
    with _measured(spent, "finish"):
        writer.finish()
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    return {
        **{name: round(value, 1) for name, value in spent.items()},
        "of_which_the_benchmarks_mb": round((gains.nbytes + base.nbytes) / 1e6),
        "disk_mb": round(sum(sizes.values()) / 1e6),
        "codes_mb": round(sizes[f"{view}.faiss"] / 1e6),
        "vectors_mb": round(sizes.get(f"{view}.vectors.npy", 0) / 1e6),
    }


class Spread(msgspec.Struct):
    """Milliseconds."""

    median: float
    p95: float


class ViewRecall(msgspec.Struct):
    """How the index of one view was built, and its recall of queries that are not in it."""

    info: IndexInfo
    recall_held_out: float


class SearchCost(msgspec.Struct):
    """What opening and searching cost: milliseconds by the clock and of the processor, and memory."""

    open_ms: float
    first_search_ms: float
    search_ms: Spread
    search_processor_ms: Spread
    search_memory_mb: int
    views: dict[View, ViewRecall]


def search(settings: IndexSettings) -> SearchCost:
    """Open the generations as the runtime does, and search them with the held-out clips."""
    start = time.perf_counter()
    generations = {view: _open(settings.folder(view)) for view in VIEWS}
    open_ms = round((time.perf_counter() - start) * 1e3, 1)
    real = np.load(settings.embeddings)
    random = np.random.default_rng(1)
    queries = {}
    for view in VIEWS:
        held_out = normalise(real[f"held_out_{view}"])
        few = len(held_out) < QUERIES
        queries[view] = held_out[random.choice(len(held_out), QUERIES, replace=few)]
    start = time.perf_counter()
    for view in VIEWS:
        generations[view].search(view, queries[view][:2], 5)
    first_search_ms = round((time.perf_counter() - start) * 1e3, 1)
    wall, processor = [], []
    for _ in range(3):
        for query in range(0, QUERIES, 2):
            start, begun = time.perf_counter(), time.thread_time()
            for view in VIEWS:
                generations[view].search(view, queries[view][query : query + 2], 5)
            wall.append((time.perf_counter() - start) * 1e3)
            processor.append((time.thread_time() - begun) * 1e3)
    memory_mb = round(_held_mb())
    views: dict[View, ViewRecall] = {}
    for view in VIEWS:
        index = generations[view].index(view)
        tenth = exact_tenth(queries[view], _Stored(index))
        views[view] = ViewRecall(index.info, round(recall(index, queries[view], tenth), 4))
    return SearchCost(open_ms, first_search_ms, _spread(wall), _spread(processor), memory_mb, views)


def _spread(spent: list[float]) -> Spread:
    """Of the last round: whatever a query touches has been read from the disk."""
    last = sorted(spent[-QUERIES // 2 :])
    return Spread(round(statistics.median(last), 2), round(last[int(0.95 * len(last))], 2))


def _open(folder: Path) -> Generation:
    info = read_info(folder)
    spec = SimpleNamespace(
        views=list(info.views),
        entries={view: index.entries for view, index in info.views.items()},
        dimensions={view: index.dimension for view, index in info.views.items()},
        clips=info.clips,
        removed=0,
    )
    return read_generation(folder, spec)


class _Stored:
    """The stored vectors of an index, by slices."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self.shape = (index.info.entries, index.info.dimension)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> FloatArray:
        start, stop, _ = rows.indices(len(self))
        vectors: FloatArray = self._index.vectors(start, stop - start)
        return vectors


@contextmanager
def _measured(spent: dict[str, float], name: str) -> Iterator[None]:
    """Note seconds, seconds of processor, and the most memory held meanwhile."""
    most, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            most[0] = max(most[0], _held_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start, processor = time.perf_counter(), time.process_time()
    yield
    spent[f"{name}_s"] = time.perf_counter() - start
    spent[f"{name}_processor_s"] = time.process_time() - processor
    over.set()
    watcher.join()
    spent[f"{name}_memory_mb"] = most[0]


def _held_mb() -> float:
    """Anonymous memory of this process."""
    with Path(f"/proc/{os.getpid()}/status").open(encoding="ascii") as file:
        return next(int(line.split()[1]) / 1e3 for line in file if line.startswith("RssAnon"))


if __name__ == "__main__":
    main(given(IndexSettings))
