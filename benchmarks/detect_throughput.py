"""Throughput of `detect` without explanations against bare ONNX Runtime on the same windows.

    python benchmarks/detect_throughput.py [--minutes 20] [--repeats 5] [--threads 1]

In turn, in one sitting: the two graphs of the shipped bundle, run one after the other on windows that lie cut
in memory, in batches as `detect` has them; `detect` of the waveform in memory; `detect` of a FLAC file at the
model's rate, and of one at 44.1 kHz in stereo. CPU seconds of the process, and of the thread that classifies:
what a clock shows where the thread that reads ahead has a core of its own and is the faster of the two.
Medians of CPU time, so that other processes weigh little. A ratio is bare over `detect`, 1 is as fast.
Front end and classifier are asked for what `detect` uses, the logits.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
from detect_cost import RATE, write_recording

import earmark
from earmark.runtime.explainer import SHIPPED, engine_of
from earmark.runtime.inference.pipeline import BATCH


def bare(wave: np.ndarray, window: int, hop: int, threads: int) -> Callable[[], None]:
    """Classify every window of a waveform by the two graphs alone."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    front, classifier = (
        onnxruntime.InferenceSession(SHIPPED / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
        for name in ("frontend", "classifier")
    )
    windows = np.lib.stride_tricks.sliding_window_view(wave, window)[::hop].copy()

    def run() -> None:
        for start in range(0, len(windows), BATCH):
            [stft] = front.run(None, {"waveform": windows[start : start + BATCH]})
            classifier.run(["logits"], {"stft": stft})

    return run


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    explainer = earmark.load(SHIPPED, device="cpu", session_options={"intra_op_num_threads": options.threads})
    spec = engine_of(explainer).manifest.window
    with tempfile.TemporaryDirectory() as folder:
        path, other = Path(folder) / "scene.flac", Path(folder) / "stereo.flac"
        write_recording(path, options.minutes, max(1, round(options.minutes / 4)))
        wave = soundfile.read(path, dtype="float32")[0]
        noise = np.random.default_rng(0).normal(0, 0.01, (round(options.minutes * 60 * 44100), 2))
        soundfile.write(other, noise.astype(np.float32), 44100)
        ways = {
            "bare": bare(wave, round(spec.seconds * RATE), round(spec.hop_seconds * RATE), options.threads),
            "from memory": lambda: explainer.detect(wave, RATE, methods=[]),
            "from FLAC": lambda: explainer.detect(path, methods=[]),
            "from FLAC, 44.1 kHz stereo": lambda: explainer.detect(other, methods=[]),
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for way in ways.values():
            way()
        for _ in range(options.repeats):
            for name, way in ways.items():
                start, thread = time.process_time(), time.thread_time()
                way()
                taken[name].append((time.process_time() - start, time.thread_time() - thread))
    medians = {
        name: [statistics.median(column) for column in zip(*some, strict=True)]
        for name, some in taken.items()
    }
    print(f"{'':<28}{'CPU s':>9}{'ratio':>8}{'thread s':>9}{'ratio':>8}")
    for name, (cpu, thread) in medians.items():
        ratios = (medians["bare"][0] / cpu, medians["bare"][1] / thread)
        print(f"{name:<28}{cpu:>9.2f}{ratios[0]:>8.2f}{thread:>9.2f}{ratios[1]:>8.2f}")


if __name__ == "__main__":
    main()
