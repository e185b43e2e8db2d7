"""Throughput of `detect` without explanations against bare ONNX Runtime on the same windows.

    python benchmarks/detect_throughput.py [--minutes 20] [--repeats 5] [--threads 1]

In turn, in one sitting: the two graphs of the shipped bundle, run one after the other on windows that lie
cut in memory, in batches as `detect` has them; `detect` of the waveform in memory; `detect` of a FLAC file at
the model's rate, and of one at 44.1 kHz in stereo. Of the files also what reading alone takes (decode, check,
mix, resample, by what `detect` does it with), which no reader thread makes less. The clock's seconds, on
which other processes weigh; CPU seconds of the process, and of the thread that classifies. Medians. A ratio
is bare over `detect`, 1 is as fast. Front end and classifier are asked for what `detect` uses, the logits.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
from detect_cost import RATE, write_recording
from measuring import BOTH, in_turn, options_of

import earmark
from earmark.runtime.audio.level import mixed
from earmark.runtime.audio.sound import Resampler, open_once
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


def reading(path: Path) -> Callable[[], None]:
    """All that happens to a file before it is classified."""

    def run() -> None:
        recording = open_once(path, None, RATE)
        resampler = Resampler(recording.input_rate, RATE, 1)
        for block in recording.input_blocks():
            resampler.push(mixed(block)[None])

    return run


def main() -> None:
    """Run and print."""
    parser = options_of(__doc__)
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
            "  reading alone": reading(path),
            "from FLAC, 44.1 kHz stereo": lambda: explainer.detect(other, methods=[]),
            "  reading alone, 44.1 kHz stereo": reading(other),
        }
        taken = in_turn(ways, options.repeats, clocks=(*BOTH, time.thread_time))
    medians = {name: np.median(rounds, axis=0) for name, rounds in taken.items()}
    print(f"{'':<34}" + "".join(f"{column:>10}{'ratio':>7}" for column in ("clock s", "CPU s", "thread s")))
    for name, columns in medians.items():
        ratios = zip(columns, medians["bare"], strict=True)
        print(f"{name:<34}" + "".join(f"{value:>10.3f}{of / value:>7.2f}" for value, of in ratios))


if __name__ == "__main__":
    main()
