"""The int8 classifier beside fp32: processor time a sound, in turn, and how far they agree.

    python benchmarks/int8.py SOURCE CALIBRATION WORK [--batch 4] [--repeats 15] [--json FILE]

SOURCE is a run directory, or "cnn14": a Cnn14 of full size with seeded random weights. CALIBRATION is a
folder of clips. WORK keeps the bundle between runs. EARMARK_THREADS sets the threads. Each repeat scores
one batch by each, in turn; the tables have medians. With one thread other work of the machine hardly matters.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import recipe
from measuring import in_turn, run_main

import earmark
from earmark.export.bundle.write import write_bundle
from earmark.export.source.source import Source, without_decoder
from earmark.export.sources import resolve
from earmark.runtime.audio.lengths import samples_of
from earmark.runtime.explainer import engine_of
from earmark.runtime.inference.threads import thread_count

# What is searched.
DETECT_SECONDS = 300


def main(
    source: str,
    calibration: Path,
    work: Path,
    *,
    batch: int = 4,
    repeats: int = 15,
    json_: Path | None = None,
) -> None:
    """Run and print."""
    bundle = work / "bundle"
    if not bundle.exists():
        write_bundle(source_of(source, work), bundle, calibration=calibration)
    explainer = earmark.load(bundle, device="cpu")
    manifest = engine_of(explainer).manifest
    samples = samples_of(manifest.window.seconds, manifest.sample_rate)
    random = np.random.default_rng(0)
    waves = (0.1 * random.standard_normal((batch, samples))).astype(np.float32)
    ways = {name: partial(engine_of(explainer).logits_of, waves, name) for name in ("fp32", "int8")}
    medians = {name: 1e3 * one / batch for name, one in worked(ways, repeats).items()}
    detecting = detections(explainer, repeats)
    bare = alone(bundle, batch, repeats, waves)
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
    if json_:
        document = {
            "threads": thread_count(),
            "median_ms": medians,
            "detect_s": detecting,
            "alone_ms": bare,
            "parity": msgspec.to_builtins(manifest.parity.int8),
        }
        json_.write_text(json.dumps(document, indent=2))


def worked(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of the processor per call, in turn."""
    taken = in_turn(ways, repeats, clocks=(time.process_time,))
    return {name: float(np.median(rounds)) for name, rounds in taken.items()}


def detections(explainer: earmark.Explainer, repeats: int) -> dict[str, float]:
    """Seconds of `detect` without explanations by each classifier, medians, in turn."""
    rate = engine_of(explainer).manifest.sample_rate
    sound = (0.1 * np.random.default_rng(1).standard_normal(DETECT_SECONDS * rate)).astype(np.float32)
    ways = {
        name: partial(explainer.detect, sound, rate, methods=[], precision=name) for name in ("fp32", "int8")
    }
    return worked(ways, repeats // 3 + 1)


def source_of(text: str, work: Path) -> Source:
    """The source without its decoder, which int8 does not touch."""
    if text == "cnn14":
        text = str(recipe.write(work / "recipe", decoder=False))
    return without_decoder(resolve(text, allow_missing_decoder=True))


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
    ways = {
        name: partial(session.run, ["logits"], {session.get_inputs()[0].name: features})
        for name, session in sessions.items()
    }
    return {name: 1e3 * one / batch for name, one in worked(ways, repeats).items()}


if __name__ == "__main__":
    run_main(main)
