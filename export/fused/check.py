"""Holds a fused graph to its bundle: the same sounds, the same answers. Never torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ParityError
from ...runtime.audio.lengths import samples_at_least, samples_of
from ...runtime.bundle.open import Bundle
from ...runtime.explainer import Explainer
from ...runtime.inference.onnx_runtime import cpu_session
from ...runtime.values.arrays import FloatArray
from ..bundle.sounds import synthesise
from ..bundle.stages import answers

Agreements = dict[str, float]

# Absolute, for sounds of peak 1 or less; of outputs that are larger, a share of their largest value.
LIMIT = 1e-5


def check(bundle: Bundle, graph: Path) -> Agreements:
    """Compare a fused graph with its bundle on synthesised sounds up to one window long, in a batch.

    Args:
        bundle: The open bundle.
        graph: The fused graph.

    Returns:
        Largest differences by output.

    Raises:
        ParityError: One is above the limit, or an output has other dims.

    """
    manifest = bundle.manifest
    rate, window = manifest.sample_rate, manifest.window
    whole = samples_of(window.seconds, rate)
    shortest = max(samples_at_least(window.minimum_seconds, rate), manifest.analysis.n_fft)
    lengths = sorted({min(whole, shortest), min(whole, (whole + shortest) // 2 + 7), whole})
    session, found = cpu_session(graph), Agreements()
    with Explainer(bundle, "cpu") as explainer:
        for length in lengths:
            # At two levels.
            waves = synthesise(2, length, rate, length) * np.array([[0.5], [0.05]], np.float32)
            outputs = answers(session, {"waveform": waves})
            for row, wave in enumerate(waves):
                for name, expected in _expected(explainer, wave, rate).items():
                    if name in outputs:
                        far = difference(outputs[name][row], expected)
                        found[name] = max(found.get(name, 0.0), far)
    return within(found, bundle, "one graph")


def within(found: Agreements, bundle: Bundle, what: str) -> Agreements:
    """The largest differences by output of what was made of a bundle, where all are within the limit.

    Raises ParityError.
    """
    for name, far in found.items():
        if not far <= LIMIT:
            raise ParityError(
                f"{bundle.path}: as {what} its {name} differs by {far:.2g} (limit {LIMIT:g}); the bundle "
                "itself stays usable"
            )
    return found


def _expected(explainer: Explainer, wave: FloatArray, rate: int) -> dict[str, FloatArray]:
    """What the bundle says of a sound."""
    methods = [name for name in ("mask", "components") if name in explainer.methods]
    result: Any = explainer.explain((wave, rate), methods=methods)
    scores = dict(result.predictions)
    expected: dict[str, FloatArray] = {
        "logits": result.logits,
        "scores": np.array([scores[label] for label in explainer.labels], np.float32),
    }
    if result.mask is not None:
        expected |= {"mask": result.mask.values, "kept": result.mask.audio}
    if result.components is not None:
        expected["activations"] = result.components.activations
    return expected


def difference(made: FloatArray, expected: FloatArray) -> float:
    """The largest absolute difference, as a share of what is expected where that is above 1.

    Args:
        made: What a derived graph gives.
        expected: What the bundle gives.

    Returns:
        0 or more; infinity where shapes differ or a number is not finite.

    """
    if made.shape != expected.shape or not np.isfinite(made).all():
        return float("inf")
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    return float(np.abs(made - expected).max(initial=0.0)) / scale
