"""The int8 classifier beside fp32: processor time a sound, in turn, and how far they agree.

    python benchmarks/int8.py SOURCE CALIBRATION WORK [--batch 4] [--repeats 15] [--json FILE]

SOURCE is a run directory, or "cnn14": a Cnn14 of full size with seeded random weights. CALIBRATION is a
folder of clips. WORK keeps the bundle between runs. EARMARK_THREADS sets the threads. Each repeat scores
one batch by each, in turn; the tables have medians. With one thread other work of the machine hardly matters.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import onnxruntime
import torch
from recipe import SETTINGS

import earmark
from earmark.export.bundle.write import write_bundle
from earmark.export.models.cnn14 import Cnn14
from earmark.export.source.source import Source, without_decoder
from earmark.export.sources import resolve
from earmark.runtime.audio.lengths import samples_of
from earmark.runtime.explainer import engine_of
from earmark.runtime.inference.threads import thread_count

# What is searched.
DETECT_SECONDS = 300


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("calibration", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    bundle = options.work / "bundle"
    if not bundle.exists():
        write_bundle(source_of(options.source, options.work), bundle, calibration=options.calibration)
    explainer = earmark.load(bundle, device="cpu")
    manifest = engine_of(explainer).manifest
    samples = samples_of(manifest.window.seconds, manifest.sample_rate)
    random = np.random.default_rng(0)
    waves = (0.1 * random.standard_normal((options.batch, samples))).astype(np.float32)
    for precision in ("fp32", "int8"):
        engine_of(explainer).logits_of(waves, precision)
    taken: dict[str, list[float]] = {"fp32": [], "int8": []}
    for _ in range(options.repeats):
        for precision, times in taken.items():
            start = time.process_time()
            engine_of(explainer).logits_of(waves, precision)
            times.append(1e3 * (time.process_time() - start) / options.batch)
    medians = {precision: statistics.median(times) for precision, times in taken.items()}
    detecting = detections(explainer, options.repeats)
    bare = alone(bundle, options.batch, options.repeats, waves)
    sizes = {
        name: sum(manifest.files[file].size for file in (stage.file, *stage.data)) / 1e6
        for name in ("classifier", "classifier_int8")
        if (stage := manifest.stage(name)) is not None
    }
    print(
        f"{samples / manifest.sample_rate:g} s of sound, front end and classifier, {thread_count()} threads:"
    )
    for precision, size in zip(medians, sizes.values(), strict=True):
        print(f"  {precision}  {medians[precision]:8.1f} ms a sound  {size:8.2f} MB")
    print(f"  fp32 / int8: {medians['fp32'] / medians['int8']:.2f}")
    print(f"detections in {DETECT_SECONDS} s of sound:")
    for precision, seconds in detecting.items():
        print(f"  {precision}  {seconds:8.3f} s")
    print("the classifier alone:")
    for name, taken_ms in bare.items():
        print(f"  {name:<15}  {taken_ms:8.1f} ms a sound")
    print(f"  fp32 / int8: {bare['classifier'] / bare['classifier_int8']:.2f}")
    print(json.dumps(msgspec.to_builtins(manifest.parity.int8), indent=2))
    if options.json:
        document = {
            "threads": thread_count(),
            "median_ms": medians,
            "detect_s": detecting,
            "alone_ms": bare,
            "parity": msgspec.to_builtins(manifest.parity.int8),
        }
        options.json.write_text(json.dumps(document, indent=2))


def detections(explainer: earmark.Explainer, repeats: int) -> dict[str, float]:
    """Seconds of `detect` without explanations by each classifier, medians, in turn."""
    rate = engine_of(explainer).manifest.sample_rate
    sound = (0.1 * np.random.default_rng(1).standard_normal(DETECT_SECONDS * rate)).astype(np.float32)
    taken: dict[str, list[float]] = {"fp32": [], "int8": []}
    for _ in range(repeats // 3 + 1):
        for precision, times in taken.items():
            start = time.process_time()
            explainer.detect(sound, rate, methods=[], precision=precision)
            times.append(time.process_time() - start)
    return {precision: statistics.median(times) for precision, times in taken.items()}


def source_of(text: str, work: Path) -> Source:
    """The source without its decoder, which int8 does not touch."""
    if text == "cnn14":
        text = str(write_cnn14(work / "recipe"))
    return without_decoder(resolve(text, allow_missing_decoder=True))


def write_cnn14(folder: Path) -> Path:
    """A recipe's output folder without a decoder."""
    torch.manual_seed(0)
    (folder / "save").mkdir(parents=True, exist_ok=True)
    (folder / "hyperparams.yaml").write_text(SETTINGS)
    lines = [f"'class {index}' => {index}" for index in range(50)]
    (folder / "save" / "label_encoder.txt").write_text("\n".join([*lines, "=" * 16, ""]))
    torch.save(Cnn14().state_dict(), folder / "save" / "embedding_model.ckpt")
    torch.save(torch.nn.Linear(2048, 50).state_dict(), folder / "save" / "classifier.ckpt")
    return folder


def alone(bundle: Path, batch: int, repeats: int, waves: np.ndarray) -> dict[str, float]:
    """Medians of the classifiers without their front end, in ms a sound, in turn."""
    sessions = {}
    for name in ("frontend", "classifier", "classifier_int8"):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_count()
        options.log_severity_level = 3
        sessions[name] = onnxruntime.InferenceSession(
            str(bundle / f"{name}.onnx"), options, providers=["CPUExecutionProvider"]
        )
    features = sessions.pop("frontend").run(None, {"waveform": waves})[0]
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(repeats + 1):
        for name, session in sessions.items():
            start = time.process_time()
            session.run(["logits"], {session.get_inputs()[0].name: features})
            taken[name].append(1e3 * (time.process_time() - start) / batch)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


if __name__ == "__main__":
    main()
