"""Where the time of an explanation goes: steps from sound to result, beside bare onnxruntime.

    python benchmarks/profile_explain.py [BUNDLE] [--seconds 1 5 10] [--batch 1 8] [--repeats 40]

First ratios: bare onnxruntime over the front end's and the classifier's graphs (--bare: those of another
bundle), `explain(methods=[])`, each method and all of them, interleaved in one process. Then a waterfall of
each: microseconds a sound, by step. Times are processor time of the whole process, all threads (--clock: of
the wall), minimum and median: where other work runs on the machine, the clock says nothing. EARMARK_THREADS=1
takes what threads lose by waiting for each other out of it. With --batch above 1 `explain_many` explains
copies of the sound.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
import onnxruntime
from measuring import in_turn, run_main

import earmark
from earmark.prototypes_index import generation
from earmark.runtime import explainer as entry
from earmark.runtime.audio import sound
from earmark.runtime.explainer import Explainer, bundle_path, engine_of
from earmark.runtime.explaining import explanation, many
from earmark.runtime.inference import session, spectrum
from earmark.runtime.inference.pipeline import ModelPipeline
from earmark.runtime.inference.threads import thread_count
from earmark.runtime.methods.mask import explanation as mask
from earmark.runtime.methods.mask import spectrum as masked
from earmark.runtime.methods.prototypes import comparing
from earmark.runtime.methods.prototypes import explanation as prototypes

WARM = 4
# (step, object that holds the function, its name): a step's own time is without the steps inside it.
STEPS: tuple[tuple[str, Any, str], ...] = (
    ("check of the request", entry, "request_of"),
    ("sound: opened and checked", entry, "open_any"),
    ("sound: opened and checked", many, "open_any"),
    ("sound: resampled, windows", sound.OpenSound, "windows"),
    ("level, batches", ModelPipeline, "classified"),
    ("front end (FFT)", spectrum, "forward"),
    ("a graph (onnxruntime)", session, "_values"),
    ("outputs looked at", session, "check_numbers"),
    ("scores, windows, result", explanation, "classify"),
    ("mask: gain", masked, "gain"),
    ("mask: inverse STFT", mask, "inverse"),
    ("mask: evidence", mask.Evidence, "weigh"),
    ("mask: picture", mask.Evidence, "show"),
    ("mask: trust", mask, "energies_of"),
    ("mask: the rest", mask.MaskExplanation, "add"),
    ("prototypes: looks", prototypes.PrototypesExplanation, "ask"),
    ("prototypes: familiarity", comparing.FamiliarWindows, "add"),
    ("prototypes: places", prototypes.PrototypesExplanation, "add"),
    ("prototypes: searches", generation.Generation, "search"),
    ("prototypes: the rest", prototypes.PrototypesExplanation, "finish"),
)
Taken = dict[str, list[float]]


def main(
    bundle: Path | None = None,
    *,
    seconds: Sequence[float] = (1.0, 5.0, 10.0),
    batch: Sequence[int] = (1, 8),
    repeats: int = 40,
    clock: bool = False,
    bare: Path | None = None,
) -> None:
    """Run and print."""
    now = time.perf_counter if clock else time.process_time
    path = bundle_path(bundle)
    print(f"{path.name}, {thread_count()} threads, microseconds a sound, minimum and median")
    with earmark.load(path, device="cpu") as explainer:
        for length, several in itertools.product(seconds, batch):
            measure(explainer, bare or path, length, several, repeats, now)


def measure(
    explainer: Explainer, path: Path, seconds: float, batch: int, repeats: int, now: Callable[[], float]
) -> None:
    """Print ratios and waterfalls of one length and batch."""
    rate = engine_of(explainer).manifest.sample_rate
    random = np.random.default_rng(0)
    wave = (random.standard_normal(round(seconds * rate)) * 0.1).astype(np.float32)
    ways = {
        "bare onnxruntime": bare(path, np.stack([wave] * batch), explainer),
        **{
            " ".join(methods) or "scores alone": functools.partial(ours, explainer, wave, batch, methods)
            for methods in ([], *([name] for name in explainer.methods), explainer.methods)
        },
    }
    rounds = in_turn(ways, repeats, warm=WARM, clocks=(now,))
    taken = {name: np.array([one.min(), np.median(one)]) * 1e6 / batch for name, one in rounds.items()}
    print(f"\n{seconds:g} s, batch {batch}")
    for name, (least, median) in taken.items():
        ratios = "".join(f"{one:7.2f}" for one in (least, median) / taken["bare onnxruntime"])
        print(f"  {name:<28}{least:9.0f}{median:9.0f}{ratios}")
    for name, way in ways.items():
        if name == "bare onnxruntime":
            continue
        print(f"  {name}, by step:")
        with stepping(now) as steps:
            for repeat in range(repeats + WARM):
                if repeat == WARM:
                    steps.clear()
                way()
        for step in dict.fromkeys(step for step, _, _ in STEPS):
            if step in steps:
                each = sum(steps[step]) * 1e6 / repeats / batch
                print(f"    {step:<26}{each:9.0f}{len(steps[step]) / repeats / batch:7.1f} x")


def bare(path: Path, waves: np.ndarray, explainer: Explainer) -> Callable[[], Any]:
    """Front end and classifier as anyone would run them, with earmark's threads, all outputs to NumPy."""
    manifest = engine_of(explainer).manifest
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = thread_count(), 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    stages = []
    for name in ("frontend", "classifier"):
        stage = manifest.stage(name)
        assert stage is not None
        stages.append(
            onnxruntime.InferenceSession(str(path / stage.file), options, providers=["CPUExecutionProvider"])
        )
    front, classifier = stages
    feature = front.get_outputs()[0].name

    def run() -> Any:
        return classifier.run(None, {feature: front.run(None, {"waveform": waves})[0]})

    return run


def ours(explainer: Explainer, wave: np.ndarray, batch: int, methods: Sequence[str]) -> Any:
    """The sound, or so many of them, explained."""
    rate = engine_of(explainer).manifest.sample_rate
    if batch == 1:
        return explainer.explain((wave, rate), methods=methods)
    return list(explainer.explain_many([(wave, rate)] * batch, batch_size=batch, methods=methods))


@contextmanager
def stepping(now: Callable[[], float]) -> Iterator[Taken]:
    """Count the own time of each step; generators are counted while they run."""
    steps: Taken = defaultdict(list)
    # Graphs of several methods run side by side: each thread has steps of its own.
    threads: dict[int, list[float]] = defaultdict(list)
    kept = [(holder, name, getattr(holder, name)) for _, holder, name in STEPS]

    def leave(step: str, start: float) -> None:
        whole, inside = now() - start, threads[get_ident()]
        steps[step].append(whole - inside.pop())
        if inside:
            inside[-1] += whole

    def counted(step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*given: Any, **named: Any) -> Any:
            start = now()
            threads[get_ident()].append(0.0)
            try:
                answer = function(*given, **named)
            finally:
                leave(step, start)
            return drawn(step, answer) if isinstance(answer, Iterator) else answer

        return call

    def drawn(step: str, answers: Iterator[Any]) -> Iterator[Any]:
        while True:
            start = now()
            threads[get_ident()].append(0.0)
            try:
                answer = next(answers)
            except StopIteration:
                return
            finally:
                leave(step, start)
            yield answer

    for step, holder, name in STEPS:
        setattr(holder, name, counted(step, getattr(holder, name)))
    try:
        yield steps
    finally:
        for holder, name, function in kept:
            setattr(holder, name, function)


if __name__ == "__main__":
    run_main(main)
