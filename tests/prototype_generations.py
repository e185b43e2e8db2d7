"""Small generations of prototypes from synthetic maps, and sounds to index: what several test files need."""

from types import SimpleNamespace

import numpy as np
import soundfile

from earmark.prototypes_index.passages import PASSAGE
from earmark.prototypes_index.table import IndexedClip
from earmark.prototypes_index.views import Grid, find_places, views_of
from earmark.prototypes_index.writer import GenerationWriter

FRAMES, ROWS, CHANNELS = 8, 3, 24
GRID = Grid(0.25, ((0.0, 500.0), (500.0, 2000.0), (2000.0, 8000.0)))


def sound(number, rows=ROWS):
    random = np.random.default_rng(number)
    return maps_of(np.maximum(random.standard_normal((FRAMES, rows, CHANNELS)), 0).astype(np.float32))


def passages_of(number, places):
    """Those of the view time: as many as there are places, of the clip alone."""
    frames = places["time"].cells[:, 0]
    found = np.zeros(len(frames), PASSAGE)
    found["length_s"], found["onsets_per_s"] = 0.1 * (1 + frames), number
    return {"time": found}


def write(folder, numbers, *, old=None, parts=(), exact_limit=100_000, rows=ROWS, passages=True, **options):
    """Write a generation: all clips of `old`, of each of `parts` (open, mask of clips), then `numbers`."""
    embeddings = folder.parent / "graph.onnx"
    embeddings.write_bytes(b"a graph")
    grid = Grid(0.25, GRID.bands_hz[:rows])
    writer = GenerationWriter(
        folder,
        embeddings=embeddings,
        model_sha256="model",
        labels=["a", "b"],
        views=views_of(rows),
        channels=CHANNELS,
        grid=grid,
        **options,
    )
    for generation, keep in [(old, None)] * (old is not None) + list(parts):
        writer.take(generation, keep)
    for number in numbers:
        clip = IndexedClip(
            f"c{number}", f"a/{number}.wav", "ab"[number % 2], 0.0, 2.0, f"s{number}", f"r{number // 2}"
        )
        places = {view: find_places(view, sound(number, rows)) for view in views_of(rows)}
        writer.add(clip, places, passages=passages_of(number, places) if passages else None)
    return writer.finish(exact_limit=exact_limit)


def spec_of(info):
    return SimpleNamespace(
        views=list(info.views),
        entries={view: index.entries for view, index in info.views.items()},
        dimensions={view: index.dimension for view, index in info.views.items()},
        clips=info.clips,
        removed=info.removed,
    )


def maps_of(square):
    return {"square": square, "time": square.mean(1), "frequency": square.mean(0)}


LABELS = ("low hum", "noise", "whistle")
RATE = 22050


def write_sounds(folder, takes=3, seed=0, labels=LABELS):
    random = np.random.default_rng(seed)
    for kind, label in enumerate(labels):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for take in range(takes):
            seconds = (0.4, 1.0, 2.3)[take % 3]
            time = np.arange(int(seconds * RATE)) / RATE
            wave = 0.3 * np.sin(2 * np.pi * (120, 900, 3500)[kind % 3] * (1 + 0.1 * take + seed) * time)
            wave += 0.05 * random.standard_normal(len(time))
            soundfile.write(folder / label / f"{'abc'[take % 3]}{seed}_{take}.wav", wave, RATE)
    return folder
