"""Where the parts of gpu.py work, and how they ask and measure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measuring import in_turn

import earmark
from earmark.runtime.bundle.open import read_manifest
from earmark.runtime.explainer import SHIPPED

# A row of a table: the heads of its columns, and what stands there.
Row = dict[str, str | float]
RATE = 16_000
BATCHES = (1, 8, 32, 128)
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@dataclass(frozen=True)
class GpuPlace:
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
    taken = in_turn({"call": call}, repeats, warm=warm, clocks=(time.perf_counter,))["call"]
    return 1e3 * float(np.median(taken))


def sounds(count: int, bundle: Path | None = None) -> np.ndarray:
    """[count, n] noise with a slow envelope, different in every row, peak 1; a window long, else 5 s."""
    random = np.random.default_rng(0)
    samples = int((5.0 if bundle is None else read_manifest(bundle).window.seconds) * RATE)
    envelope = 1.0 + np.sin(np.linspace(0.0, 12.0, samples) + random.uniform(0.0, 6.0, (count, 1)))
    waves = random.standard_normal((count, samples)) * envelope
    return (waves / np.abs(waves).max(axis=1, keepdims=True)).astype(np.float32)


def answer_all(
    explainer: earmark.Explainer, waves: np.ndarray, methods: list[str], batch: int | None = None
) -> None:
    """Explain all sounds, as one batch or in batches. Raises RuntimeError where one has no answer."""
    answers = explainer.explain_many(
        list(waves), sample_rate=RATE, methods=methods, batch_size=batch or len(waves)
    )
    failed = [answer for answer in answers if not answer.ok]
    if failed:
        raise RuntimeError(str(failed[0].error))
