"""Threads share one Explainer for an hour; memory at the end is compared with that after five minutes.

    python benchmarks/soak.py [--minutes 60] [--settled 5] [--threads 8] [--json FILE]

The threads explain arrays, files, open files, sound longer than a window, several at once and damaged ones,
by every method of the bundle and now and then by segments, and save every so often. Resident memory is read
every ten seconds. Answers must be the first ones again, errors the clear ones. Exits with 1 where memory has
grown by more than 2 % since `--settled`, where an answer has changed, or where anything else was raised.
"""

from __future__ import annotations

import collections
import gc
import json
import os
import random
import statistics
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("EARMARK_THREADS", "1")

import numpy as np
import soundfile
from measuring import run_main

import earmark
from earmark.errors import AudioError
from earmark.runtime.explainer import Explainer

RATE = 16000
_LIMIT = 0.02
_EVERY = 10.0


class Soak:
    """The jobs that threads choose from, what they answered first, and what went wrong since."""

    def __init__(self, explainer: Explainer, folder: Path) -> None:
        self.explainer, self.folder = explainer, folder
        self.counts: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []
        self._first: dict[str, list[float]] = {}
        self._lock = threading.Lock()
        times = np.arange(7 * RATE) / RATE
        noise = np.random.default_rng(0).standard_normal(len(times))
        self._long = (0.3 * np.sin(2 * np.pi * (200 + 90 * times) * times) + 0.02 * noise).astype(np.float32)
        self._short = self._long[: 2 * RATE]
        for name, wave, rate in (
            ("a.wav", self._short, RATE),
            ("b.flac", self._long, RATE),
            ("c.wav", self._short, 44100),
        ):
            soundfile.write(folder / name, wave, rate)
        (folder / "damaged.flac").write_bytes((folder / "b.flac").read_bytes()[:9000])
        (folder / "no.wav").write_bytes(b"no sound" * 100)
        self._jobs: dict[str, tuple[Callable[[], object], float]] = {
            "array": (lambda: self._explain((self._short, RATE)), 4.0),
            "rescored": (lambda: self._explain((self._short, RATE), rescore=True), 2.0),
            "file": (lambda: self._explain(folder / "a.wav"), 4.0),
            "resampled": (lambda: self._explain(folder / "c.wav"), 2.0),
            "long": (lambda: self._explain(folder / "b.flac"), 2.0),
            "open file": (self._open_file, 2.0),
            "many": (self._many, 1.0),
            "segments": (self._segments, 0.3),
            "saved": (self._saved, 0.3),
            "damaged": (lambda: self._explain(folder / "damaged.flac"), 1.0),
            "refused": (self._refused, 1.0),
        }

    def work(self, seed: int, until: float) -> None:
        """What a thread does."""
        draw = random.Random(seed)
        names = list(self._jobs)
        weights = [weight for _, weight in self._jobs.values()]
        while time.monotonic() < until:
            name = draw.choices(names, weights)[0]
            try:
                self._compare(name, self._jobs[name][0]())
            except Exception:
                self._fault(f"{name}: {traceback.format_exc(limit=-3)}")
            with self._lock:
                self.counts[name] += 1

    def _fault(self, text: str) -> None:
        with self._lock:
            self.faults.append(text)

    def _compare(self, name: str, answer: object) -> None:
        if not isinstance(answer, list):
            return
        with self._lock:
            first = self._first.setdefault(name, answer)
        if not np.allclose(first, answer, atol=1e-5):
            self._fault(f"{name}: answers {answer}, at first {first}")

    def _explain(self, sound: object, **options: object) -> list[float]:
        result = self.explainer.explain(sound, **options)
        numbers = [score for _, score in sorted(result.predictions)]
        if result.mask is not None:
            numbers += [result.mask.area, float(np.abs(result.mask.residual).sum())]
        for ones in (result.prototypes or {}).values():
            numbers += [one.similarity for one in ones]
        return numbers

    def _open_file(self) -> list[float]:
        with (self.folder / "a.wav").open("rb") as file:
            return self._explain(file)

    def _many(self) -> list[float]:
        sounds = [self.folder / "a.wav", (self._short, RATE), self.folder / "no.wav", self.folder / "b.flac"]
        found = list(self.explainer.explain_many(sounds, batch_size=2))
        return [score for one in found for _, score in sorted(getattr(one, "predictions", ()))]

    def _segments(self) -> list[float]:
        settings = {"segments": {"calls": 16}}
        result = self.explainer.explain((self._short, RATE), methods=["segments"], options=settings)
        return [score for _, score in sorted(result.predictions)]

    def _saved(self) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            self.explainer.explain((self._short, RATE)).save(folder)

    def _refused(self) -> None:
        try:
            self.explainer.explain(self.folder / "no.wav")
        except AudioError:
            return
        self._fault("refused: was not")


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main(
    *,
    minutes: float = 60.0,
    settled: float = 5.0,
    threads: int = 8,
    bundle: Path | None = None,
    json_: Path | None = None,
) -> int:
    """Run and print."""
    start = time.monotonic()
    until = start + 60 * minutes
    samples: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="earmark-soak-") as folder:
        soak = Soak(earmark.load(bundle, "cpu"), Path(folder))
        workers = [threading.Thread(target=soak.work, args=(seed, until)) for seed in range(threads)]
        for thread in workers:
            thread.start()
        while (now := time.monotonic()) < until:
            samples.append((now - start, resident_mb()))
            time.sleep(min(_EVERY, until - now))
        for thread in workers:
            thread.join()
    gc.collect()
    # Medians: a reading is as high as what the threads hold just then.
    span = max(60.0, 6 * minutes)
    early = [mb for at, mb in samples if 60 * settled <= at <= 60 * settled + span]
    end = [mb for at, mb in samples if at >= 60 * minutes - span]
    if not early or not end:
        raise SystemExit("too short to compare: --minutes must go beyond --settled")
    before, after = statistics.median(early), statistics.median(end)
    growth = after / before - 1
    total = sum(soak.counts.values())
    print(f"{total} explanations by {threads} threads in {minutes:g} minutes")
    print(", ".join(f"{name} {count}" for name, count in sorted(soak.counts.items())))
    print(
        f"resident memory {before:.0f} MB after {settled:g} minutes, {after:.0f} MB at the end "
        f"({growth:+.1%}), at most {max(mb for _, mb in samples):.0f} MB"
    )
    print(f"{len(soak.faults)} faults")
    for fault in soak.faults[:5]:
        print(fault)
    if json_:
        document = {"samples": samples, "counts": soak.counts, "growth": growth, "faults": soak.faults}
        json_.write_text(json.dumps(document, indent=1))
    return 1 if soak.faults or growth > _LIMIT else 0


if __name__ == "__main__":
    run_main(main)
