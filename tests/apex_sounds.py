"""Synthesised sounds in class folders, for the tests of learning U."""

import numpy as np
import soundfile

LABELS = ("low hum", "noise", "whistle")


def write_sounds(folder, *, labels=LABELS, fold=1, clips=4, seconds=1.0, seed=0):
    """Class folders of hums, noise and whistles named as ESC names its clips; returns the folder."""
    random = np.random.default_rng(seed)
    time = np.arange(round(16000 * seconds)) / 16000
    for label in labels:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for index in range(clips):
            pitch = random.uniform(80, 160) if label == "low hum" else random.uniform(1500, 3000)
            wave = random.standard_normal(len(time)) if label == "noise" else np.sin(2 * np.pi * pitch * time)
            wave = 0.5 * wave / np.abs(wave).max() * (time > random.uniform(0, 0.3 * seconds))
            recording = 100 * LABELS.index(label) + 10 * fold + index if label in LABELS else index
            soundfile.write(folder / label / f"{fold}-{recording}-A-0.wav", wave, 16000)
    return folder


def two_folds(folder):
    """Four sounds of each class in fold 1, two in fold 2."""
    write_sounds(folder, fold=1)
    return write_sounds(folder, fold=2, clips=2, seed=1)
