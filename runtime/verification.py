"""Recomputes a bundle's golden outputs here, and says how far they are from those at home."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BundleError
from .arrays import FloatArray
from .bundle import Bundle
from .session import Sessions
from .stft import as_pairs, forward

GOLDEN = "golden.npz"
# Absolute, for waveforms of peak 1 and logits of order 1, where the manifest names no limit.
_LIMIT = 1e-4
_ARRAY = re.compile(r"(waveform|logits|mask)_(\d+)\.npy")
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
    """The arrays of golden.npz by sound. Sizes are checked before anything is allocated; no pickle."""
    path = bundle.file(GOLDEN)
    sounds: dict[int, dict[str, FloatArray]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            items = archive.infolist()
            if sum(item.file_size for item in items) > _MOST_BYTES:
                raise BundleError(
                    f"{path}: unpacks to more than {_MOST_BYTES >> 20} MiB; export the bundle again"
                )
            for item in items:
                match = _ARRAY.fullmatch(item.filename)
                if match:
                    sounds.setdefault(int(match[2]), {})[match[1]] = _array(archive, item)
    except BundleError:
        raise
    except Exception as error:
        # zipfile and its decompressors raise a dozen kinds of errors at damaged archives.
        raise BundleError(
            f"{path}: cannot be read ({_line(error)}); fetch or export the bundle again"
        ) from error
    if not sounds or any({"waveform", "logits"} - set(arrays) for arrays in sounds.values()):
        raise BundleError(f"{path}: holds no golden sounds with their logits; export the bundle again")
    yield from sorted(sounds.items())


def _array(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> FloatArray:
    """One float32 array of a .npz, its shape checked against its size before anything is allocated.

    Raises ValueError.
    """
    with archive.open(item) as file:
        major, _ = np.lib.format.read_magic(file)
        if major != 1:
            raise ValueError(f"{item.filename} is of an unknown version")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        content = file.read()
    if dtype != np.float32 or not all(shape) or math.prod(shape) * 4 != len(content):
        raise ValueError(f"{item.filename} is not the float32 array {list(shape)} that it claims to be")
    return np.frombuffer(content, np.float32).reshape(shape, order="F" if fortran else "C")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _recompute(
    sessions: Sessions, bundle: Bundle, index: int, arrays: dict[str, FloatArray]
) -> Iterator[Check]:
    manifest = bundle.manifest
    classifier, decoder = manifest.stage("classifier"), manifest.stage("decoder")
    if classifier is None:
        raise BundleError(f"{bundle.path}: has no classifier; export the bundle again")
    samples = int(arrays["waveform"].shape[-1])
    front = next(iter(sessions.run("frontend", {"waveform": arrays["waveform"]}).values()))
    found = sessions.run("classifier", {classifier.inputs[0].name: front})
    if "mask" in arrays and decoder is not None:
        spectra = front
        if manifest.rescore != "spectrogram":
            spectra = as_pairs(forward(arrays["waveform"], manifest.analysis))
        given = {**found, "stft": spectra, "target": found["logits"].argmax(-1).astype(np.int64)}
        found |= sessions.run("decoder", {tensor.name: given[tensor.name] for tensor in decoder.inputs})
    for output in ("logits", "mask"):
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
