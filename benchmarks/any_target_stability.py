"""Whether a decoder for any class comes out alike when its training is repeated: seeds and processors.

    python benchmarks/any_target_stability.py [--seeds 5] [--clips 12] [--epochs 80] [--data ESC10]

For each seed a small classifier of four sounds and its decoder for any class (`train lmac --targets any`)
are trained in float32 from nothing, once with the processor's own instructions and once without the wide
registers of newer processors. An epoch is five steps here, hence twice as many epochs as by default. Each
decoder is asked for both classes of pairs of sounds that it was not trained on (any_target.py). A row per
training: the share of sounds classified right, of questions that the mask follows (above 0 dB), the decibels
by which it keeps the sound asked for rather than the other, the score of the class in the mixture and in
what is kept, the mask's area. About half a minute a row on one core.

With --data the sounds are recordings: `--clips` of folds 1 to 3 of each of four classes of a folder like
ESC-10's, windows of 2 s, and eight of fold 4 that the decoder is asked about.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measuring import run_main

# As on a processor without AVX: the plainest kernels of ATen and oneDNN, OpenBLAS without AVX-512.
PLAIN = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "OPENBLAS_CORETYPE": "Haswell"}
COLUMNS = ("right", "follows", "apart", "before", "after", "area")
RATE, SECONDS, RECORDED_SECONDS = 8000, 0.96, 2.0
RECORDED = ("dog_bark", "clock_tick", "rain", "chainsaw")
TONES = {"hum": (180.0, 300.0), "middle": (800.0, 1100.0), "whistle": (2400.0, 3000.0)}


def sound(label: str, random: np.random.Generator) -> np.ndarray:
    """One sound: a tone of a class's range, or clicks, somewhere in quiet noise."""
    time = np.arange(round(RATE * SECONDS)) / RATE
    start = random.uniform(0.0, 0.5)
    if label == "clicks":
        found = np.zeros_like(time)
        for onset in start + 0.08 * np.arange(random.integers(2, 6)):
            found += random.standard_normal(len(time)) * np.exp(-250.0 * (time - onset)) * (time >= onset)
    else:
        wave = np.sin(2.0 * np.pi * random.uniform(*TONES[label]) * time + random.uniform(0.0, 6.0))
        found = wave * ((time >= start) & (time < start + random.uniform(0.25, 0.45)))
    return 0.4 * found / np.abs(found).max() + 0.003 * random.standard_normal(len(time))


def write(folder: Path, clips: int, seed: int) -> Path:
    """Class folders of `clips` sounds each."""
    import soundfile

    random = np.random.default_rng([seed, clips])
    for position, label in enumerate(("clicks", *TONES)):
        (folder / label).mkdir(parents=True)
        for index in range(clips):
            path = folder / label / f"1-{1000 * position + index}-A.wav"
            soundfile.write(path, sound(label, random), RATE)
    return folder


def recorded(source: Path, folder: Path, clips: int, folds: str) -> Path:
    """Class folders of the first `clips` recordings of four classes that are of these folds."""
    import shutil

    for label in RECORDED:
        (folder / label).mkdir(parents=True)
        for path in sorted(path for path in (source / label).iterdir() if path.name[0] in folds)[:clips]:
            shutil.copy(path, folder / label / path.name)
    return folder


def train_and_ask(seed: int, clips: int, epochs: int, pairs: int, data: Path | None) -> dict[str, float]:
    """Train from nothing in this process; returns what the masks answered, by COLUMNS."""
    import torch
    from any_target import ask

    from earmark.export.bundle.write import write_bundle
    from earmark.export.sources.run.source import load
    from earmark.export.training.classifier import train_classifier
    from earmark.export.training.lmac.recipe import train_lmac
    from earmark.export.training.settings import ClassifierSettings, LmacSettings

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if data is None:
            sounds, fresh = write(folder / "data", clips, seed), write(folder / "fresh", 8, 10_000)
        else:
            sounds = recorded(data, folder / "data", clips, "123")
            fresh = recorded(data, folder / "fresh", 8, "4")
        run, seconds = folder / "run", SECONDS if data is None else RECORDED_SECONDS
        small = ClassifierSettings(
            epochs=40, batch_size=8, width=6, mels=32, window=seconds, sample_rate=RATE, seed=seed
        )
        train_classifier(sounds, run, small)
        train_lmac(run, sounds, LmacSettings(targets="any", epochs=epochs, batch_size=8, seed=seed))
        write_bundle(load(run), folder / "bundle")
        answers = ask(folder / "bundle", fresh, pairs=pairs)
    figures = (
        answers.right / answers.clips,
        (answers.apart > 0).mean(),
        answers.apart.mean(),
        answers.before.mean(),
        answers.after.mean(),
        answers.area.mean(),
    )
    return {name: float(value) for name, value in zip(COLUMNS, figures, strict=True)}


def main(
    *,
    seeds: int = 5,
    clips: int = 12,
    epochs: int = 80,
    pairs: int = 40,
    data: Path | None = None,
    one: int | None = None,
) -> None:
    """Run and print."""
    if one is not None:
        print(json.dumps(train_and_ask(one, clips, epochs, pairs, data)))
        return
    print(f"{'seed':<6}{'processor':<11}" + "".join(f"{name:>9}" for name in COLUMNS))
    rows = []
    for seed in range(seeds):
        for processor, changes in (("native", {}), ("plain", PLAIN)):
            command = [sys.executable, __file__, "--one", str(seed)]
            for name, value in (("clips", clips), ("epochs", epochs), ("pairs", pairs)):
                command += [f"--{name}", str(value)]
            command += ["--data", str(data)] if data else []
            done = subprocess.run(
                command, env={**os.environ, **changes}, check=True, stdout=subprocess.PIPE, text=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            rows.append([found[name] for name in COLUMNS])
            print(f"{seed:<6}{processor:<11}" + "".join(f"{value:9.2f}" for value in rows[-1]), flush=True)
    for name, values in (("mean", np.mean(rows, axis=0)), ("least", np.min(rows, axis=0))):
        print(f"{name:<17}" + "".join(f"{value:9.2f}" for value in values))


if __name__ == "__main__":
    run_main(main)
