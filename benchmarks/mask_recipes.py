"""Recipes of the L-MAC decoder side by side: classifiers and decoders of several seeds, trained and judged.

    python benchmarks/mask_recipes.py DATA OUT --train-folds 1-2 --fold 3 --seeds 0,1,2 --jobs 8

Every recipe is a set of LmacSettings (RECIPES below). Judged on the held-out fold, mean and deviation
over seeds, in the spectrogram domain and by listening (the kept sound and the removed sound fed back as
waveforms; removed = input - kept): AI, AD, FF, Fid-In, area, roughness. Of recipes for any class also pairs
of clips of two classes at equal level, asked for both (Fid-In of the class asked for, SI-SDR improvement
towards its own clip), and single clips asked for an absent class (area). Recipes are chosen on folds 1-3,
fold 4 is looked at once. What is done already in OUT is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measuring import options_of

# As the decoder was trained before: a mask on log-magnitudes, judged by its spectrogram.
_BEFORE: dict[str, Any] = {
    "targets": "predicted",
    "mask_gain": "log",
    "listened": False,
    "out_score_weight": 6.5,
    "epochs": 40,
}
_LINEAR: dict[str, Any] = {**_BEFORE, "mask_gain": "linear"}
_LISTENED: dict[str, Any] = {**_LINEAR, "listened": True}
_OUT10: dict[str, Any] = {**_LISTENED, "out_score_weight": 10.0}
_ANY: dict[str, Any] = {"targets": "any"}
RECIPES: dict[str, dict[str, Any]] = {
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


def main() -> None:
    """Train and judge what is asked for, each in a process of its own."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        (options.out / f"s{seed}").mkdir(exist_ok=True)
    _all(options, [["classifier", str(seed)] for seed in options.seeds])
    _all(options, [["recipe", str(seed), name] for name in options.recipes for seed in options.seeds])
    _table(options)


def _options() -> argparse.Namespace:
    parser = options_of(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train-folds", default="1-3")
    parser.add_argument("--fold", type=int, default=4)
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--recipes", type=lambda text: text.split(","), default=list(RECIPES))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--epochs", type=int, help="of classifier and decoders alike, to try the script")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        _one(options, options.only.split("/"))
        sys.exit(0)
    return options


def _all(options: argparse.Namespace, tasks: list[list[str]]) -> None:
    """Run tasks in processes, `options.jobs` at a time; a failed one is told and left out."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}

    def run(task: list[str]) -> None:
        command = [sys.executable, *sys.argv, "--only", "/".join(task)]
        with (options.out / f"{'-'.join(task)}.log").open("w") as log:
            done = subprocess.run(command, stdout=log, stderr=log, env=environment, check=False)
        print(f"{time.strftime('%H:%M:%S')} {'/'.join(task)}: {done.returncode}", flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(run, tasks))


def _one(options: argparse.Namespace, task: list[str]) -> None:
    """Train and judge one classifier or one decoder."""
    import torch

    torch.set_num_threads(options.threads)
    from earmark.export.training.classifier import train_classifier
    from earmark.export.training.lmac.recipe import train_lmac
    from earmark.export.training.options import ClassifierOptions, OverSourceOptions
    from earmark.export.training.settings import ClassifierSettings, LmacSettings

    first, _, last = options.train_folds.partition("-")
    folds = tuple(range(int(first), int(last or first) + 1))
    what, seed = task[0], int(task[1])
    split: dict[str, Any] = {"seed": seed, "train_folds": folds, "val_fold": options.fold}
    few = {} if options.epochs is None else {"epochs": options.epochs}
    base = options.out / f"s{seed}" / "classifier"
    if what == "classifier":
        train_classifier(
            options.data,
            base,
            ClassifierSettings(**split, **few),
            ClassifierOptions(device=options.device, resume=(base / "config.json").exists()),
        )
        return
    run = options.out / f"s{seed}" / task[2]
    figures = run.with_suffix(".json")
    if figures.exists():
        return
    settings = LmacSettings(**{**split, **RECIPES[task[2]], **few})
    started = time.perf_counter()
    resume = (run / "decoder.json").exists()
    running = OverSourceOptions(out=run, device=options.device, resume=resume)
    train_lmac(base, options.data, settings, running)
    record = {"seconds": time.perf_counter() - started, **_judged(options, base, run, settings)}
    figures.write_text(json.dumps(record))


def _judged(options: argparse.Namespace, base: Path, run: Path, settings: Any) -> dict[str, float]:
    """The figures of one decoder on the held-out fold."""
    import numpy as np
    import torch

    from earmark.evaluation.data.folder import level_gain, list_sounds, load_sound
    from earmark.export.sources.run.config import DecoderConfig
    from earmark.export.sources.run.directory import RunDirectory
    from earmark.export.training.device import chosen_device
    from earmark.export.training.frozen_classifier import FrozenClassifier
    from earmark.export.training.lmac.faithful import following, judge
    from earmark.export.training.lmac.loss import roughness
    from earmark.export.training.over_source import opened_source
    from earmark.export.training.sounds import window_batches

    _, source = opened_source(base, None)
    device = chosen_device(options.device, exact=False)
    frozen = FrozenClassifier(source, exact=False, device=device)
    form = RunDirectory(run, "decoder").read_config(DecoderConfig).decoder
    decoder = form.build()
    RunDirectory(run, "decoder").fill(decoder)
    decoder.to(device).eval()
    clips = [clip for clip in list_sounds(options.data).clips if clip.fold == options.fold]
    sounds = [load_sound(clip.path, source.sample_rate) for clip in clips]
    waves = [sound * np.float32(level_gain(sound, "peak")) for sound in sounds]
    how = settings.mask_gain
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
    if settings.explained == "any":
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


def _table(options: argparse.Namespace) -> None:
    """Print and write mean (deviation over seeds) of every figure by recipe."""
    import statistics

    rows = []
    for name in options.recipes:
        records = [json.loads(path.read_text()) for path in sorted(options.out.glob(f"s*/{name}.json"))]
        if not records:
            continue
        rows.append(f"## {name} ({len(records)} seeds)")
        for key in records[0]:
            values = [record[key] for record in records]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            rows.append(f"{key}: {statistics.mean(values):.3f} ({spread:.3f})")
    text = "\n".join(rows)
    (options.out / "table.txt").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
