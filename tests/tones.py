"""Tones and noise that small models learn in a few epochs, and the settings by which they do."""

import numpy as np
import pytest
import soundfile
from later import later

torch = later("torch")

RATE = 8000
KINDS = {"high": 2500.0, "low": 200.0, "noise": None}
FORM = {"window": 0.64, "sample_rate": RATE, "width": 4, "val_fold": 2}
# Learns the tones in a few epochs.
PLAIN = {"lr": 0.01, "mixup": 0.0, "shift": 0.0, "stretches": 0, "background": 0.0, "ema_decay": 0.9}
INTERPRETER = {
    "components": 6,
    "batch_size": 4,
    "width": 16,
    "removal_weight": 0.0,
    "ema_decay": 0.9,
    "lr": 0.01,
    "alpha": 1.0,
    "beta": 0.08,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Sums depend on the number of threads, and the tests compare bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tone(hz, seconds, random, level=0.3, noise=0.15):
    """A sine of `hz`, or white noise where that is None."""
    time = np.arange(int(RATE * seconds)) / RATE
    return noise * random.standard_normal(len(time)) if hz is None else level * np.sin(2 * np.pi * hz * time)


def write_tones(folder, level=0.3, noise=0.15):
    """A high tone, a low tone and noise, 8 clips each in two folds, shorter and longer than the window."""
    random = np.random.default_rng(0)
    for position, (label, hz) in enumerate(KINDS.items()):
        (folder / label).mkdir()
        for index in range(8):
            wave = tone(hz, 0.4 + 0.1 * index, random, level, noise)
            wave = wave + 0.01 * random.standard_normal(len(wave))
            soundfile.write(folder / label / f"{1 + index % 2}-{100 * position + index}-A.wav", wave, RATE)
    return folder
