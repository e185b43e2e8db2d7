"""A graph of features that listens for quiet tones below loud hiss, made by hand; and such sounds."""

import numpy as np
import soundfile
from saved_graph import node, saved

RATE, SECONDS = 8000, 1.0
# By label, and in which of the eight rows of the pooled map each lies.
PITCHES = {"high": 1370.0, "low": 450.0, "middle": 1050.0}
_ROWS = (4, 1, 3)
# As fields of the preset panns: 16 bands of log-mel in decibels.
FRONTEND = ["stft.n_fft=256", "stft.hop=80", "mel.bins=16", "mel.low_hz=0", "mel.high_hz=4000"]
_BANDS, _CHANNELS = 16, 8


def sound(pitch, random):
    """A burst of a tone below hiss from 2 to 4 kHz that is some twenty decibels louder."""
    samples = int(RATE * SECONDS)
    time = np.arange(samples) / RATE
    spectrum = np.fft.rfft(random.standard_normal(samples))
    spectrum[np.fft.rfftfreq(samples, 1 / RATE) < 2000] = 0
    wave = 0.3 * np.fft.irfft(spectrum, samples) + 1e-4 * random.standard_normal(samples)
    start = random.integers(samples // 2)
    burst = slice(start, start + samples // 2)
    wave[burst] += 0.01 * np.sin(2 * np.pi * pitch * time[burst])
    return wave.astype(np.float32)


def write_sounds(folder, recordings=8):
    """The sounds of every label, by turns in two folds."""
    random = np.random.default_rng(0)
    for position, (label, pitch) in enumerate(PITCHES.items()):
        (folder / label).mkdir()
        for number in range(recordings):
            path = folder / label / f"{1 + number % 2}-{100 * position + number}-A.wav"
            soundfile.write(path, sound(pitch, random), RATE)
    return folder


def write_graph(path):
    """Log-mel [B, 1, T, 16] -> how far each label's row is above thresholds, its mean over time -> logits."""
    constants = {
        "kernel": np.zeros((_CHANNELS, 1, 3, 3), np.float32),
        # Added to the level in tens of decibels: tones are at -2.5, silence is at -7.4.
        "thresholds": np.linspace(6.0, 3.0, _CHANNELS).astype(np.float32),
        "matrix": np.zeros((_CHANNELS, 8, len(_ROWS)), np.float32),
    }
    constants["kernel"][:, 0, 1, 1] = 0.1
    for label, row in enumerate(_ROWS):
        constants["matrix"][:, row, label] = 0.6
    constants["matrix"] = constants["matrix"].reshape(-1, len(_ROWS))
    nodes = [
        node("Conv", "sound kernel thresholds", "level", pads=[1, 1, 1, 1]),
        node("Relu", "level", "above"),
        node("AveragePool", "above", "map", kernel_shape=[2, 2], strides=[2, 2]),
        node("ReduceMean", "map", "pooled", axes=[2], keepdims=0),
        node("Flatten", "pooled", "flat"),
        node("MatMul", "flat matrix", "logits"),
    ]
    inputs, outputs = {"sound": ["batch", 1, "frames", _BANDS]}, {"logits": ["batch", len(_ROWS)]}
    return saved(path, nodes, constants, inputs, outputs)
