"""Recipes of the L-MAC decoder side by side: classifiers and decoders of several seeds, trained and judged.

    python benchmarks/mask_recipes.py DATA OUT --train-folds 1-2 --fold 3 --seeds 0 1 2 --jobs 8

Every recipe is a set of LmacSettings (RECIPES below). Judged on the held-out fold, mean and deviation
over seeds, in the spectrogram domain and by listening (the kept sound and the removed sound fed back as
waveforms; removed = input - kept): AI, AD, FF, Fid-In, area, roughness. Of recipes for any class also pairs
of clips of two classes at equal level, asked for both (Fid-In of the class asked for, SI-SDR improvement
towards its own clip), and single clips asked for an absent class (area). Recipes are chosen on folds 1-3,
fold 4 is looked at once. What is done already in OUT is not done again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from measuring import given


class LmacFields(TypedDict, total=False):
    """Fields of `LmacSettings` that are not at their defaults."""

    targets: Literal["predicted", "any"]
    mask_gain: Literal["log", "linear"]
    listened: bool
    out_score_weight: float
    gain_weight: float
    area_weight: float
    smooth_weight: float
    epochs: int


# As the decoder was trained before: a mask on log-magnitudes, judged by its spectrogram.
_BEFORE: LmacFields = {
    "targets": "predicted",
    "mask_gain": "log",
    "listened": False,
    "out_score_weight": 6.5,
    "epochs": 40,
}
_LINEAR: LmacFields = {**_BEFORE, "mask_gain": "linear"}
_LISTENED: LmacFields = {**_LINEAR, "listened": True}
_OUT10: LmacFields = {**_LISTENED, "out_score_weight": 10.0}
_ANY: LmacFields = {"targets": "any"}
RECIPES: dict[str, LmacFields] = {
    "log": _BEFORE,
    "log-any": {**_BEFORE, **_ANY},
    "linear": _LINEAR,
    "listened-log": {**_BEFORE, "listened": True},
    "listened": _LISTENED,
    "listened-out10": _OUT10,
    "listened-out10-gain5": {**_OUT10, "gain_weight": 5.0},
    "listened-out10-gain5-area12": {**_OUT10, "gain_weight": 5.0, "area_weight": 12.0},
    "listened-smooth2": {**_LISTENED, "smooth_weight": 2.0},
    "listened-smooth6": {**_LISTENED, "smooth_weight": 6.0},
    "listened-out10-smooth3": {**_OUT10, "smooth_weight": 3.0},
    "listened-any": {**_LISTENED, **_ANY},
    "listened-any-out10": {**_OUT10, **_ANY},
    "listened-any-out10-gain5": {**_OUT10, **_ANY, "gain_weight": 5.0},
    "listened-any-out10-smooth3": {**_OUT10, **_ANY, "smooth_weight": 3.0},
    # The default.
    "listened-any-long": {},
}
PAIRS = 120


@dataclass(frozen=True)
class RecipesSettings:
    """What is trained and judged, and how many at a time.

    epochs: of classifier and decoders alike, to try the script; only: the one thing that this process does
    """

    data: Path
    out: Path
    _: KW_ONLY
    train_folds: str = "1-3"
    fold: int = 4
    seeds: Sequence[int] = (0, 1, 2)
    recipes: Sequence[str] = tuple(RECIPES)
    jobs: int = 2
    threads: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    epochs: int | None = None
    only: str | None = None


def main(settings: RecipesSettings) -> None:
    """Train and judge what is asked for, each in a process of its own."""
    if settings.only:
        _one(settings, settings.only.split("/"))
        return
    settings.out.mkdir(parents=True, exist_ok=True)
    for seed in settings.seeds:
        (settings.out / f"s{seed}").mkdir(exist_ok=True)
    _all(settings, [["classifier", str(seed)] for seed in settings.seeds])
    _all(settings, [["recipe", str(seed), name] for name in settings.recipes for seed in settings.seeds])
    _table(settings)


def _all(settings: RecipesSettings, tasks: list[list[str]]) -> None:
    """Run tasks in processes, `settings.jobs` at a time; a failed one is told and left out."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(settings.threads)}

    def run(task: list[str]) -> None:
        command = [sys.executable, *sys.argv, "--only", "/".join(task)]
        with (settings.out / f"{'-'.join(task)}.log").open("w") as log:
            done = subprocess.run(command, stdout=log, stderr=log, env=environment, check=False)
        print(f"{time.strftime('%H:%M:%S')} {'/'.join(task)}: {done.returncode}", flush=True)

    with ThreadPoolExecutor(settings.jobs) as pool:
        list(pool.map(run, tasks))


def _one(settings: RecipesSettings, task: list[str]) -> None:
    """Train and judge one classifier or one decoder."""
    import torch

    torch.set_num_threads(settings.threads)
    from earmark.export.training.classifier import train_classifier
    from earmark.export.training.lmac.recipe import train_lmac
    from earmark.export.training.options import ClassifierOptions, OverSourceOptions
    from earmark.export.training.settings import ClassifierSettings, LmacSettings

    first, _, last = settings.train_folds.partition("-")
    folds = tuple(range(int(first), int(last or first) + 1))
    what, seed = task[0], int(task[1])
    split = {"seed": seed, "train_folds": folds, "val_fold": settings.fold}
    few = {} if settings.epochs is None else {"epochs": settings.epochs}
    base = settings.out / f"s{seed}" / "classifier"
    if what == "classifier":
        train_classifier(
            settings.data,
            base,
            ClassifierSettings(**split, **few),
            ClassifierOptions(device=settings.device, resume=(base / "config.json").exists()),
        )
        return
    run = settings.out / f"s{seed}" / task[2]
    figures = run.with_suffix(".json")
    if figures.exists():
        return
    recipe = LmacSettings(**{**split, **RECIPES[task[2]], **few})
    started = time.perf_counter()
    resume = (run / "decoder.json").exists()
    running = OverSourceOptions(out=run, device=settings.device, resume=resume)
    train_lmac(base, settings.data, recipe, running)
    record = {"seconds": time.perf_counter() - started, **_judged(settings, base, run, recipe)}
    figures.write_text(json.dumps(record))


def _judged(settings: RecipesSettings, base: Path, run: Path, recipe: Any) -> dict[str, float]:
    """The figures of one decoder on the held-out fold."""
    import numpy as np
    import torch

    from earmark.evaluation.data.folder import list_sounds, load_sound
    from earmark.export.sources.run.config import DecoderConfig
    from earmark.export.sources.run.directory import RunDirectory
    from earmark.export.training.device import chosen_device
    from earmark.export.training.frozen_classifier import FrozenClassifier
    from earmark.export.training.lmac.faithful import following, judge
    from earmark.export.training.lmac.loss import roughness
    from earmark.export.training.over_source import opened_source
    from earmark.export.training.sounds import window_batches
    from earmark.runtime.audio.level import level_of

    _, source = opened_source(base, None)
    device = chosen_device(settings.device, exact=False)
    frozen = FrozenClassifier(source, exact=False, device=device)
    form = RunDirectory(run, "decoder").read_config(DecoderConfig).decoder
    decoder = form.build()
    RunDirectory(run, "decoder").fill(decoder)
    decoder.to(device).eval()
    clips = [clip for clip in list_sounds(settings.data).clips if clip.fold == settings.fold]
    sounds = [load_sound(clip.path, source.sample_rate) for clip in clips]
    waves = [sound / np.float32(level_of(sound, "peak")) for sound in sounds]
    how = recipe.mask_gain
    out: dict[str, float] = {}
    for domain, listen in (("spectrogram", False), ("listening", True)):
        figures = judge(frozen, decoder, form, waves, how=how, listen=listen)
        out |= {f"{domain}/{name}": value for name, value in figures.items()}
        sharp = judge(frozen, decoder, form, waves, how=how, listen=listen, threshold=0.5)
        out |= {f"{domain}/thresholded_{name}": value for name, value in sharp.items()}
    with torch.no_grad():
        rough = []
        for pieces, _ in window_batches(waves, frozen.samples):
            forward = frozen.forward(torch.from_numpy(pieces))
            rough.append(roughness(decoder(*forward.fed(form.inputs, forward.logits.argmax(dim=1)))))
        out["roughness"] = float(torch.cat(rough).mean())
    if recipe.explained == "any":
        out |= following(frozen, decoder, form, waves, how=how, listen=True)
        out |= _asked(frozen, decoder, form, waves, how)
    return out


def _asked(frozen: Any, decoder: Any, form: Any, waves: list[Any], how: str) -> dict[str, float]:
    """Pairs of clips of two classes asked for both; single clips asked for a class they have nothing of."""
    import numpy as np
    import torch

    from earmark.export.graphs.stft import gain, inverse

    cut = np.stack(
        [np.pad(wave[: frozen.samples], (0, max(0, frozen.samples - len(wave)))) for wave in waves]
    )
    cut /= np.sqrt((cut**2).mean(axis=1, keepdims=True)) + 1e-6
    cut *= 0.1
    random = np.random.default_rng(0)
    with torch.no_grad():
        alone = frozen.forward(torch.from_numpy(cut.astype(np.float32)))
        scores, classes = frozen.scores(alone.logits).cpu(), alone.logits.argmax(dim=1)
        rows = []
        while len(rows) < PAIRS:
            one, other = random.choice(len(cut), 2, replace=False)
            if classes[one] != classes[other]:
                rows.append((one, other))
        rows = np.array(rows)
        agree, better, empty = [], [], []
        for start in range(0, PAIRS, 16):
            pair = rows[start : start + 16]
            parts = [torch.from_numpy(cut[pair[:, side]].astype(np.float32)) for side in (0, 1)]
            forward = frozen.forward(parts[0] + parts[1])
            for side in (0, 1):
                target = classes[torch.from_numpy(pair[:, side])]
                mask = decoder(*forward.fed(form.inputs, target)).to(frozen.dtype)
                gains = mask if how == "linear" else gain(mask, forward.amplitude)
                kept = inverse(forward.spectrum * gains[..., None], frozen.analysis, forward.samples).cpu()
                said = frozen.parts(forward, mask, how, listen=True)[0].argmax(dim=1)
                agree += (said == target).float().tolist()
                mixed = parts[0] + parts[1]
                better += (_si_sdr(kept, parts[side]) - _si_sdr(mixed, parts[side])).tolist()
        low = scores < 0.02
        for row in range(len(cut)):
            absent = [k for k in range(scores.shape[1]) if low[row, k]]
            if absent:
                target = torch.tensor([int(random.choice(absent))], device=frozen.device)
                empty.append(float(decoder(*alone.part(slice(row, row + 1)).fed(form.inputs, target)).mean()))
    return {
        "pair_input_fidelity": float(np.mean(agree)),
        "pair_si_sdr_improvement_db": float(np.mean(better)),
        "absent_area": float(np.mean(empty)),
    }


def _si_sdr(estimate: Any, reference: Any) -> Any:
    """Scale-invariant signal-to-distortion ratio in dB (arXiv 1811.02508), [B]."""
    import torch

    scale = (estimate * reference).sum(1) / (reference.square().sum(1) + 1e-9)
    target = scale[:, None] * reference
    noise = (estimate - target).square().sum(1)
    return 10.0 * torch.log10((target.square().sum(1) + 1e-9) / (noise + 1e-9))


def _table(settings: RecipesSettings) -> None:
    """Print and write mean (deviation over seeds) of every figure by recipe."""
    import statistics

    rows = []
    for name in settings.recipes:
        records = [json.loads(path.read_text()) for path in sorted(settings.out.glob(f"s*/{name}.json"))]
        if not records:
            continue
        rows.append(f"## {name} ({len(records)} seeds)")
        for key in records[0]:
            values = [record[key] for record in records]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            rows.append(f"{key}: {statistics.mean(values):.3f} ({spread:.3f})")
    text = "\n".join(rows)
    (settings.out / "table.txt").write_text(text)
    print(text)


if __name__ == "__main__":
    main(given(RecipesSettings))
