"""Recomputes a bundle's golden outputs here, and says how far they are from those at home."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BundleError
from .arrays import FloatArray
from .bundle import Bundle
from .npz import read_arrays
from .session import Sessions
from .stft import as_pairs, forward

GOLDEN = "golden.npz"
# Absolute, for waveforms of peak 1 and logits of order 1, where the manifest names no limit.
_LIMIT = 1e-4
# Of the interpreter: its activations, pooled activations (z) and its own logits.
_ARRAY = re.compile(r"(waveform|logits|mask|activations|pooled|interpreted)_(\d+)")
_MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class Check:
    """One golden output: the largest absolute difference seen here, and what is allowed."""

    output: str
    samples: int
    max_abs: float
    limit: float

    @property
    def passed(self) -> bool:
        """Within the limit; NaN is not."""
        return self.max_abs <= self.limit


def verify(path: Path | str, device: str = "auto") -> tuple[Bundle, list[Check]]:
    """Check every hash and graph of a bundle, then recompute its golden outputs on `device`.

    Raises BundleError for what is damaged, DeviceError; differing numbers are returned, not raised.
    """
    bundle = Bundle.open(path, examine=True)
    sessions = Sessions(bundle, device)
    return bundle, [
        check for index, arrays in _golden(bundle) for check in _recompute(sessions, bundle, index, arrays)
    ]


def _golden(bundle: Bundle) -> Iterator[tuple[int, dict[str, FloatArray]]]:
    """The arrays of golden.npz by sound."""
    path = bundle.file(GOLDEN)
    sounds: dict[int, dict[str, FloatArray]] = {}
    for name, array in read_arrays(path, most_bytes=_MOST_BYTES, wanted=_ARRAY.fullmatch).items():
        if match := _ARRAY.fullmatch(name):
            sounds.setdefault(int(match[2]), {})[match[1]] = array
    if not sounds or any({"waveform", "logits"} - set(arrays) for arrays in sounds.values()):
        raise BundleError(f"{path}: holds no golden sounds with their logits; export the bundle again")
    yield from sorted(sounds.items())


def _recompute(
    sessions: Sessions, bundle: Bundle, index: int, arrays: dict[str, FloatArray]
) -> Iterator[Check]:
    manifest = bundle.manifest
    classifier, decoder = manifest.stage("classifier"), manifest.stage("decoder")
    interpreter = manifest.stage("interpreter")
    if classifier is None:
        raise BundleError(f"{bundle.path}: has no classifier; export the bundle again")
    samples = int(arrays["waveform"].shape[-1])
    front = next(iter(sessions.run("frontend", {"waveform": arrays["waveform"]}).values()))
    found = sessions.run("classifier", {classifier.inputs[0].name: front})
    spectra = front
    if manifest.rescore != "spectrogram":
        spectra = as_pairs(forward(arrays["waveform"], manifest.analysis))
    if "mask" in arrays and decoder is not None:
        given = {**found, "stft": spectra, "target": found["logits"].argmax(-1).astype(np.int64)}
        found |= sessions.run("decoder", {tensor.name: given[tensor.name] for tensor in decoder.inputs})
    if "activations" in arrays and interpreter is not None:
        given = {**found, "stft": spectra}
        said = sessions.run("interpreter", {tensor.name: given[tensor.name] for tensor in interpreter.inputs})
        found |= {"activations": said["activations"], "pooled": said["pooled"], "interpreted": said["logits"]}
    for output in ("logits", "mask", "activations", "pooled", "interpreted"):
        if output in arrays and output in found:
            limit = manifest.parity.get("fp32", {}).get(output, {}).get("limit", _LIMIT)
            same = found[output].shape == arrays[output].shape
            difference = float(np.abs(found[output] - arrays[output]).max()) if same else float("inf")
            yield Check(f"{output}_{index}", samples, difference, float(limit))
    quick = manifest.stage("classifier_int8")
    if quick is not None:
        # Held to fp32's golden answer, within what was measured at export.
        made = sessions.run("classifier_int8", {quick.inputs[0].name: front})["logits"]
        limit = manifest.parity.get("int8", {}).get("logits", {}).get("limit", _LIMIT)
        same = made.shape == arrays["logits"].shape
        difference = float(np.abs(made - arrays["logits"]).max()) if same else float("inf")
        yield Check(f"logits_int8_{index}", samples, difference, float(limit))
