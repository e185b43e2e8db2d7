"""Throughput of `detect` without explanations against bare ONNX Runtime on the same windows.

    python benchmarks/detect_throughput.py [--minutes 20] [--repeats 5] [--threads 1] [--bundle BUNDLE]
        [--sounds DIR]

In turn, in one sitting: front end and classifier of a bundle (the shipped one) for 16 kHz, run one after the
other on windows that lie cut in memory, in batches as `detect` has them; `detect` of the waveform in memory;
`detect` of a FLAC file at the model's rate, and of some at 44.1 kHz in stereo: of white noise, which FLAC
cannot compress, and of the clips below DIR one after the other, each nearer to one side. Of the files also
what reading alone takes (decode, check, mix, resample, by what `detect` does it with) in one thread. The
clock's seconds, on which other processes weigh; CPU seconds of the process, and of the thread that
classifies. Medians. A ratio is bare over `detect`, 1 is as fast. Front end and classifier are asked for what
`detect` uses, the logits.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
from detect_cost import RATE, write_recording
from measuring import BOTH, in_turn, run_main

import earmark
from earmark.runtime.audio.level import mixed
from earmark.runtime.audio.sound import Resampler, open_once, read_mono
from earmark.runtime.explainer import SHIPPED, engine_of
from earmark.runtime.inference.pipeline import BATCH

# Of the files in stereo.
HIGH_RATE = 44_100


def bare(bundle: Path, wave: np.ndarray, window: int, hop: int, threads: int) -> Callable[[], None]:
    """Classify every window of a waveform by the two graphs alone."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    front, classifier = (
        onnxruntime.InferenceSession(bundle / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
        for name in ("frontend", "classifier")
    )
    windows = np.lib.stride_tricks.sliding_window_view(wave, window)[::hop].copy()

    def run() -> None:
        for start in range(0, len(windows), BATCH):
            [stft] = front.run(None, {"waveform": windows[start : start + BATCH]})
            classifier.run(["logits"], {"stft": stft})

    return run


def reading(path: Path) -> Callable[[], None]:
    """All that happens to a file before it is classified."""

    def run() -> None:
        recording = open_once(path, None, RATE)
        resampler = Resampler(recording.input_rate, RATE, 1)
        for block in recording.input_blocks():
            resampler.push(mixed(block)[None])

    return run


def clips(folder: Path, samples: int) -> np.ndarray:
    """Sounds below a folder one after the other, until there are so many samples: [samples, 2]."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in {".flac", ".ogg", ".wav"})
    order = np.random.default_rng(0).permutation(len(paths))
    out = np.zeros((samples, 2), np.float32)
    start = 0
    while start < samples:
        for number in order:
            clip = read_mono(paths[number], HIGH_RATE)[: samples - start]
            out[start : start + len(clip)] = clip[:, None] * ((0.8, 0.4) if number % 2 else (0.4, 0.8))
            start += len(clip)
    return out


def main(
    *,
    minutes: float = 20.0,
    repeats: int = 5,
    threads: int = 1,
    bundle: Path = SHIPPED,
    sounds: Path | None = None,
) -> None:
    """Run and print."""
    explainer = earmark.load(bundle, device="cpu", session_options={"intra_op_num_threads": threads})
    spec = engine_of(explainer).manifest.window
    window, hop = round(spec.seconds * RATE), round(spec.hop_seconds * RATE)
    high = round(minutes * 60 * HIGH_RATE)
    stereo = {"noise": np.random.default_rng(0).normal(0, 0.01, (high, 2)).astype(np.float32)}
    if sounds:
        stereo["clips"] = clips(sounds, high)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.flac"
        write_recording(path, minutes, max(1, round(minutes / 4)))
        wave = soundfile.read(path, dtype="float32")[0]
        files = {"FLAC": path}
        for name, sound in stereo.items():
            files[f"FLAC, 44.1 kHz stereo {name}"] = other = Path(folder) / f"{name}.flac"
            soundfile.write(other, sound, HIGH_RATE)
        ways: dict[str, Callable[[], object]] = {
            "bare": bare(bundle, wave, window, hop, threads),
            "from memory": lambda: explainer.detect(wave, RATE, methods=[]),
        }
        for name, file in files.items():
            ways[f"from {name}"] = partial(explainer.detect, file, methods=[])
            ways[f"  reading {name}"] = reading(file)
        taken = in_turn(ways, repeats, clocks=(*BOTH, time.thread_time))
    medians = {name: np.median(rounds, axis=0) for name, rounds in taken.items()}
    print(f"{'':<38}" + "".join(f"{column:>10}{'ratio':>7}" for column in ("clock s", "CPU s", "thread s")))
    for name, columns in medians.items():
        ratios = zip(columns, medians["bare"], strict=True)
        print(f"{name:<38}" + "".join(f"{value:>10.3f}{of / value:>7.2f}" for value, of in ratios))


if __name__ == "__main__":
    run_main(main)
