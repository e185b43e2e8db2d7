"""Parts of gpu.py: milliseconds, copies and memory, by batch and by options of the CUDA provider."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from gpu_place import BATCHES, CPU, CUDA, RATE, GpuPlace, Row, answer_all, milliseconds, sounds

import earmark
from earmark.runtime.explainer import SHIPPED, engine_of
from earmark.runtime.inference.nvidia import graphics_cards


def explain(place: GpuPlace) -> list[Row]:
    """Milliseconds a sound: classified, and explained by its mask, by batch; of several batches in a row."""
    rows = []
    variants: list[tuple[str, dict[str, str]]] = [("compact", {}), ("Cnn14", {})]
    if place.gpu:
        variants += [
            ("Cnn14", {"cudnn_conv_algo_search": "EXHAUSTIVE"}),
            ("Cnn14", {"use_tf32": "1"}),
            ("Cnn14, reference decoder", {"use_tf32": "1"}),
        ]
    for name, options in variants:
        if name not in place.bundles:
            continue
        explainer = place.load(place.bundles[name], **options)
        start = time.perf_counter()
        explainer.explain(sounds(1, place.bundles[name])[0], RATE, methods=["mask"])
        first = time.perf_counter() - start
        for batch in BATCHES if place.gpu else BATCHES[:2]:
            several = 4 if batch < 128 else 2
            waves = np.concatenate([sounds(batch, place.bundles[name])] * several)
            repeats = 10 if batch < 8 else 3
            classified, explained = (
                milliseconds(partial(answer_all, explainer, waves, methods, batch), repeats, 1) / len(waves)
                for methods in ([], ["mask"])
            )
            rows.append(
                {
                    "bundle": name,
                    "options": options,
                    "batch": batch,
                    "classified ms": classified,
                    "explained ms": explained,
                    "ratio": explained / classified,
                    "first explanation s": first,
                }
            )
    return rows


def classifier(place: GpuPlace) -> list[Row]:
    """Milliseconds a batch of the classifier's graph alone, fed and read on the device, by options."""
    rows = []
    variants: list[dict[str, str]] = [{}]
    if place.gpu:
        variants += [
            {"cudnn_conv_algo_search": "EXHAUSTIVE"},
            {"use_tf32": "1"},
            {"use_tf32": "1", "cudnn_conv_algo_search": "EXHAUSTIVE"},
            {"prefer_nhwc": "1", "use_tf32": "1"},
            {"enable_cuda_graph": "1"},
        ]
    for name in place.compared:
        for options in variants:
            row: Row = {"bundle": name, "options": options}
            try:
                for batch in BATCHES if place.gpu else BATCHES[:2]:
                    row[f"{batch}"], row[f"first {batch}, s"] = _classifier_alone(place, name, options, batch)
            except Exception as error:
                row["error"] = " ".join(str(error).split())[-200:]
            rows.append(row)
    return rows


def _classifier_alone(place: GpuPlace, name: str, options: dict[str, str], batch: int) -> tuple[float, float]:
    """Median milliseconds, and seconds of the first run: all of them on one binding, as a graph wants."""
    import onnxruntime

    engine = engine_of(place.load(place.bundles[name]))
    stft = engine.sessions.run("frontend", {"waveform": sounds(batch, place.bundles[name])})["stft"]
    defaults = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    providers: list[Any] = [(CUDA, defaults | options)] if place.gpu else []
    session = onnxruntime.InferenceSession(
        str(place.bundles[name] / "classifier.onnx"), providers=[*providers, CPU], enable_fallback=0
    )
    kind = "cuda" if place.gpu else "cpu"
    binding = session.io_binding()
    binding.bind_ortvalue_input("stft", onnxruntime.OrtValue.ortvalue_from_numpy(stft, kind, 0))
    shape = [batch, len(engine.manifest.labels)]
    logits = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, kind, 0)
    binding.bind_ortvalue_output("logits", logits)
    start = time.perf_counter()
    session.run_with_iobinding(binding)
    first = time.perf_counter() - start
    return milliseconds(lambda: session.run_with_iobinding(binding), 15), first


def pytorch(place: GpuPlace) -> list[Row]:
    """The same Cnn14 in PyTorch on the same card: classifier alone, and the recipe from sound to sound."""
    import torch
    from pytorch_side import load

    where = "cuda" if place.gpu else "cpu"
    rows: list[Row] = []

    def waiting(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            with torch.inference_mode():
                call()
            if place.gpu:
                torch.cuda.synchronize()

        return run

    side = load(place.work / "recipe")
    for part in (side.body, side.head, side.decoder):
        part.to(where)
    side.window, side.bank = side.window.to(where), side.bank.to(where)
    inputs = {
        batch: torch.from_numpy(sounds(batch)).to(where) for batch in (BATCHES if place.gpu else BATCHES[:1])
    }
    with torch.inference_mode():
        spectra = {batch: side.front_end(wave) for batch, wave in inputs.items()}

    def recipe(wave: torch.Tensor) -> torch.Tensor:
        stft = side.front_end(wave)
        mask = side.mask(side.classify(stft)[1])
        return side.audio(stft, mask.reshape(len(wave), -1, stft.shape[2]), wave.shape[1]).cpu()

    eager = side.body
    for tf32 in (False, True) if place.gpu else (False,):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        for searching in (False, True) if place.gpu else (False,):
            torch.backends.cudnn.benchmark = searching
            how = "eager, cudnn.benchmark" if searching else "eager"
            row: Row = {"side": f"{how}{', TF32' if tf32 else ''}"}
            for batch, stft in spectra.items():
                row[f"classifier {batch}"] = milliseconds(waiting(lambda s=stft: side.classify(s)), 7)
            for batch in list(inputs)[:3]:
                row[f"recipe {batch}"] = milliseconds(waiting(lambda w=inputs[batch]: recipe(w)), 5)
            rows.append(row)
            print(row, flush=True)
    torch.backends.cudnn.benchmark = False
    side.body = torch.compile(eager)  # type: ignore[assignment]
    for tf32 in (True, False) if place.gpu else ():
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        row = {"side": f"torch.compile{', TF32' if tf32 else ''}"}
        for batch in (1, 32):
            row[f"classifier {batch}"] = milliseconds(waiting(lambda s=spectra[batch]: side.classify(s)), 7)
        rows.append(row)
        print(row, flush=True)
    return rows


def copies(place: GpuPlace) -> list[Row]:
    """Copies between host and device of one explanation, as the profiler of the card counts them."""
    import torch

    rows = []
    for name in place.compared:
        explainer = place.load(place.bundles[name])
        for batch, methods in ((1, []), (1, ["mask"]), (8, []), (8, ["mask"])):
            waves = sounds(batch, place.bundles[name])
            run = partial(answer_all, explainer, waves, methods)
            run()
            activity = torch.profiler.ProfilerActivity
            kinds = [activity.CPU, *([activity.CUDA] if place.gpu else [])]
            with torch.profiler.profile(activities=kinds) as profile:
                run()
            row: Row = {"bundle": name, "batch": batch, "methods": methods}
            kernels = 0
            for event in profile.events():
                for way in ("HtoD", "DtoH", "DtoD"):
                    if f"Memcpy {way}" in event.name:
                        row[way] = row.get(way, 0) + 1
                kernels += "cuda" in str(event.device_type).lower() and "Mem" not in event.name
            row["kernels"] = kernels
            row["sound MB"] = float(waves.nbytes / 1e6)
            rows.append(row)
    return rows


def memory(place: GpuPlace) -> list[Row]:
    """MiB of the card in use, for each way the arena may grow."""
    rows = []
    # The CUDA context takes some memory itself.
    context = place.load(SHIPPED)
    answer_all(context, sounds(1, SHIPPED), ["mask"])
    for strategy in ("kSameAsRequested", "kNextPowerOfTwo"):
        for name in place.compared:
            before = _used(place)
            explainer = place.load(place.bundles[name], arena_extend_strategy=strategy)
            row: Row = {"arena": strategy, "bundle": name, "before": before}
            for batch in BATCHES if place.gpu else BATCHES[:1]:
                answer_all(explainer, sounds(batch, place.bundles[name]), ["mask"])
                row[f"batch {batch}"] = _used(place) - before
            explainer.close()
            rows.append(row)
    return rows


def _used(place: GpuPlace) -> int:
    cards = graphics_cards()
    return cards[0].total_mib - cards[0].free_mib if cards and place.gpu else 0


def segments(place: GpuPlace) -> list[Row]:
    """Seconds of an explanation by segments, 200 calls."""
    rows = []
    for name in place.compared:
        for device in dict.fromkeys(("cpu", place.device)):
            if (name, device) == ("Cnn14", "cpu"):
                continue
            for batch in (8, 32):
                explainer = earmark.load(place.bundles[name], device=device)
                options = {"segments": {"calls": 200, "early_stop": False, "batch": batch}}
                run = partial(
                    explainer.explain,
                    sounds(1, place.bundles[name])[0],
                    RATE,
                    methods=["segments"],
                    options=options,
                )
                result = run()
                taken = milliseconds(run, 3, 0)
                rows.append(
                    {
                        "bundle": name,
                        "device": device,
                        "sounds a batch": batch,
                        "calls": result.segments.calls,
                        "ms": taken,
                        "of it scoring": result.segments.scoring_seconds * 1e3,
                    }
                )
    return rows
