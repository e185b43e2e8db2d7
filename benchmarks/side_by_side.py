"""Cnn14 and its masks: earmark beside PyTorch, same classifier, same 5 s clip, one process.

earmark runs twice: with the reference decoder, the same weights as PyTorch's, and with the compact decoder
that `earmark train lmac` would train over this classifier (its weights are random, which costs the same).

    python benchmarks/side_by_side.py WORK [--repeats 7] [--compile] [--json FILE]

WORK keeps the recipe folder (1.25 GB of random weights) and the bundle between runs. Each repeat
runs every side once, in turn; the table has medians in milliseconds and PyTorch's best divided by
ours; "explained / classified" is the whole explanation by what classifying alone takes. Nothing else
should run on the machine. Exporting wants `pip install ".[cpu,export]"`.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import numpy as np
import torch
from measuring import run_main
from pytorch_side import RATE, PyTorchSide, load
from recipe import write

import earmark
from earmark.export.bundle.write import write_bundle
from earmark.export.source.source import without_decoder
from earmark.export.sources.run.config import DecoderConfig
from earmark.export.sources.run.directory import RunDirectory
from earmark.export.sources.run.explainers import explained_by
from earmark.export.sources.speechbrain.folder import load as load_source
from earmark.export.training.forms import cost, decoder_form

STAGES = ("front end", "classifier", "decoder", "mask to audio", "end to end")
OURS = {
    "frontend": "front end",
    "classifier": "classifier",
    "decoder": "decoder",
    "mask to audio": "mask to audio",
}


def main(work: Path, *, repeats: int = 7, compile_: bool = False, json_: Path | None = None) -> None:
    """Run and print."""
    recipe, heavy, light = (work / name for name in ("recipe", "bundle", "light"))
    if not recipe.exists():
        write(recipe)
    if not heavy.exists():
        write_bundle(load_source(recipe), heavy)
    if not light.exists():
        write_light(recipe, light, work / "compact")

    rng = np.random.default_rng(0)
    wave = (rng.standard_normal((1, 5 * RATE)) * 0.1).astype(np.float32)
    wave /= wave.max()  # the recipe's level, so that no side has to apply it
    explainers = {
        "earmark": earmark.load(heavy, device="cpu"),
        "earmark compact": earmark.load(light, device="cpu"),
    }
    base = load(recipe)
    sides = {"eager": base, "channels_last": load_channels_last(recipe)}
    if compile_:
        sides["compile"] = compiled(load(recipe))

    def ours(explainer: earmark.Explainer) -> dict[str, float]:
        timings = explainer.explain((wave, RATE), methods=["mask"]).timings
        taken = {OURS[name]: value for name, value in timings.items() if name in OURS}
        return {**taken, "end to end": sum(timings.values())}

    def theirs(side: PyTorchSide) -> dict[str, float]:
        return side.explain(torch.from_numpy(wave))

    calls = {name: (lambda e=explainer: ours(e)) for name, explainer in explainers.items()}
    calls |= {f"torch {name}": (lambda s=side: theirs(s)) for name, side in sides.items()}
    for call in calls.values():  # warm-up
        call()
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in calls}
    for repeat in range(repeats):
        for name, call in calls.items():
            taken[name].append(call())
        print(f"repeat {repeat + 1} of {repeats}", file=sys.stderr)

    medians = {
        name: {stage: statistics.median(run[stage] for run in runs) for stage in STAGES}
        for name, runs in taken.items()
    }
    print(f"{'ms, median of ' + str(repeats):<22}" + "".join(f"{stage:>15}" for stage in STAGES))
    for name, row in medians.items():
        print(f"{name:<22}" + "".join(f"{row[stage]:>15.1f}" for stage in STAGES))
    best = {stage: min(medians[f"torch {name}"][stage] for name in sides) for stage in STAGES}
    for name in explainers:
        ratio = {stage: best[stage] / medians[name][stage] for stage in STAGES}
        print(f"{'best / ' + name:<22}" + "".join(f"{ratio[stage]:>15.2f}" for stage in STAGES))
    for name, row in medians.items():
        share = row["end to end"] / (row["front end"] + row["classifier"])
        print(f"{name}: explained / classified {share:.3f}")
    if json_:
        document = {"repeats": repeats, "threads": torch.get_num_threads(), "median_ms": medians}
        json_.write_text(json.dumps(document, indent=2))


def write_light(recipe: Path, bundle: Path, run: Path) -> None:
    """The recipe's classifier with a compact decoder of random weights, as a bundle."""
    source = without_decoder(load_source(recipe))
    form = decoder_form(source, "compact")
    decoder, classifier = cost(source, form)
    print(
        f"compact decoder: {decoder / 1e6:.0f} M multiply-adds, "
        f"{decoder / classifier:.1%} of the classifier's"
    )
    torch.manual_seed(0)
    directory = RunDirectory(run, "decoder")
    directory.write_config(DecoderConfig(decoder=form, classifier_sha256=source.fingerprint()))
    directory.write_weights(form.build().state_dict())
    write_bundle(explained_by(source, decoder=directory), bundle)


def load_channels_last(recipe: Path) -> PyTorchSide:
    """The same weights with convolutions in channels_last."""
    side = load(recipe)
    return PyTorchSide(side.body, side.head, side.decoder, channels_last=True)


def compiled(side: PyTorchSide) -> PyTorchSide:
    """The same weights through torch.compile."""
    return PyTorchSide(torch.compile(side.body), side.head, torch.compile(side.decoder))


if __name__ == "__main__":
    run_main(main)
