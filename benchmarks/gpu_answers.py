"""Parts of gpu.py: whether everything runs on the card, agrees with the CPU, and fails in a clear line."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from gpu_place import CPU, CUDA, RATE, GpuPlace, Row, sounds

import earmark
from earmark.runtime.explainer import SHIPPED, engine_of
from earmark.runtime.inference.nvidia import graphics_cards


def machine(place: GpuPlace) -> list[Row]:
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


def bundles(place: GpuPlace) -> list[Row]:
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


def parity(place: GpuPlace) -> list[Row]:
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


def failures(place: GpuPlace) -> list[Row]:
    """What a user reads when something is wrong: each is one line, none falls back in silence."""
    wave = sounds(1)[0]
    cases: dict[str, dict[str, str | list[str | tuple[str, dict[str, str]]]]] = {
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


def two_processes(place: GpuPlace) -> list[Row]:
    """Two processes on one card: both answer, and as one of them alone does."""
    code = (
        "import sys; from gpu_place import *; place = Place(Path(sys.argv[1]), sys.argv[2])\n"
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


def training(place: GpuPlace) -> list[Row]:
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
