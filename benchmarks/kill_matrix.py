"""Kill every writer at many places: the old or the new is there, whole, and the next run leaves nothing.

    python benchmarks/kill_matrix.py --cases 40               # a minute
    python benchmarks/kill_matrix.py --cases 2000 --what all  # by hand; `train` needs PyTorch

A case runs a writer in a forked child and ends it by SIGKILL or SIGTERM: right before its n-th change of the
file system below the case's folder (files opened to write, renamed, linked, removed, folders made and
removed, two names exchanged), n spread over all of them; or after a random time. Then it looks at what is
there, lets the same writer run to its end, and looks again.
"""

# ruff: noqa: E402 (the number of threads is set before what has threads is imported)
from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

for _threads in ("EARMARK_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
sys.path.insert(0, str(Path(__file__).parent / "fuzz"))

import numpy as np
import soundfile
from measuring import run_main
from subject import RATE, Small, build

import earmark
from earmark.commands.console import stopping_in_order
from earmark.export.bundle.write import write_bundle
from earmark.export.prototypes.build import index_bundle
from earmark.prototypes_index.atomic import HIDDEN
from earmark.runtime.audio.lengths import samples_of
from earmark.runtime.methods.prototypes.generation import open_generation
from earmark.runtime.opening import open_bundle

CHANGES = {"os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "earmark.exchange"}
# The case's folder -> what a look at it says: "old", "new", or what is wrong.
Look = Callable[[Path], str]


@dataclass(frozen=True)
class Writer:
    """A writer: what is there before, what it does, what is right afterwards.

    may_be: what may be there after a kill, besides old and new
    """

    name: str
    prepare: Callable[[Path], None]
    write: Callable[[Path], object]
    look: Look
    may_be: tuple[str, ...] = ()


def wave(seconds: float, seed: int) -> np.ndarray:
    """Noise at the subject's rate."""
    return 0.1 * np.random.default_rng(seed).standard_normal(samples_of(seconds, RATE)).astype(np.float32)


def look_at_bundle(folder: Path) -> str:
    """The bundle opens with every hash, and is called old or new."""
    if not (folder / "bundle").exists():
        return "none"
    return open_bundle(folder / "bundle", examine=True).manifest.name


def look_at_index(folder: Path) -> str:
    """The bundle opens, and its generation has the old clips or the new."""
    bundle = open_bundle(folder / "bundle", examine=True)
    sources = open_generation(bundle.path, bundle.manifest).info.sources
    return {6: "old", 8: "new"}.get(sources, f"{sources} sounds")


def look_at_result(folder: Path) -> str:
    """The result is of one sound: its record and its files agree."""
    out = folder / "out"
    if not (out / "result.json").exists():
        names = [path.name for path in out.iterdir() if not path.name.startswith(HIDDEN)]
        return "none" if not set(names) - {"notes.txt"} else f"no record beside {names}"
    if (folder / "foreign").exists() and not (out / "notes.txt").exists():
        return "a file of another is gone"
    record = json.loads((out / "result.json").read_text())
    if "unfinished" in record:
        return "unfinished"
    kept = soundfile.info(str(out / "kept.wav")).frames
    if kept != samples_of(record["duration_s"], RATE):
        return "files of two sounds"
    return "old" if record["duration_s"] == 1.0 else "new"


def writers(root: Path) -> dict[str, Writer]:
    """Every writer; what they need is made once, in `root`."""
    subject = build(root)
    more = root / "more" / "hum"
    more.mkdir(parents=True)
    for take in range(2):
        soundfile.write(more / f"more{take}.wav", wave(0.6, take), RATE)
    explainer = earmark.load(subject, "cpu")
    old, new = (explainer.explain((wave(seconds, 7), RATE), methods=["mask"]) for seconds in (1.0, 0.5))

    def with_bundle(folder: Path) -> None:
        write_bundle(Small.make(), folder / "bundle", name="old")

    def with_result(folder: Path, *, foreign: bool = False) -> None:
        old.save(folder / "out")
        if foreign:
            (folder / "foreign").touch()
            (folder / "out" / "notes.txt").write_text("of another")

    def export(folder: Path) -> object:
        return write_bundle(Small.make(), folder / "bundle", name="new", force=True)

    return {
        "export": Writer("export", lambda _: None, export, look_at_bundle, ("none",)),
        "export --force": Writer("export --force", with_bundle, export, look_at_bundle),
        "index": Writer(
            "index",
            lambda folder: shutil.copytree(subject, folder / "bundle"),  # type: ignore[arg-type, return-value]
            lambda folder: index_bundle(folder / "bundle", root / "more"),
            look_at_index,
        ),
        "explain -o": Writer(
            "explain -o", with_result, lambda folder: new.save(folder / "out"), look_at_result
        ),
        "explain -o, files of others": Writer(
            "explain -o, files of others",
            lambda folder: with_result(folder, foreign=True),
            lambda folder: new.save(folder / "out"),
            look_at_result,
            ("unfinished",),
        ),
    }


def train_writer(root: Path) -> Writer:
    """A training that goes on from what the killed one left."""
    import torch

    from earmark.export.sources.run.config import ClassifierConfig
    from earmark.export.sources.run.directory import RunDirectory
    from earmark.export.training.classifier import train_classifier
    from earmark.export.training.loop import FitState
    from earmark.export.training.options import ClassifierOptions
    from earmark.export.training.settings import ClassifierSettings

    torch.set_num_threads(1)
    data = root / "trained on"
    for label in ("a", "b"):
        (data / label).mkdir(parents=True)
        for fold in (1, 2):
            for take in range(3):
                soundfile.write(
                    data / label / f"{fold}-{take}-A.wav", np.tile(wave(0.5, take), 16), 16 * RATE
                )
    settings = ClassifierSettings(epochs=2)

    def train(folder: Path) -> object:
        run = folder / "run"
        begun = RunDirectory(run, "classifier").begun
        return train_classifier(data, run, settings, ClassifierOptions(resume=begun))

    def look(folder: Path) -> str:
        run = RunDirectory(folder / "run", "classifier")
        if not run.begun:
            return "none"
        run.read_config(ClassifierConfig)
        run.read_metrics()
        if run.weights_path.exists():
            run.read_weights()
            return "new"
        run.read_state(FitState)
        return "none"

    return Writer("train", lambda _: None, train, look, ("none",))


def run(writer: Writer, folder: Path, number: int, step: int | None, after: float | None) -> tuple[int, int]:
    """Let the writer run in a child; returns how it ended and how many steps it did.

    number: the signal; step: sent before that step; after: sent after so many seconds
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        with open(os.devnull, "w") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        steps = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal steps
            changes = event in CHANGES or (
                event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
            )
            if not changes or str(folder) not in str(arguments[0]):
                return
            if steps == step:
                os.kill(os.getpid(), number)
            steps += 1

        sys.addaudithook(count)
        code = 0
        try:
            with stopping_in_order():
                writer.write(folder)
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode()[:500] + b"\0")
            code = 1
        os.write(writing, str(steps).encode())
        os._exit(code)
    os.close(writing)
    if after is not None:
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said = os.read(reading, 4096).decode()
    os.close(reading)
    error, _, steps_said = said.rpartition("\0")
    if error:
        raise RuntimeError(f"{writer.name} failed by itself: {error}")
    return status, int(steps_said or 0)


def leftovers(folder: Path) -> list[str]:
    """Hidden names of writers, anywhere below."""
    marks = (HIDDEN, ".building-", ".hearing-")
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name.startswith(marks))


def seen(writer: Writer, folder: Path) -> str:
    """What is there; an error is what it says."""
    try:
        return writer.look(folder)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def judge(
    writer: Writer, folder: Path, number: int, step: int | None, after: float | None
) -> tuple[str, str]:
    """One case: what was there after the kill, and the fault (empty where there is none)."""
    writer.prepare(folder)
    status, _ = run(writer, folder, number, step, after)
    found = seen(writer, folder)
    if found not in ("old", "new", *writer.may_be):
        return found, f"after the kill: {found}"
    if number == signal.SIGTERM and status != -signal.SIGTERM and (left := leftovers(folder)):
        return found, f"SIGTERM left {left}"
    run(writer, folder, number, None, None)
    if (again := seen(writer, folder)) != "new":
        return found, f"after the next run: {again}"
    if left := leftovers(folder):
        return found, f"the next run left {left}"
    return found, ""


def matrix(writer: Writer, root: Path, cases: int, chance: random.Random) -> tuple[Counter[str], list[str]]:
    """All cases of one writer: how often what was found, and the faults."""
    counted: Counter[str] = Counter()
    faults: list[str] = []

    def case(number: int, step: int | None, after: float | None) -> None:
        folder = Path(tempfile.mkdtemp(dir=root, prefix="case-"))
        try:
            found, fault = judge(writer, folder, number, step, after)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        name = signal.Signals(number).name
        counted[f"{name} {found}"] += 1
        if fault:
            where = f"before step {step}" if step is not None else f"after {after:.3f} s"
            faults.append(f"{writer.name}, {name} {where}: {fault}")

    whole = Path(tempfile.mkdtemp(dir=root, prefix="whole-"))
    writer.prepare(whole)
    started = time.monotonic()
    _, steps = run(writer, whole, signal.SIGKILL, None, None)
    took = time.monotonic() - started
    shutil.rmtree(whole)
    if not steps:
        raise RuntimeError(f"{writer.name}: no step was counted")
    for index in range(cases):
        number = (signal.SIGKILL, signal.SIGTERM)[index % 2]
        if index % 4 == 3:
            case(number, None, chance.random() * took)
        else:
            case(number, min(index * steps // cases, steps - 1), None)
    return counted, faults


def main(*, cases: int = 40, what: str = "", seed: int = 0, json_: Path | None = None) -> int:
    """Run the matrix and print a table; 1 where there was a fault."""
    document: dict[str, tuple[Counter[str], list[str]]] = {}
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary).resolve()
        every = writers(root)
        if what in ("all", "train"):
            every["train"] = train_writer(root)
        chosen = every.values() if what in ("", "all") else [every[what]]
        for writer in chosen:
            counted, faults = matrix(writer, root, cases, random.Random(seed))
            failed += len(faults)
            document[writer.name] = counted, faults
            print(f"{writer.name}: {dict(sorted(counted.items()))}, {len(faults)} faults", flush=True)
            for fault in faults[:10]:
                print(f"  {fault}", flush=True)
    if json_:
        named = {name: {"counts": counts, "faults": faults} for name, (counts, faults) in document.items()}
        json_.write_text(json.dumps(named, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    run_main(main)
