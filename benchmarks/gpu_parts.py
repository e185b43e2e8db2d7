"""The parts of gpu.py: each measures one thing and answers rows for a table."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import earmark
from earmark.runtime.bundle.open import read_manifest
from earmark.runtime.explainer import SHIPPED, engine_of
from earmark.runtime.inference.nvidia import graphics_cards

Row = dict[str, Any]
RATE = 16_000
BATCHES = (1, 8, 32, 128)
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@dataclass(frozen=True)
class Place:
    """Where a part works, and on what."""

    work: Path
    device: str

    @property
    def gpu(self) -> bool:
        """Whether there is a GPU to measure."""
        return self.device != "cpu"

    def load(self, bundle: Path, **options: str) -> earmark.Explainer:
        """An explainer on the device, with options of the CUDA provider."""
        if not options or not self.gpu:
            return earmark.load(bundle, device=self.device)
        return earmark.load(bundle, providers=[(CUDA, options), CPU])

    @property
    def bundles(self) -> dict[str, Path]:
        """By name, if they exist: the shipped one, a Cnn14 with a compact and with the reference decoder."""
        named = {
            "compact": SHIPPED,
            "Cnn14": self.work / "light",
            "Cnn14, reference decoder": self.work / "bundle",
        }
        return {name: path for name, path in named.items() if path.exists()}

    @property
    def compared(self) -> list[str]:
        """The bundles that most parts look at."""
        return [name for name in self.bundles if "reference" not in name]


def milliseconds(call: Callable[[], object], repeats: int = 10, warm: int = 2) -> float:
    """Median time of a call."""
    taken = []
    for index in range(repeats + warm):
        start = time.perf_counter()
        call()
        if index >= warm:
            taken.append((time.perf_counter() - start) * 1e3)
    return statistics.median(taken)


def sounds(count: int, bundle: Path | None = None) -> np.ndarray:
    """[count, n] noise with a slow envelope, different in every row, peak 1; a window long, else 5 s."""
    random = np.random.default_rng(0)
    samples = int((5.0 if bundle is None else read_manifest(bundle).window.seconds) * RATE)
    envelope = 1.0 + np.sin(np.linspace(0.0, 12.0, samples) + random.uniform(0.0, 6.0, (count, 1)))
    waves = random.standard_normal((count, samples)) * envelope
    return (waves / np.abs(waves).max(axis=1, keepdims=True)).astype(np.float32)


def machine(place: Place) -> list[Row]:
    """What runs here."""
    import onnxruntime
    import torch

    rows = [
        {"what": card.name, "value": f"driver {card.driver}, {card.total_mib} MiB, cc {card.capability}"}
        for card in graphics_cards()
    ]
    explainer = place.load(SHIPPED)
    result = explainer.explain(sounds(1)[0], RATE)
    sessions = engine_of(explainer).sessions
    active = {path.name: one.session.get_providers() for path, one in sessions._open.items()}
    return [
        *rows,
        {
            "what": "onnxruntime",
            "value": f"{onnxruntime.__version__} {onnxruntime.get_available_providers()}",
        },
        {"what": "torch", "value": f"{torch.__version__}, CUDA {torch.version.cuda}"},
        {"what": "cuDNN", "value": torch.backends.cudnn.version()},
        {"what": "ran on", "value": result.device},
        {"what": "active", "value": active},
        {"what": "warnings", "value": list(result.warnings)},
    ]


def bundles(place: Place) -> list[Row]:
    """Make the Cnn14 bundles, of random weights, where they are not there yet."""
    from recipe import write
    from side_by_side import write_light

    from earmark.export.bundle.write import write_bundle
    from earmark.export.sources.speechbrain.folder import load as load_source

    recipe, rows = place.work / "recipe", []
    steps = {
        "recipe": lambda: write(recipe),
        "light": lambda: write_light(recipe, place.work / "light", place.work / "compact"),
        "bundle": lambda: write_bundle(load_source(recipe), place.work / "bundle"),
    }
    for name, make in steps.items():
        start = time.perf_counter()
        if not (place.work / name).exists():
            make()
        rows.append({"made": name, "seconds": time.perf_counter() - start})
    return rows


def parity(place: Place) -> list[Row]:
    """Answers of each precision beside the CPU's, for the same sounds; and `earmark verify`."""
    from earmark.runtime.verify import verify

    rows = []
    variants: dict[str, dict[str, str]] = {"fp32": {}}
    if place.gpu:
        variants |= {"fp32, exhaustive": {"cudnn_conv_algo_search": "EXHAUSTIVE"}, "tf32": {"use_tf32": "1"}}
    for name in place.compared:
        waves = sounds(4, place.bundles[name])
        reference = list(
            earmark.load(place.bundles[name], device="cpu").explain_many(waves, sample_rate=RATE)
        )
        for variant, options in variants.items():
            explainer = place.load(place.bundles[name], **options)
            row: Row = {"bundle": name, "precision": variant}
            for ours, theirs in zip(explainer.explain_many(waves, sample_rate=RATE), reference, strict=True):
                if not ours.ok or not theirs.ok:
                    raise RuntimeError(f"{ours} {theirs}")
                for output, made, wanted in (
                    ("logits", ours.logits, theirs.logits),
                    ("mask", ours.mask.values, theirs.mask.values),
                    ("kept sound", ours.mask.audio, theirs.mask.audio),
                ):
                    difference = float(np.abs(np.asarray(made) - np.asarray(wanted)).max())
                    row[output] = max(row.get(output, 0.0), difference)
            row["device"], row["fell to the CPU"] = ours.device, len(ours.warnings)
            rows.append(row)
        checks = verify(place.bundles[name], place.device)[1]
        worst = max(checks, key=lambda check: check.max_abs / check.limit)
        rows.append(
            {
                "bundle": name,
                "precision": "golden outputs (earmark verify)",
                "fell to the CPU": f"{sum(check.passed for check in checks)} of {len(checks)} within limits; "
                f"worst {worst.output} {worst.max_abs:.1e} of {worst.limit:.1e}",
            }
        )
    return rows


def explain(place: Place) -> list[Row]:
    """Milliseconds a sound: classified, and explained by its mask, by batch."""
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
            waves = sounds(batch, place.bundles[name])

            repeats = 10 if batch < 32 else 3
            classified = milliseconds(partial(_answers, explainer, waves, []), repeats, 1) / batch
            explained = milliseconds(partial(_answers, explainer, waves, ["mask"]), repeats, 1) / batch
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


def _answers(explainer: earmark.Explainer, waves: np.ndarray, methods: list[str]) -> None:
    """Explain all sounds as one batch. Raises RuntimeError where one has no answer."""
    answers = explainer.explain_many(waves, sample_rate=RATE, methods=methods, batch_size=len(waves))
    failed = [answer for answer in answers if not answer.ok]
    if failed:
        raise RuntimeError(str(failed[0].error))


def classifier(place: Place) -> list[Row]:
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


def _classifier_alone(place: Place, name: str, options: dict[str, str], batch: int) -> tuple[float, float]:
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


def pytorch(place: Place) -> list[Row]:
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


def copies(place: Place) -> list[Row]:
    """Copies between host and device of one explanation, as the profiler of the card counts them."""
    import torch

    rows = []
    for name in place.compared:
        explainer = place.load(place.bundles[name])
        for batch, methods in ((1, []), (1, ["mask"]), (8, []), (8, ["mask"])):
            waves = sounds(batch, place.bundles[name])
            run = partial(_answers, explainer, waves, methods)
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


def memory(place: Place) -> list[Row]:
    """MiB of the card in use, for each way the arena may grow."""
    rows = []
    # The CUDA context takes some memory itself.
    context = place.load(SHIPPED)
    _answers(context, sounds(1, SHIPPED), ["mask"])
    for strategy in ("kSameAsRequested", "kNextPowerOfTwo"):
        for name in place.compared:
            before = _used(place)
            explainer = place.load(place.bundles[name], arena_extend_strategy=strategy)
            row: Row = {"arena": strategy, "bundle": name, "before": before}
            for batch in BATCHES if place.gpu else BATCHES[:1]:
                _answers(explainer, sounds(batch, place.bundles[name]), ["mask"])
                row[f"batch {batch}"] = _used(place) - before
            explainer.close()
            rows.append(row)
    return rows


def _used(place: Place) -> int:
    cards = graphics_cards()
    return cards[0].total_mib - cards[0].free_mib if cards and place.gpu else 0


def segments(place: Place) -> list[Row]:
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


def failures(place: Place) -> list[Row]:
    """What a user reads when something is wrong: each is one line, none falls back in silence."""
    wave = sounds(1)[0]
    cases: dict[str, dict[str, Any]] = {
        "a GPU that is not there": {"device": "cuda:7"},
        "TensorRT": {"device": "tensorrt"},
        "an option that does not exist": {"providers": [(CUDA, {"nonsense": "1"}), CPU]},
        "too little memory for the weights": {"providers": [(CUDA, {"gpu_mem_limit": "100000"}), CPU]},
    }
    rows: list[Row] = []
    for name, asked in cases.items():
        try:
            result = earmark.load(**asked).explain(wave, RATE, methods=["mask"])
            said = f"ran on {result.device}: {list(result.warnings)}"
        except earmark.EarmarkError as error:
            said = f"{type(error).__name__}: {error}"
        rows.append({"case": name, "said": said})
    if place.gpu:
        for limit in (8, 16, 32, 64):
            explainer = place.load(SHIPPED, gpu_mem_limit=str(limit << 20))
            answers = list(
                explainer.explain_many(
                    sounds(128, SHIPPED), sample_rate=RATE, methods=["mask"], batch_size=128
                )
            )
            failed = [answer for answer in answers if not answer.ok]
            said = f"{len(answers) - len(failed)} of 128 answered; {failed[0].error if failed else ''}"
            rows.append({"case": f"128 sounds at once in {limit} MiB", "said": said})
    commands = [["doctor"], ["explain", "--device", "cuda:7"], ["verify", "--device", place.device]]
    for arguments in commands:
        done = subprocess.run(
            [sys.executable, "-m", "earmark.cli", *arguments], capture_output=True, text=True, check=False
        )
        print(done.stdout, done.stderr)
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        rows.append({"case": f"earmark {' '.join(arguments)}", "said": f"exit {done.returncode}: {last}"})
    return rows


def two_processes(place: Place) -> list[Row]:
    """Two processes on one card: both answer, and as one of them alone does."""
    code = (
        "import sys; from gpu_parts import *; place = Place(Path(sys.argv[1]), sys.argv[2])\n"
        "explainer = place.load(SHIPPED); waves = sounds(32, SHIPPED)\n"
        "run = lambda: [one.predictions[0] for one in explainer.explain_many(waves, sample_rate=RATE,"
        " methods=['mask'], batch_size=32)]\n"
        "first = run(); taken = milliseconds(run, 10); print(len(first), first[0], round(taken, 1))"
    )
    command = [sys.executable, "-c", code, str(place.work), place.device]
    rows = []
    for count in (1, 2):
        running = [
            subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]
        rows.append({"processes": count, "answers": [one.communicate()[0].strip() for one in running]})
    return rows


def training(place: Place) -> list[Row]:
    """A classifier, a decoder and an interpreter trained on the device, exported, and verified there."""
    where = "cuda" if place.gpu else "cpu"
    work = place.work / f"training-{time.time():.0f}"
    data, run, bundle = work / "data", work / "run", work / "bundle"
    quick = ["--device", where, "--epochs", "2", "-q"]
    steps = [
        ["data", "drums", str(data), "--clips", "6", "--tune-clips", "2", "--test-clips", "2"],
        ["train", "classifier", str(data / "train"), "-o", str(run), "--width", "8", *quick],
        ["train", "lmac", str(run), str(data / "train"), *quick],
        ["train", "l2i", str(run), str(data / "train"), *quick],
        ["export", str(run), "-o", str(bundle)],
        ["verify", str(bundle), "--device", place.device],
    ]
    rows = []
    for arguments in steps:
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "earmark.cli", *arguments], capture_output=True, text=True, check=False
        )
        print(arguments, done.stdout, done.stderr, flush=True)
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] if done.returncode else ""
        rows.append(
            {
                "command": " ".join(one for one in arguments[:2] if "/" not in one),
                "exit": done.returncode,
                "seconds": time.perf_counter() - start,
                "said": said,
            }
        )
    return rows


PARTS: dict[str, Callable[[Place], list[Row]]] = {
    part.__name__: part
    for part in (
        machine,
        bundles,
        parity,
        explain,
        classifier,
        pytorch,
        copies,
        memory,
        segments,
        failures,
        two_processes,
        training,
    )
}
