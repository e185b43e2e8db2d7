"""What an explanation costs on top of classifying: interleaved, one process, medians.

    python benchmarks/method_cost.py CLIP [--bundle BUNDLE]... [--method mask]... [--repeats 60]
        [--cnn14 compact reference] [--entries 10000 100000]

Each repeat classifies the clip and explains it by each method (all of the bundle's, or those named), in turn:
from memory at the model's rate (front end and classifier are all there is to classifying), then from the file
(reading, decoding and resampling come first). What is computed when it is asked for has a row of its own: the
kept sound of components, the records of prototypes. Nothing else should run on the machine; where something
does, pin the benchmark to one core (taskset -c 0): processor time says more than the clock.

--cnn14 makes bundles of Cnn14's classifier with random weights, which cost what trained ones cost, and an
interpreter of 100 spectra, the compact one or the recipe's own layers. --entries makes copies of the first
bundle, which has prototypes: in them every view's index is multiplied to that many entries, each a real
embedding moved by noise of a tenth of its length.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from measuring import print_costs, run_main

import earmark
from earmark.evaluation.data.folder import load_sound
from earmark.export.prototypes.generation_folder import GenerationFolder
from earmark.export.prototypes.generation_writer import EmbeddingGraph, open_writer
from earmark.prototypes_index.generation import Generation
from earmark.prototypes_index.table import IndexedClip, Table
from earmark.prototypes_index.views import Places, View
from earmark.runtime.explainer import Explainer, engine_of
from earmark.runtime.methods.prototypes.generation import open_generation

COMPONENTS = 100
PER_CLIP = 40
NOISE = 0.1
# What is computed when it is asked for, by method.
ASKED = {
    "components": ("listened to", lambda result: result.components.audio),
    "prototypes": ("all read", lambda result: result.to_dict()),
}


def main(
    clip: Path,
    *,
    bundle: Sequence[Path] = (),
    cnn14: Sequence[Literal["compact", "reference"]] = (),
    entries: Sequence[int] = (),
    method: Sequence[str] = (),
    repeats: int = 60,
) -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory() as folder:
        made = [cnn14_bundle(Path(folder), kind) for kind in cnn14]
        made += [
            multiplied(bundle[0], Path(folder) / f"{count} entries per view", count) for count in entries
        ]
        for path in [*bundle, *made]:
            with earmark.load(path, device="cpu") as explainer:
                measure(path.name, explainer, clip, method or explainer.methods, repeats)


def measure(name: str, explainer: Explainer, clip: Path, methods: Sequence[str], repeats: int) -> None:
    """Print the bundle's rows."""
    rate = engine_of(explainer).manifest.sample_rate
    sounds: dict[str, Path | tuple[np.ndarray, int]] = {
        "memory": (load_sound(clip, rate), rate),
        "file": clip,
    }
    for where, sound in sounds.items():
        ways = {"classify": partial(explainer.explain, sound, methods=[])}
        for method in methods:
            ways[method] = explaining = partial(explainer.explain, sound, methods=[method])
            if method in ASKED:
                more, asked = ASKED[method]
                ways[f"{method}, {more}"] = lambda made=explaining, asked=asked: asked(made())
        print_costs(f"{name}, from {where}", ways, repeats)


def cnn14_bundle(folder: Path, architecture: str) -> Path:
    """A bundle of a Cnn14 with an interpreter, random weights, in `folder`."""
    import recipe
    import torch

    from earmark.export.bundle.write import write_bundle
    from earmark.export.models.component_facts import component_facts
    from earmark.export.source.source import without_decoder
    from earmark.export.sources import resolve
    from earmark.export.training.forms import interpreter_form
    from earmark.runtime.bundle.manifest import ComponentsSpec

    source = without_decoder(resolve(str(recipe.write(folder / f"recipe-{architecture}"))))
    form = interpreter_form(source, COMPONENTS, architecture)
    torch.manual_seed(0)
    interpreter = form.build().eval()
    bins = source.analysis.n_fft // 2 + 1
    spectra = np.random.default_rng(0).random((bins, COMPONENTS), np.float32)
    columns = np.tile(spectra / np.linalg.norm(spectra, axis=0), form.components // COMPONENTS)
    interpreter.set_dictionary(torch.from_numpy(columns), torch.ones(form.components))
    theta = interpreter.weight.detach().numpy().astype(np.float32)
    frame = source.analysis.hop / source.sample_rate
    facts = component_facts(
        columns, theta, source.labels, sample_rate=source.sample_rate, frame_seconds=frame
    )
    spec = ComponentsSpec(
        count=form.components,
        sample_rate=source.sample_rate,
        analysis=source.analysis,
        threshold=0.2,
        components=facts,
    )
    source = replace(
        source,
        interpreter=interpreter,
        interpreter_taps=form.inputs,
        components=spec,
        dictionary={"dictionary": columns, "theta": theta},
    )
    path = folder / f"Cnn14, {architecture}"
    write_bundle(source, path)
    return path


def multiplied(original: Path, bundle: Path, entries: int, seed: int = 0) -> Path:
    """A copy of a bundle with a generation of that many entries a view, made of the one there."""
    shutil.copytree(original, bundle)
    random = np.random.default_rng(seed)
    with GenerationFolder.hold(bundle) as generations:
        old = open_generation(bundle, generations.manifest)
        with generations.building() as building:
            writer = open_writer(bundle, building, generations.manifest, EmbeddingGraph.of(old), seed)
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
    return bundle


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
    run_main(main)
